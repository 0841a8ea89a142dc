"""Evaluation says what a plain loop over every token says, and leaves no trace in the training."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from groundzero.data import BatchLoader, TokenDataset
from groundzero.errors import InputError
from groundzero.model import GPT
from groundzero.train.evaluate import evaluate


@torch.no_grad()
def token_by_token(model: GPT, dataset: TokenDataset, context: int, n_input: int) -> tuple[float, int, int, int]:
    """Summed loss, hits, targets and bytes, one window and one token at a time."""
    stream = dataset.validation
    starts = set(stream.starts.tolist())
    loss, hits, counted, n_byte = 0.0, 0, 0, 0
    for first in range(0, n_input, context):
        width = min(context, n_input - first)
        ids = torch.from_numpy(stream.read(first, first + width).astype("int64"))[None]
        log_p = torch.log_softmax(model(ids)[0][0].double(), dim=-1)
        for place in range(width):
            at = first + place + 1
            if at in starts:
                continue
            target = int(stream.read(at, at + 1)[0])
            loss -= float(log_p[place, target])
            hits += int(log_p[place].argmax()) == target
            counted += 1
            n_byte += int(dataset.token_bytes[target])
    return loss, hits, counted, n_byte


@pytest.mark.parametrize("family", ["gpt2", "classic", "llama", "qwen3", "speedrun"])
def test_every_token_of_the_split_counts_once(lab, family):
    dataset, model = lab.dataset(), lab.model(family=family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    for batch_size in (1, 3, 64):
        result = evaluate(model, BatchLoader(dataset, batch_size=batch_size, context=16))
        loss, hits, counted, n_byte = token_by_token(model, dataset, 16, len(dataset.validation) - 1)
        assert result.tokens == counted
        assert result.loss == pytest.approx(loss / counted, rel=1e-5)
        assert result.perplexity == pytest.approx(math.exp(loss / counted), rel=1e-4)
        assert result.accuracy == pytest.approx(hits / counted)
        assert result.bits_per_byte == pytest.approx(loss / math.log(2) / n_byte, rel=1e-5)


@pytest.mark.parametrize("max_tokens", [2, 17, 50, 10_000])
def test_the_first_part_is_the_first_part(lab, max_tokens):
    dataset, model = lab.dataset(), lab.model()
    result = evaluate(model, BatchLoader(dataset, batch_size=2, context=16), max_tokens=max_tokens)
    n_input = min(len(dataset.validation), max_tokens) - 1
    loss, hits, counted, n_byte = token_by_token(model, dataset, 16, n_input)
    assert result.tokens == counted
    assert result.loss == pytest.approx(loss / counted, rel=1e-5)
    assert result.bits_per_byte == pytest.approx(loss / math.log(2) / n_byte, rel=1e-5)
    assert result.accuracy == pytest.approx(hits / counted)


def test_a_model_that_knows_nothing_needs_the_bits_of_its_alphabet(lab):
    model = lab.model()
    with torch.no_grad():
        model.embedding.weight.zero_()
    result = evaluate(model, BatchLoader(lab.dataset(), batch_size=4, context=16))
    assert result.loss == pytest.approx(math.log(40), rel=1e-6)
    assert result.perplexity == pytest.approx(40, rel=1e-5)


def test_bytes_that_are_not_known_give_no_bits_per_byte(lab):
    known = lab.dataset()
    dataset = TokenDataset(known.train, known.validation)
    assert evaluate(lab.model(), BatchLoader(dataset, batch_size=4, context=16)).bits_per_byte is None


@torch.no_grad()
def test_isolated_documents_are_scored_as_if_alone(lab):
    """Attention within the document: a document in the middle of a row scores as it does at the start of one."""
    model, dataset = lab.model(), lab.dataset(documents=5)
    loader = BatchLoader(dataset, batch_size=1, context=16)
    across = evaluate(model, loader)
    alone = evaluate(model, loader, isolate_documents=True)
    assert alone.tokens == across.tokens
    assert alone.loss != across.loss
    stream, context = dataset.validation, 16
    expected = 0.0
    starts = [*stream.starts.tolist(), len(stream)]
    for first, stop in itertools.pairwise(starts):
        cuts = sorted({first, stop, *range(-(-first // context) * context, stop, context)})
        for begin, end in itertools.pairwise(cuts):
            ids = torch.from_numpy(stream.read(begin, end).astype("int64"))[None]
            log_p = torch.log_softmax(model(ids)[0][0].double(), dim=-1)
            for place in range(end - begin):
                if begin + place + 1 < stop:
                    expected -= float(log_p[place, int(stream.read(begin + place + 1, begin + place + 2)[0])])
    assert alone.loss == pytest.approx(expected / alone.tokens, rel=1e-5)


def test_dropout_is_off_and_comes_back(lab):
    model = lab.model(dropout=0.5)
    loader = BatchLoader(lab.dataset(), batch_size=4, context=16)
    random = torch.get_rng_state()
    assert evaluate(model, loader) == evaluate(model, loader)
    assert model.training
    model.eval()
    evaluate(model, loader)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_evaluating_and_sampling_change_nothing_in_the_training(lab, optimizer):
    ends = []
    for every, tokens in ((1, 6), (1000, 0)):
        config = lab.config(optimizer=optimizer, evaluate_every=every, sample_every=every, sample_tokens=tokens)
        trainer = lab.trainer(config, dropout=0.2)
        trainer.fit(6)
        ends.append(lab.state(trainer))
    assert lab.differences(*ends) == []


def test_a_split_of_one_token_is_refused(lab):
    dataset = TokenDataset.from_ids(list(range(40)) * 2, [1])
    with pytest.raises(InputError, match="validation"):
        evaluate(lab.model(), BatchLoader(dataset, batch_size=2, context=16))

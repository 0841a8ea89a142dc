"""Copying by itself: the mixture is exact, spans are whole, and ends are clean, whatever the surfaces are."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundzero.generate.copying import Copier, Explanation
from groundzero.generate.evidence import Surface, surface_forms, surfaces_of
from groundzero.generate.joints import Kind, TokenStarts, first_kind, grows, kind_of, last_character, wants_space
from groundzero.model.copying import CopyHead
from groundzero.model.knowledge_config import KnowledgeConfig
from groundzero.reference.knowledge import next_tokens
from groundzero.tokenizer import Tokenizer, TokenizerConfig, train_tokenizer

ALPHABET = "abcdefgh 0123456789.,-'éß日本\U0001f600"


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    return train_tokenizer([ALPHABET], TokenizerConfig(kind="char"))


@pytest.fixture(scope="module")
def merged() -> Tokenizer:
    """Bytes and merges: one text has many beginnings in common with another."""
    text = "abc abd abcd 12 123 1 12.5 éß 日本 " * 30
    return train_tokenizer([text], TokenizerConfig(kind="bpe", vocab_size=350))


class FixedHead(CopyHead):
    """A gate and scores that are given, not computed."""

    def __init__(self, gate: float, scores: list[float]) -> None:
        super().__init__(2, KnowledgeConfig(d_fact=1, d_copy=1))
        self.logit, self.scores = math.log(gate) - math.log1p(-gate), torch.tensor(scores)
        self.gate.forward = lambda hidden: torch.full((1,), self.logit)

    def keys(self, facts_BNF: Tensor) -> Tensor:
        """Each slot's own place."""
        return torch.arange(2.0 * facts_BNF.shape[1]).view(1, -1, 1)

    def point(self, hidden_BTD: Tensor, keys_BSK: Tensor) -> Tensor:
        """The scores of the slots asked for, whose keys are their places."""
        return self.scores[keys_BSK[..., 0].long()].expand(1, -1)


def make_copier(tokenizer, surfaces, *, gate=0.5, scores=None, uniform=None) -> Copier:
    n_slot = 2 * (max(surface.fact for surface in surfaces) + 1)
    head = FixedHead(gate, scores or [0.0] * n_slot)
    return Copier(head, torch.zeros(n_slot // 2, 1), surfaces, tokenizer, TokenStarts(tokenizer), uniform=uniform)


HIDDEN = torch.zeros(2)


def write(copier, tokenizer, own_V, n_token, rng, prompt=()):
    """Draw from the mixture, token by token."""
    ids = list(prompt)
    for _ in range(n_token):
        mixed_V = copier.mix(HIDDEN, own_V, ids).double().exp()
        assert float(mixed_V.sum()) == pytest.approx(1, abs=1e-5)
        token = int(rng.choice(len(mixed_V), p=(mixed_V / mixed_V.sum()).numpy()))
        copier.took(token)
        ids.append(token)
    return ids[len(prompt) :], copier.finish()


names = st.text(st.sampled_from("abc12.éß日本-' "), min_size=1, max_size=5).filter(lambda t: t.strip() == t)


@pytest.mark.parametrize("kind", ["letters", "merged"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_span_is_exactly_a_surface_with_clean_ends(letters, merged, kind, data):
    tokenizer = {"letters": letters, "merged": merged}[kind]
    texts = data.draw(st.lists(st.tuples(names, names), min_size=1, max_size=4))
    seed = data.draw(st.integers(0, 2**32 - 1))
    greedy = data.draw(st.booleans())
    rng = np.random.default_rng(seed)
    own_V = torch.from_numpy(rng.standard_normal(tokenizer.vocab_size)).float()
    own_V[:64] = -torch.inf
    scores = rng.standard_normal(2 * len(texts)).tolist()
    uniform = None if greedy else np.random.default_rng(seed + 1).random
    copier = make_copier(tokenizer, surfaces_of(tokenizer, texts), scores=scores, uniform=uniform)
    prompt = tokenizer.encode(data.draw(st.sampled_from(["", "a", "a ", "(", "a,", "1", "日"])))
    ids, spans = write(copier, tokenizer, own_V, 40, rng, prompt)
    end = 0
    for span in spans:
        assert span.start >= end
        end = span.end
        written = tuple(ids[span.start : span.end])
        forms = surface_forms(tokenizer, texts[span.fact][span.role])
        if not span.complete:
            assert span.end == len(ids)
            assert any(form[: len(written)] == written for form in forms)
            continue
        assert written in forms
        before = last_character(tokenizer, [*prompt, *ids[: span.start]])
        assert before is not None
        text = tokenizer.decode(written)
        assert not grows(kind_of(before), first_kind(text))
        after = tokenizer.decode(ids[span.end : span.end + 4])
        if after:
            assert (kind_of(text[-1]), kind_of(after[0])) not in {
                (Kind.LETTER, Kind.LETTER),
                (Kind.DIGIT, Kind.DIGIT),
                (Kind.LETTER, Kind.DIGIT),
            }


def probability_of(copier_of, own_V, ids: tuple[int, ...]) -> dict[tuple, float]:
    """P(tokens and their spans), every way they can be explained, by following every choice of `_explain`."""
    found: dict[tuple, float] = {}

    def follow(choices: list[int]) -> None:
        copier, probability, pending = copier_of(), 1.0, list(choices)
        options: list[list[int]] = []

        def explain(weights):
            nonlocal probability
            possible = [i for i, weight in enumerate(weights) if weight > 0]
            options.append(possible)
            choice = Explanation(pending.pop(0) if pending else possible[0])
            probability *= weights[choice] / sum(weights)
            return choice

        copier._explain = explain
        for place, token in enumerate(ids):
            mixed_V = copier.mix(HIDDEN, own_V, list(ids[:place]))
            probability *= float(mixed_V[token].exp())
            if probability == 0:
                return
            copier.took(token)
        spans = tuple((s.start, s.end, s.fact, s.role) for s in copier.finish() if s.complete)
        found[spans] = found.get(spans, 0.0) + probability
        for place in range(len(choices), len(options)):
            for other in options[place][1:]:
                follow([*[o[0] if i >= len(choices) else choices[i] for i, o in enumerate(options[:place])], other])

    follow([])
    return found


def test_a_span_is_a_surface_with_the_probability_of_the_pointer(letters):
    """P(first span is s) = g p_s, though the surfaces share beginnings and one is the beginning of another."""
    texts = ["ab", "abc", "b", "abc", "a-b"]
    gate, scores = 0.3, [0.5, -1.0, 0.2, 0.9, -0.3]
    surfaces = tuple(Surface(tuple(letters.encode(text)), n, 1) for n, text in enumerate(texts))
    slot_scores = [value for score in scores for value in (0.0, score)]
    own_V = torch.full((letters.vocab_size,), -torch.inf)
    own_V[letters.encode(" .")] = torch.tensor([0.0, 1.0])
    own = own_V.softmax(-1)
    p = torch.tensor(scores).softmax(-1)

    def copier_of() -> Copier:
        return make_copier(letters, surfaces, gate=gate, scores=slot_scores)

    stop = letters.encode(".")[0]
    for text, share in [("ab", p[0]), ("abc", p[1] + p[3]), ("b", p[2]), ("a-b", p[4])]:
        found = probability_of(copier_of, own_V, (*letters.encode(text), stop))
        whole = sum(probability for spans, probability in found.items() if spans)
        # Directly behind the span no other may begin (it would grow into it), so the network writes "." alone.
        assert whole == pytest.approx(float(gate * share * own[stop]), rel=1e-5)
        assert all(spans[0][:2] == (0, len(text)) for spans in found if spans)


def test_the_mixture_is_the_formula(letters):
    texts = [("a", "b"), ("ce", "cd")]
    gate, scores = 0.4, [0.1, 0.7, -0.5, 1.1]
    surfaces = tuple(
        Surface(tuple(letters.encode(text)), n, role) for n, pair in enumerate(texts) for role, text in enumerate(pair)
    )
    own_V = torch.randn(letters.vocab_size, generator=torch.Generator().manual_seed(0))
    want_V = (1 - gate) * own_V.softmax(-1)
    for surface, share in zip(surfaces, torch.tensor(scores).softmax(-1), strict=True):
        want_V[surface.ids[0]] += gate * share
    got_V = make_copier(letters, surfaces, gate=gate, scores=scores).mix(HIDDEN, own_V, []).exp()
    torch.testing.assert_close(got_V, want_V, rtol=1e-5, atol=1e-7)


def test_forms_of_one_slot_share_what_the_pointer_gives_it(letters):
    """Behind a symbol both forms may stand; behind a word only the one with a space, at a beginning only the bare."""
    surfaces = surfaces_of(letters, [("", "ab"), ("", "cd")])
    a, c, space = (letters.encode(text)[0] for text in "ac ")
    own_V = torch.full((letters.vocab_size,), -torch.inf)
    own_V[letters.encode("h")] = 0.0
    for prompt, want in [("", (0.25, 0.25, 0.0)), ("h", (0.0, 0.0, 0.5)), ("'", (0.125, 0.125, 0.25))]:
        got_V = make_copier(letters, surfaces).mix(HIDDEN, own_V, letters.encode(prompt)).exp()
        assert [float(got_V[token]) for token in (a, c, space)] == pytest.approx(want)


def test_greedy_takes_the_likeliest_explanation(letters):
    """A token that is likelier copied than written begins a span, and the other way round."""
    surfaces = (Surface(tuple(letters.encode("ab")), 0, 1),)
    a, b = letters.encode("ab")
    own_V = torch.full((letters.vocab_size,), -torch.inf)
    own_V[[a, b]] = 0.0
    for gate, n_span in [(0.6, 1), (0.2, 0)]:
        copier = make_copier(letters, surfaces, gate=gate)
        for place, token in enumerate((a, b)):
            copier.mix(HIDDEN, own_V, [a][:place])
            copier.took(token)
        assert len(copier.finish()) == n_span


def test_a_token_forced_against_the_copy_ends_the_span_unfinished(letters):
    surfaces = (Surface(tuple(letters.encode("abc")), 0, 1),)
    copier = make_copier(letters, surfaces, gate=0.99)
    own_V = torch.zeros(letters.vocab_size)
    ids = letters.encode("abh")
    for place, token in enumerate(ids):
        copier.mix(HIDDEN, own_V, ids[:place])
        copier.took(token)
    (span,) = copier.finish()
    assert (span.start, span.end, span.complete) == (0, 2, False)


def test_where_nothing_may_begin_the_distribution_is_the_networks(letters):
    copier = make_copier(letters, (Surface(tuple(letters.encode("ab")), 0, 1),))
    own_V = torch.randn(letters.vocab_size)
    torch.testing.assert_close(copier.mix(HIDDEN, own_V, letters.encode("c")), own_V.log_softmax(-1))


@pytest.mark.parametrize(
    ("last", "first", "want"),
    [
        ("a", "b", True),
        ("a", "1", True),
        ("1", "2", True),
        ("1", ".5", True),
        ("1", ",000", True),
        ("1", ". The", False),
        ("1", "km", False),
        ("a", "'s", False),
        ("a", " b", False),
        ("本", "日", False),
        ("é", "ß", True),
        ("", "a", False),
    ],
)
def test_what_grows_into_a_word_before_it(last, first, want):
    assert grows(kind_of(last), first_kind(first)) == want


def test_tokens_are_ruled_out_by_how_they_begin(merged):
    starts = TokenStarts(merged)
    after_digit, after_letter = starts.forbidden_after(Kind.DIGIT), starts.forbidden_after(Kind.LETTER)
    for token, data in ((t, merged.token_bytes(t)) for t in range(merged.vocab_size)):
        if not data:
            assert not after_digit[token]
        elif data[:1].isdigit():
            assert after_digit[token]
            assert after_letter[token]
        elif data[:1].isalpha():
            assert after_letter[token]
            assert not after_digit[token]
        elif 0x80 <= data[0] < 0xC0:
            assert after_digit[token], "the middle of a character stands behind no whole one"
        elif data[:1] in b" .,":
            assert not after_letter[token]


def test_the_last_character_of_what_is_written(merged):
    assert last_character(merged, []) == ""
    assert last_character(merged, [*merged.encode("ab"), 3]) == "", "behind a control token a turn begins"
    assert last_character(merged, merged.encode("a日")) == "日"
    assert last_character(merged, [*merged.encode("a"), *merged.encode_bytes("日".encode()[:2])]) is None
    for text, want in [("a", True), ("", False), (" ", False), ("(", False), (",", True), ("-", None), ("日", None)]:
        assert wants_space(text) is want


def test_kinds_are_told_apart_for_every_pair():
    assert {kind for kind in Kind if grows(Kind.OTHER, kind)} == {Kind.INSIDE}
    assert sum(grows(a, b) for a, b in itertools.product(Kind, Kind)) == 4 + len(Kind)


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(st.text("ab ", min_size=1, max_size=4).filter(lambda t: t.strip() == t), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_a_name_goes_on_as_the_twin_says(letters, texts, seed):
    """`reference.knowledge.next_tokens` at every place of every surface, with the network's own tokens taken away."""
    surfaces = tuple(Surface(tuple(letters.encode(text)), n, 1) for n, text in enumerate(texts))
    scores = np.random.default_rng(seed).standard_normal(2 * len(texts))
    scores[::2] = 0.0
    shares = np.exp(scores[1::2]) / np.exp(scores[1::2]).sum()
    own_V = torch.full((letters.vocab_size,), -torch.inf)
    own_V[letters.encode(".")] = 0.0
    for surface in surfaces:
        copier = make_copier(letters, surfaces, gate=0.999, scores=scores.tolist())
        for place, token in enumerate(surface.ids):
            mixed_V = copier.mix(HIDDEN, own_V, list(surface.ids[:place])).double().exp()
            ended, tokens = next_tokens([s.ids for s in surfaces], shares.tolist(), surface.ids[:place])
            if place:
                got = {t: float(mixed_V[t]) for t in tokens}
                assert got == pytest.approx(tokens, abs=1e-5)
                assert float(mixed_V.sum()) == pytest.approx(1, abs=1e-5)
                assert ended + sum(tokens.values()) == pytest.approx(1)
            copier.took(token, Explanation.GOES_ON if place else Explanation.BEGINS)

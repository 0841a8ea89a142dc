"""BPE training and encoding beside rustbpe, tokenizers and tiktoken: 10 MB of real text, 32,000 ids.

Everyone gets the same documents, the same split pattern and both cores, and is timed over the whole call: ours from
`str` to a `Tokenizer` or to NumPy arrays, the peers from `str` to whatever they return.
"""

from __future__ import annotations

import argparse
import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.table import Row, row, turn_about

DOCUMENT = 100_000  # characters: a chapter or a long article
VOCAB_SIZE = 32_000
N_CONTROL = 64


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pattern", default="qwen2")


def measure(options: argparse.Namespace) -> list[Row]:
    """Rows of training and of encoding, each against each peer."""
    from groundzero.tokenizer import PATTERNS

    documents = corpus(int(options.megabytes * 1e6))
    size = sum(len(document.encode()) for document in documents)
    pattern = PATTERNS[options.pattern].regex
    work = f"{size / 1e6:.1f} MB, {VOCAB_SIZE} ids, {options.pattern}"
    rows = []
    for name, contestants in (
        ("train", _trainers(documents, pattern, options.pattern)),
        ("encode", _encoders(documents, pattern, options.pattern)),
        ("encode one text", _encoders(["".join(documents)], pattern, options.pattern)),
    ):
        seconds = turn_about(contestants, options.repeats)
        ours = seconds.pop("ours")
        rows += [
            row(f"{name}: {work}", "MB/s", size / 1e6 / ours, size / 1e6 / took, peer) for peer, took in seconds.items()
        ]
    return rows


def corpus(size: int) -> list[str]:
    """`size` bytes of Shakespeare, Grimm, Gutenberg and Wikipedia as documents."""
    data = Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    texts = [
        gzip.decompress((data / name).read_bytes()).decode("utf-8")
        for name in (
            "text-tinyshakespeare/input.txt.gz",
            "text-books/grimm_tales.txt.gz",
            "text-wikipedia/wiki_demo.txt.gz",
        )
    ]
    with zipfile.ZipFile(data / "text-books" / "nltk_gutenberg.zip") as books:
        texts += [books.read(n).decode("utf-8", "replace") for n in sorted(books.namelist()) if n.endswith(".txt")]
    text = "\n".join(texts).encode()[:size].decode("utf-8", "ignore")
    return [text[i : i + DOCUMENT] for i in range(0, len(text), DOCUMENT)]


def _trainers(documents: list[str], pattern: str, name: str) -> dict[str, Any]:
    import rustbpe
    from tokenizers import pre_tokenizers, trainers

    from groundzero.tokenizer import TokenizerConfig, train_tokenizer

    config = TokenizerConfig(vocab_size=VOCAB_SIZE, pattern=name)

    def with_rustbpe() -> Any:
        peer = rustbpe.Tokenizer()
        peer.train_from_iterator(iter(documents), VOCAB_SIZE - N_CONTROL, pattern=pattern)
        return peer

    def with_tokenizers() -> Any:
        peer = _hugging_face(pattern)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE - N_CONTROL, initial_alphabet=alphabet, min_frequency=2, show_progress=False
        )
        peer.train_from_iterator(documents, trainer)
        return peer

    return {
        "ours": lambda: train_tokenizer(documents, config),
        "rustbpe": with_rustbpe,
        "tokenizers": with_tokenizers,
    }


def _encoders(documents: list[str], pattern: str, name: str) -> dict[str, Any]:
    import json

    import rustbpe
    import tiktoken
    import tokenizers

    from groundzero.tokenizer import TokenizerConfig, train_tokenizer
    from groundzero.tokenizer.file import to_document

    ours = train_tokenizer(documents, TokenizerConfig(vocab_size=VOCAB_SIZE, pattern=name))
    rust = rustbpe.Tokenizer()
    rust.train_from_iterator(iter(documents), VOCAB_SIZE - N_CONTROL, pattern=pattern)
    tik = tiktoken.Encoding(
        "peer",
        pat_str=pattern,
        mergeable_ranks={bytes(token): rank for token, rank in rust.get_mergeable_ranks()},
        special_tokens={"<EOS>": VOCAB_SIZE},
    )
    hugging_face = tokenizers.Tokenizer.from_str(json.dumps(to_document(ours)))
    return {
        "ours": lambda: ours.encode_batch(documents),
        "tiktoken": lambda: tik.encode_ordinary_batch(documents, num_threads=os.cpu_count() or 1),
        "rustbpe": lambda: rust.batch_encode(documents),
        "tokenizers": lambda: hugging_face.encode_batch_fast(documents),
    }


def _hugging_face(pattern: str) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return peer

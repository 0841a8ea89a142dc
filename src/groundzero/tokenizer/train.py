"""From documents to a tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from groundzero.errors import InputError
from groundzero.reference.tokenizer import N_CONTROL
from groundzero.tokenizer.bpe import train_tokens
from groundzero.tokenizer.characters import train_characters
from groundzero.tokenizer.config import TokenizerConfig
from groundzero.tokenizer.patterns import find_pattern
from groundzero.tokenizer.tokenizer import Tokenizer, check_text


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Train on documents; the same counts give the same tokenizer, in whatever order the documents come.

    Args:
        texts: the documents. They may be read twice: a one-shot iterator is kept in memory for that, any other
            iterable is asked for a new iterator. Pieces never span two documents.

    Raises:
        InputError: there is no text, or a document holds a lone surrogate.
    """
    if config.kind == "char":
        characters = train_characters(text for _, text in _within(texts, config.max_bytes))
        if not characters:
            raise _no_text()
        return Tokenizer("char", [character.encode() for character in characters])
    documents = _Documents(list(texts) if isinstance(texts, Iterator) else texts, config.max_bytes)
    pattern = find_pattern(config.pattern)
    tokens = train_tokens(documents, config.vocab_size - N_CONTROL, pattern, config.min_frequency)
    if not documents.seen:
        raise _no_text()
    return Tokenizer("bpe", tokens, pattern)


class _Documents:
    """Documents that can be read more than once, up to a number of bytes; checked at the first reading."""

    def __init__(self, texts: Iterable[str], max_bytes: int) -> None:
        self._texts = texts
        self._max_bytes = max_bytes
        self._all_fit = False
        self.seen = False

    def __iter__(self) -> Iterator[str]:
        if self._all_fit:
            yield from self._texts
            return
        n_bytes = 0
        for data, text in _within(self._texts, self._max_bytes):
            self.seen = self.seen or bool(text)
            n_bytes += len(data)
            yield text
        self._all_fit = n_bytes < self._max_bytes


def _within(texts: Iterable[str], max_bytes: int) -> Iterator[tuple[bytes, str]]:
    """Checked texts until `max_bytes` of UTF-8 are used up, with their bytes; the one that crosses is cut."""
    left = max_bytes
    for text in texts:
        data = check_text(text)
        if len(data) >= left:
            yield data[:left], data[:left].decode("utf-8", errors="ignore")
            return
        left -= len(data)
        yield data, text


def _no_text() -> InputError:
    return InputError(
        "There is no text to train a tokenizer on.", remedy="Give at least one document that is not empty."
    )

"""Text as the graph compares it: words without case, diacritics, punctuation or width.

One definition serves full-text search in every store, the mention index and the tests' oracle, so that a name found
by one is found by all. A *token* is a word, a symbol (`+` of C++), or one character of a script written without
spaces; a *form* is its tokens joined by single spaces. Tokens are found in the text as it is and folded after, so their
places are places in the original.
"""

from __future__ import annotations

import hashlib
import unicodedata

import regex

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = regex.compile(
    rf"(?V1)[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}\p{{Co}}]--[{_UNSPACED}]]+|[\p{{Sm}}\p{{Sc}}\p{{So}}#%&@*]"
)
_LONG = 100
_KEPT_SYMBOLS = "+#$%&@*<=>|~"
_DROPPED = {code: None for code in range(128) if not chr(code).isalnum() and chr(code) not in _KEPT_SYMBOLS}
_MARKS = ((0x0300, 0x036F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F))
# Letters with a stroke or joined letters, which Unicode does not take apart.
_LETTERS = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}


class _Folding(dict[int, str]):
    """What each character becomes, worked out when it is first met: `str.translate` reads it at C speed."""

    def __missing__(self, code: int) -> str:
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        kept = "".join(_LETTERS.get(part, part) for part in parts if not _is_mark(ord(part)))
        self[code] = kept
        return kept


def _is_mark(code: int) -> bool:
    return any(first <= code <= last for first, last in _MARKS)


_FOLDING = _Folding()


def fold(text: str) -> str:
    """`text` without case, diacritics and compatibility forms: "Ｃafé" is "cafe"."""
    return text.translate(_FOLDING)


def tokens(text: str) -> list[str]:
    """The folded tokens of `text`; none holds white space, quotes or other ASCII punctuation."""
    return [token for token in (_bare(found) for found in _TOKEN.findall(text)) if token]


def placed_tokens(text: str) -> list[tuple[str, int, int]]:
    """Tokens with where they start and end in `text`, in characters."""
    found = ((_bare(match[0]), match.start(), match.end()) for match in _TOKEN.finditer(text))
    return [each for each in found if each[0]]


def form(text: str) -> str:
    """The tokens of a name, joined: equal for names that differ in case, diacritics and punctuation only."""
    return " ".join(tokens(text))


def index_terms(text: str) -> list[str]:
    """What a store indexes of a name or looks for in a question: each token once, very long ones as their hash.

    Indexes have limits of their own (FTS5 cuts a word at 32,768 bytes, PostgreSQL refuses one of 2,700).
    """
    return list(dict.fromkeys(each if len(each) <= _LONG else _hash(each) for each in tokens(text)))


def is_storable(text: str) -> bool:
    """Whether every store can keep `text`: no NUL and no lone half of a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text))


def _hash(token: str) -> str:
    return "#" + hashlib.blake2b(token.encode("utf-8"), digest_size=16).hexdigest()


def _bare(token: str) -> str:
    return token.translate(_FOLDING).translate(_DROPPED)

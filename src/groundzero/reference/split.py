"""Cutting text into words before byte-pair encoding, by hand.

A language model's tokens should not straddle words: if `"dog."`, `"dog!"` and `"dog?"` could each become one token,
the vocabulary would fill with punctuation variants of the same thing (Radford et al. 2019, section 2.2). So text is
first cut into *pieces*, and merges happen only inside a piece. The published tokenizers write the cut as a regular
expression such as GPT-2's

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

which reads: English endings; a word with the space before it; a number with the space before it; punctuation; and
white space, whose last character is left to the word after it. Every alternative needs to look at one character class
at a time, so a scanner that walks forward once says the same thing more slowly and more plainly. This is that scanner.

Classes: L (letter), N (number), S (white space, the 25 characters with the Unicode property White_Space), P (anything
else). L and N come from `unicodedata`. Another engine may carry a newer edition of Unicode, and then differs exactly
on characters that the older edition does not know yet; the tests prove that there is no other difference.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache

WHITE_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(0x2000 + i) for i in range(11)
}
ENDINGS = ("s", "t", "re", "ve", "m", "ll", "d")


def split(text: str, pattern: str = "qwen2") -> list[str]:
    """The pieces of `text`, in order; joined they are `text` again.

    Args:
        pattern: `gpt2`, `llama3` (GPT-4's too) or `qwen2`.

    Raises:
        ValueError: the pattern is not one of these.
    """
    if pattern not in SCANNERS:
        raise ValueError(f"unknown split pattern {pattern!r}; known: {', '.join(SCANNERS)}")
    next_end = SCANNERS[pattern]
    pieces, start = [], 0
    while start < len(text):
        end = next_end(text, start)
        pieces.append(text[start:end])
        start = end
    return pieces


@lru_cache(maxsize=4096)
def character_class(character: str) -> str:
    """`L`, `N`, `S` or `P`."""
    if character in WHITE_SPACE:
        return "S"
    major = unicodedata.category(character)[0]
    return major if major in "LN" else "P"


def run_end(text: str, start: int, kind: str, limit: int | None = None) -> int:
    """Where the run of class `kind` that begins at `start` ends; `start` itself when there is none."""
    stop = len(text) if limit is None else min(len(text), start + limit)
    end = start
    while end < stop and character_class(text[end]) == kind:
        end += 1
    return end


def ending_end(text: str, start: int, *, any_case: bool) -> int:
    """Where an English ending such as `'ll` that begins at `start` ends; `start` when there is none."""
    if text[start] != "'":
        return start
    for ending in ENDINGS:
        found = text[start + 1 : start + 1 + len(ending)]
        # isascii, because str.lower folds the Kelvin sign and its like; the patterns name ASCII letters only.
        if found == ending or (any_case and found.isascii() and found.lower() == ending):
            return start + 1 + len(ending)
    return start


def space_end(text: str, start: int) -> int:
    """`\\s+(?!\\S)|\\s+`: the run of white space, but for its last character where a word follows and one is left."""
    end = run_end(text, start, "S")
    return end if end == len(text) or end == start + 1 else end - 1


def next_end_gpt2(text: str, start: int) -> int:
    """GPT-2: letters, numbers and punctuation each take one plain space before them."""
    end = ending_end(text, start, any_case=False)
    if end > start:
        return end
    body = start + 1 if text[start] == " " else start
    for kind in "LNP":
        end = run_end(text, body, kind)
        if end > body:
            return end
    return space_end(text, start)


def next_end_modern(text: str, start: int, digits: int) -> int:
    """GPT-4 and after: any one character may lead a word, numbers come in short groups, line ends close a piece."""
    end = ending_end(text, start, any_case=True)
    if end > start:
        return end
    # [^\r\n\p{L}\p{N}]?\p{L}+
    leads = character_class(text[start]) in "SP" and text[start] not in "\r\n"
    body = start + 1 if leads else start
    end = run_end(text, body, "L")
    if end > body:
        return end
    # \p{N}{1,digits}
    end = run_end(text, start, "N", limit=digits)
    if end > start:
        return end
    #  ?[^\s\p{L}\p{N}]+[\r\n]*
    body = start + 1 if text[start] == " " else start
    end = run_end(text, body, "P")
    if end > body:
        while end < len(text) and text[end] in "\r\n":
            end += 1
        return end
    # \s*[\r\n]+: white space up to and with its last line end
    end = run_end(text, start, "S")
    last_line_end = max(text.rfind("\n", start, end), text.rfind("\r", start, end))
    return last_line_end + 1 if last_line_end >= 0 else space_end(text, start)


SCANNERS: dict[str, Callable[[str, int], int]] = {
    "gpt2": next_end_gpt2,
    "llama3": lambda text, start: next_end_modern(text, start, digits=3),
    "qwen2": lambda text, start: next_end_modern(text, start, digits=1),
}

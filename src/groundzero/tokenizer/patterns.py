"""The split patterns: where text is cut into words before BPE, by the names under which others know them.

The default is `qwen2`. llama.cpp knows it by name, and one token a digit means that a number is spelt the same way
wherever it stands, so a model can copy and compare digits; three-digit groups (`llama3`) also spend up to 1,110
entries of a small vocabulary on numbers.

The regular expressions are the ones llama.cpp uses, in the syntax common to Rust's `fancy-regex` (tiktoken, rustbpe),
Oniguruma (tokenizers) and Python's `regex`. They spell English endings out (`'[sS]`) where the originals say
`(?i:'s)`, because under case folding `'ſ` (U+017F) would match too, in some engines and not in others.
Possessive variants (`\\p{L}++`), which tiktoken ships for speed, were 1.4 to 1.5 times slower in tiktoken 0.14.
"""

from __future__ import annotations

from dataclasses import dataclass

from groundzero.errors import ConfigError

_ENDINGS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_MODERN = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class SplitPattern:
    """One way of cutting text into words."""

    name: str
    regex: str
    llama_cpp: str
    """Name of the same pre-tokenizer in llama.cpp (`tokenizer.ggml.pre`)."""
    note: str


PATTERNS: dict[str, SplitPattern] = {
    pattern.name: pattern
    for pattern in (
        SplitPattern(
            "gpt2",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            "gpt-2",
            "GPT-2: a space before words, numbers and punctuation; numbers whole",
        ),
        SplitPattern(
            "llama3", _MODERN.replace("NUMBER", r"\p{N}{1,3}"), "llama-bpe", "Llama 3 and GPT-4: numbers in threes"
        ),
        SplitPattern("qwen2", _MODERN.replace("NUMBER", r"\p{N}"), "qwen2", "Qwen 2 and 3: one token a digit"),
    )
}
# Other names for the same cuts: cl100k writes \s*[\r\n] for \s*[\r\n]+, which a greedy \s* makes the same.
ALIASES = {"gpt-2": "gpt2", "gpt4": "llama3", "cl100k": "llama3", "llama-bpe": "llama3", "qwen3": "qwen2"}
DEFAULT_PATTERN = "qwen2"


def find_pattern(name: str) -> SplitPattern:
    """The pattern of that name or alias.

    Raises:
        ConfigError: there is none.
    """
    pattern = PATTERNS.get(ALIASES.get(name, name))
    if pattern is None:
        raise ConfigError(f"Unknown split pattern {name!r}.", remedy=f"Choose one of {', '.join(PATTERNS)}.")
    return pattern

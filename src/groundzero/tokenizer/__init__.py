"""Text to ids and back: character-level and byte-level BPE, one file that Hugging Face reads too.

Text enters as `str`, leaves as ids below `Tokenizer.vocab_size`; the first 64 ids are control tokens in every
tokenizer. `reference/tokenizer.py` says readably what the fast engine here does.
"""

from groundzero.tokenizer.config import TokenizerConfig
from groundzero.tokenizer.patterns import PATTERNS, SplitPattern
from groundzero.tokenizer.stream import StreamDecoder
from groundzero.tokenizer.tokenizer import Tokenizer
from groundzero.tokenizer.train import train_tokenizer

__all__ = ["PATTERNS", "SplitPattern", "StreamDecoder", "Tokenizer", "TokenizerConfig", "train_tokenizer"]

"""What can be wrong with the characters of a file: counted, with the first place of each."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from groundzero.data.readers import detect_encoding, open_text

_INVALID = re.compile("[\udc80-\udcff]")
# C0 and C1 controls other than tab, line ends and the form feed that books are paged with.
_CONTROL = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]")
# UTF-8 read as cp1252 or latin-1: é as Ã©, a curly quote as â€™, a no-break space as Â followed by it.
_CONTINUATION = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE = re.compile(f"[ÂÃ][{_CONTINUATION}]|â[{_CONTINUATION}]{{2}}")
SEPARATORS = ("<|endoftext|>", "<|im_start|>", "<|end|>", "</s>", "<EOS>")
_BLOCK_BYTES = 2**20


@dataclass
class TextCheck:
    """Counts over everything that was fed."""

    counts: dict[str, int] = field(default_factory=dict)
    """invalid, nul, bom, crlf, lf, cr, control, replacement, mojibake, and the separators by name."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each was seen first."""

    def add(self, what: str, count: int, where: str) -> None:
        """Count something."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count
            self.first.setdefault(what, where)

    def content(self, text: str, where: str) -> None:
        """Check text that was decoded."""
        if not text.isascii():
            self.add("replacement", text.count("\ufffd"), where)
            self.add("mojibake", sum(map(_is_mojibake, _MOJIBAKE.findall(text))), where)
        self.add("control", len(_CONTROL.findall(text)), where)
        for separator in SEPARATORS:
            self.add(separator, text.count(separator), where)

    def bytes_of(self, path: Path, name: str, encoding: str, *, line_ends: bool) -> str:
        """Check the bytes of a file, and say what makes it unreadable: why it cannot be opened, or nothing."""
        try:
            encoding = detect_encoding(path) if encoding == "auto" else encoding
            for text in _leniently(path, encoding):
                invalid = _INVALID.findall(text)
                self.add("invalid", len(invalid), name)
                self.add("nul", text.count("\0"), name)
                self.add("bom", text.count("\ufeff"), name)
                if line_ends:
                    crlf = text.count("\r\n")
                    self.add("crlf", crlf, name)
                    self.add("lf", text.count("\n") - crlf, name)
                    self.add("cr", text.count("\r") - crlf, name)
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            return f"{name}: {getattr(error, 'strerror', None) or error}."
        return ""


def _leniently(path: Path, encoding: str) -> Iterator[str]:
    """Blocks of text in which every byte that does not decode is a lone surrogate; \\r\\n is never cut apart."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
    held = ""
    with open_text(path) as file:
        while block := file.read(_BLOCK_BYTES):
            text = held + decoder.decode(block)
            held = "\r" if text.endswith("\r") else ""
            yield text.removesuffix(held)
        yield held + decoder.decode(b"", final=True)


def _is_mojibake(found: str) -> bool:
    """True when the characters, as bytes of cp1252, are one other character in UTF-8."""
    try:
        b"".join(map(_as_byte, found)).decode("utf-8")
    except UnicodeError:
        return False
    return True


def _as_byte(character: str) -> bytes:
    # Five bytes have no meaning in cp1252, and pass through decoders as C1 controls.
    return bytes([ord(character)]) if ord(character) < 0x100 else character.encode("cp1252")

"""The words and thresholds of `gz data doctor`: from counts to findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from groundzero.data.config import DataConfig
from groundzero.data.textcheck import SEPARATORS, TextCheck
from groundzero.errors import InputError

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

USUAL_BYTES_PER_TOKEN = 4.0  # of a trained BPE of 8 to 32 thousand on English
# Compute-optimal training takes about 20 tokens a parameter (Hoffmann et al. 2022); repeating text up to 4 times is
# nearly as good as new text, and beyond 16 gains next to nothing (Muennighoff et al. 2023).
TOKENS_PER_PARAMETER = 20
_GOOD_EPOCHS = 4
_USEFUL_EPOCHS = 16


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    check: str
    """encoding, files, duplicates, leak, split, tokenizer or size."""
    message: str
    remedy: str
    count: int = 1
    examples: Sequence[str] = ()
    """Up to three places, in words."""


def by_severity(findings: list[Finding]) -> list[Finding]:
    """The worst first."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def of_text(
    check: TextCheck, bad_files: list[str], broken_lines: list[str], skipped: list[str], config: DataConfig
) -> list[Finding]:
    """Faults of files and characters."""
    found = []
    if bad_files:
        found.append(
            Finding("error", "files", f"{len(bad_files)} unreadable files.", "Mend them, or leave them out with "
                    "--skip-bad.", len(bad_files), tuple(bad_files[:3]))
        )  # fmt: skip
    if broken_lines:
        found.append(
            Finding("error", "files", f"{len(broken_lines)} broken .jsonl lines.", "Mend them, or leave them out with "
                    "--skip-bad.", len(broken_lines), tuple(broken_lines[:3]))
        )  # fmt: skip
    if skipped:
        found.append(
            Finding("note", "files", f"{len(skipped)} entries of the folder are not read.", "Nothing, if meant.",
                    len(skipped), tuple(skipped[:3]))
        )  # fmt: skip
    return found + _characters(check, config)


def _characters(check: TextCheck, config: DataConfig) -> list[Finding]:
    found = []

    def report(what: str, severity: Severity, message: str, remedy: str) -> None:
        if count := check.counts.get(what, 0):
            place = (f"First in {check.first[what]}.",)
            found.append(Finding(severity, "encoding", message.format(count=count), remedy, count, place))

    report(
        "invalid", "error", "{count} bytes are not " + config.encoding + ".", "Convert to UTF-8, or give --encoding."
    )
    report("nul", "error", "{count} NUL characters: binary data.", "Extract the text first.")
    report("mojibake", "warning", "{count} characters were decoded wrongly once (Ã© for é).",
           "Decode the original as UTF-8; `ftfy` mends most.")  # fmt: skip
    report("replacement", "warning", "{count} replacement characters (U+FFFD): text was lost in an earlier conversion.",
           "Convert again from the original.")  # fmt: skip
    report("control", "warning", "{count} control characters.", "Strip them; they only cost tokens.")
    report("bom", "note", "{count} byte-order marks.", "Nothing for the one that starts a file; it is dropped.")
    ends = {what: check.counts[what] for what in ("lf", "crlf", "cr") if check.counts.get(what)}
    if len(ends) > 1:
        counts = ", ".join(f"{count} {what.upper()}" for what, count in ends.items())
        rarest = min(ends, key=lambda what: ends[what])
        found.append(
            Finding("warning", "encoding", f"Line ends are mixed: {counts}.", "Make them alike, for example with "
                    "dos2unix.", ends[rarest], (f"{rarest.upper()} first in {check.first[rarest]}.",))
        )  # fmt: skip
    for separator in SEPARATORS:
        report(separator, "note", f"{separator} is written {{count}} times, and would be read as plain text.",
               f"If it separates documents: --document-separator '{separator}'.")  # fmt: skip
    return found


def no_text(source: str) -> Finding:
    """Nothing to train on."""
    return Finding("error", "files", f"{source} gives no document.", "Give text.")


def unsplittable(error: InputError) -> Finding:
    """Too little for two sides."""
    return Finding("error", "split", error.message, error.remedy)


def of_copies(copies: int, documents: int, examples: Sequence[str]) -> list[Finding]:
    """Documents that repeat another exactly."""
    if not copies:
        return []
    severity: Severity = "warning" if copies > documents / 100 else "note"
    message = f"{copies} of {documents} documents repeat another exactly ({copies / documents:.1%})."
    return [Finding(severity, "duplicates", message, "Keep one of each: repeated text is learned by heart.", copies,
                    tuple(examples))]  # fmt: skip


def of_near_copies(copies: int, documents: int, examples: Sequence[str]) -> list[Finding]:
    """Documents that are nearly another."""
    if not copies:
        return []
    severity: Severity = "warning" if copies > documents / 100 else "note"
    message = f"{copies} of {documents} documents are at least 80% like an earlier one ({copies / documents:.1%})."
    return [Finding(severity, "duplicates", message, "Look at them; keep one of each kind.", copies, tuple(examples))]


def of_share(share: float, wanted: float) -> list[Finding]:
    """How much text fell to validation, where documents differ in length."""
    if wanted / 2 <= share <= wanted * 2:
        return []
    message = f"Validation gets {share:.1%} of the text instead of {wanted:.1%}: the documents are few or unequal."
    remedy = "Split long documents with --document-separator, hold back their ends with --split tail, or change --seed."
    return [Finding("warning", "split", message, remedy)]


def of_leak(shared: int, sampled: int, width: int, unit: str) -> list[Finding]:
    """Validation text that is in training too."""
    share = shared / max(sampled, 1)
    if share < 0.001:
        return []
    severity: Severity = "error" if share > 0.1 else "warning" if share > 0.01 else "note"
    message = f"{share:.1%} of the passages of {width} {unit} in validation are in training too."
    return [Finding(severity, "leak", message, "Remove repeated text, or validation loss will look too good.", shared)]


def of_unknown(unknown: int, tokens: int) -> list[Finding]:
    """Text that the tokenizer cannot write."""
    if not unknown:
        return []
    share = unknown / max(tokens, 1)
    severity: Severity = "error" if share > 0.01 else "warning"
    message = f"{unknown} of {tokens} tokens are <UNK> ({share:.2%})."
    return [Finding(severity, "tokenizer", message, "Use a bpe tokenizer, or train on this text.", unknown)]


def of_fit(kind: str, bytes_per_token: float, used: int, vocab_size: int, tokens: int) -> list[Finding]:
    """How well a tokenizer compresses this text."""
    unused = 1 - used / max(vocab_size - 64, 1)
    message = f"{bytes_per_token:.2f} bytes a token; {used} of {vocab_size} ids are used in the sample."
    found = [Finding("note", "tokenizer", message, "Nothing; `gz tokenizer inspect` shows more.", tokens)]
    if kind == "bpe" and bytes_per_token < 2.5:
        found.append(Finding("warning", "tokenizer", f"Only {bytes_per_token:.2f} bytes a token: it was made for other "
                             "text.", "Train one on this text: `gz tokenizer train`."))  # fmt: skip
    if kind == "bpe" and unused > 0.5 and tokens > 20 * vocab_size:
        found.append(Finding("warning", "tokenizer", f"{unused:.0%} of its ids never occur.", "Use a smaller "
                             "vocabulary: each id costs a row of weights."))  # fmt: skip
    return found


def of_size(tokens: int, parameters: int, *, estimated: bool) -> list[Finding]:
    """Whether there is enough text for a model."""
    about = "about " if estimated else ""
    epochs = TOKENS_PER_PARAMETER * parameters / max(tokens, 1)
    message = (
        f"{about}{tokens:,} training tokens for {parameters:,} parameters: {tokens / parameters:.2g} a parameter, and "
        f"{epochs:.3g} epochs to reach {TOKENS_PER_PARAMETER} a parameter."
    )
    fitting = float(f"{max(1, tokens * _GOOD_EPOCHS / TOKENS_PER_PARAMETER):.2g}")
    if epochs <= _GOOD_EPOCHS:
        return [Finding("note", "size", message, "Nothing: repeating up to 4 times is nearly as good as new text.")]
    remedy = f"More text, or a model of about {fitting:,.0f} parameters; stop when validation loss rises."
    return [Finding("warning" if epochs > _USEFUL_EPOCHS else "note", "size", message, remedy)]

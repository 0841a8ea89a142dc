"""Each kind of trouble is found, and clean text gives none."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from groundzero.data import DataConfig, prepare
from groundzero.data.doctor import Report, examine, examine_dataset
from groundzero.data.findings import SEVERITIES, Finding
from groundzero.data.sources import open_corpus

WORDS = [f"{a}{b}{c}" for a in "bdkmst" for b in "aeiou" for c in "lnrst"]


def prose(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words)) + ".\n"


def check(path: Path, **options: Any) -> Report:
    settings = {key: options.pop(key) for key in ("split",) if key in options}
    with open_corpus(path, DataConfig(skip_bad=True, **settings)) as corpus:
        return examine(corpus, **options)


def only(report: Report, kind: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.check == kind]
    return finding


def write_jsonl(path: Path, documents: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return path


def test_clean_text_gives_nothing(tmp_path: Path) -> None:
    report = check(write_jsonl(tmp_path / "a.jsonl", [prose(seed) for seed in range(200)]))
    assert report.findings == []
    assert (report.documents, report.files) == (200, 1)
    assert report.bytes == report.characters == sum(len(prose(seed)) for seed in range(200))
    assert report.as_json()["counts"] == dict.fromkeys(SEVERITIES, 0)


@pytest.mark.parametrize(
    ("content", "severity", "message", "count"),
    [
        (b"caf\xe9 and na\xefve\n", "error", "2 bytes are not utf-8", 2),
        (b"bin\0ary\n", "error", "1 NUL", 1),
        ("cafÃ© and â€œquotesâ€\x9d".encode(), "warning", "3 characters were decoded wrongly", 3),
        ("lost \ufffd\ufffd\n".encode(), "warning", "2 replacement characters", 2),
        (b"bell \x07 and \x1b[1m\n", "warning", "2 control characters", 2),
        (b"\xef\xbb\xbfone\n", "note", "1 byte-order mark", 1),
        (b"one\r\ntwo\nthree\nfour", "warning", "Line ends are mixed: 2 LF, 1 CRLF", 1),
        (b"one<|endoftext|>two<|endoftext|>", "note", "<|endoftext|> is written 2 times", 2),
    ],
)
def test_characters(content: bytes, severity: str, message: str, count: int, tmp_path: Path) -> None:
    for name, data in (("a.txt", content), ("a.txt.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        report = check(tmp_path / name)
        finding = next(finding for finding in report.findings if message in finding.message)
        assert (finding.severity, finding.count) == (severity, count)
        assert finding.remedy
        assert name in finding.examples[0]


def test_good_text_in_other_scripts_is_not_mojibake(tmp_path: Path) -> None:
    text = "Ça c'est l'été à São Paulo, « CAFÉ », naïve Ärzte; Δοκιμή, проверка, 漢字かな交じり文, Ấn Độ, Â."
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert not [finding for finding in check(tmp_path / "a.txt").findings if finding.check == "encoding"]


def test_the_seam_of_two_blocks_parts_no_line_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.data.textcheck._BLOCK_BYTES", 4)
    (tmp_path / "a.txt").write_bytes("abc\r\ndefg\r\nhé\r\né€".encode())
    assert not [finding for finding in check(tmp_path / "a.txt").findings if finding.check == "encoding"]


def test_bad_files_and_lines_are_listed_and_the_rest_is_examined(tmp_path: Path) -> None:
    (tmp_path / "bad.txt.gz").write_bytes(b"no gzip")
    (tmp_path / "lines.jsonl").write_text('{"text": "one"}\nrubbish\n{"text": "two"}\n', encoding="utf-8")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    report = check(tmp_path)
    found = {finding.message: finding for finding in report.findings if finding.check == "files"}
    assert "bad.txt.gz" in found["1 unreadable files."].examples[0]
    assert "line 2" in found["1 broken .jsonl lines."].examples[0]
    assert "gone.txt" in found["1 entries of the folder are not read."].examples[0]
    assert report.documents == 2
    assert [finding.severity for finding in report.findings] == sorted(
        (finding.severity for finding in report.findings), key=SEVERITIES.index
    )


def test_copies(tmp_path: Path) -> None:
    documents = [prose(seed) for seed in range(50)]
    documents += [documents[3], documents[3], documents[4].replace("bal", "mul")]
    report = check(write_jsonl(tmp_path / "a.jsonl", documents))
    exact, near = (finding for finding in report.findings if finding.check == "duplicates")
    assert exact.count == 2
    assert "document 51 repeats" in exact.examples[0]
    assert near.count == 1
    assert "document 53 is" in near.examples[0]
    assert "like" in near.examples[0]
    assert "document 5" in near.examples[0]


def test_a_leak_between_the_splits(tmp_path: Path) -> None:
    boilerplate = prose(1000)
    documents = [prose(seed) + boilerplate for seed in range(100)]
    leak = only(check(write_jsonl(tmp_path / "a.jsonl", documents)), "leak")
    assert leak.severity == "error"
    assert float(leak.message.split("%")[0]) == pytest.approx(50, abs=10)


def test_a_leak_into_the_tail(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(0, 5000) + prose(1, 500) + prose(2, 3500) + prose(1, 500), encoding="utf-8")
    report = check(tmp_path / "a.txt")
    assert only(report, "leak").severity == "error"


def test_an_unequal_split(tmp_path: Path) -> None:
    report = check(write_jsonl(tmp_path / "a.jsonl", [prose(1, 5000), prose(2, 10)]), split="document")
    assert "of the text instead of 10.0%" in only(report, "split").message


def test_one_document_cannot_be_split_by_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1), encoding="utf-8")
    finding = only(check(tmp_path / "a.txt", split="document"), "split")
    assert finding.severity == "error"
    assert "--split tail" in finding.remedy


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert "gives no document" in only(check(tmp_path / "a.txt"), "files").message


def test_the_tokenizers_fit(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "a.txt").write_text(prose(1), encoding="utf-8")
    report = check(tmp_path / "a.txt", tokenizer=tokenizer)
    assert only(report, "tokenizer").message.startswith("1.00 bytes a token")
    assert report.tokens == report.bytes
    tokenizer.kind, encode = "bpe", tokenizer.encode_batch
    tokenizer.encode_batch = lambda texts: [ids // 100 for ids in encode(texts)]
    messages = [finding.message for finding in check(tmp_path / "a.txt", tokenizer=tokenizer).findings]
    assert any("tokens are <UNK>" in message for message in messages)
    assert any("Only 1.00 bytes a token" in message for message in messages)


@pytest.mark.parametrize(
    ("parameters", "severity"), [(10, "note"), (2_000, "warning"), (200, "note"), (10**9, "warning")]
)
def test_size_against_the_model(parameters: int, severity: str, tmp_path: Path, tokenizer: Any) -> None:
    """A thousand bytes: 900 training tokens, so 20 a parameter in one epoch for 45 parameters."""
    (tmp_path / "a.txt").write_text("0123456789" * 100, encoding="utf-8")
    report = check(tmp_path / "a.txt", tokenizer=tokenizer, parameters=parameters)
    finding = only(report, "size")
    assert finding.severity == severity
    assert finding.message.startswith(f"900 training tokens for {parameters:,} parameters")
    assert ("model of about 180 parameters" in finding.remedy) == (parameters > 180)


def test_a_prepared_dataset(tmp_path: Path, tokenizer: Any) -> None:
    boilerplate = prose(1000)
    documents = [prose(seed) + boilerplate for seed in range(60)]
    source = write_jsonl(tmp_path / "a.jsonl", [*documents, documents[0]])
    dataset = prepare(source, tmp_path / "set", tokenizer)
    report = examine_dataset(dataset, parameters=10**9)
    assert {finding.check for finding in report.findings} == {"leak", "duplicates", "size"}
    assert report.documents == 61
    assert report.kind == "tokens"

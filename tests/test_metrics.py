"""The metric log: appended, read back, and none the worse for a crash in mid-line."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundzero.metrics import MetricLog


@pytest.fixture
def log(tmp_path: Path) -> MetricLog:
    log = MetricLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log.append(step=step, train_loss=1 / step, sample="na\u00efve \u4f60\n\u2028")
    return log


def test_records_come_back_as_written(log: MetricLog) -> None:
    records = list(log)
    assert [record["step"] for record in records] == [1, 2, 3]
    assert records[0] == {"step": 1, "train_loss": 1.0, "sample": "na\u00efve \u4f60\n\u2028"}
    assert len(log.path.read_bytes().splitlines()) == 3


def test_no_file_is_an_empty_log(tmp_path: Path) -> None:
    assert list(MetricLog(tmp_path / "absent")) == []


def test_a_last_line_torn_anywhere_costs_only_itself(log: MetricLog) -> None:
    whole = log.path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(last, len(whole) - 1):
        log.path.write_bytes(whole[:length])
        assert [record["step"] for record in log] == [1, 2]


def test_resuming_drops_later_records(log: MetricLog) -> None:
    log.append(note="without a step")
    log.truncate_after(2)
    assert [record.get("step") for record in log] == [1, 2, None]
    assert [path.name for path in log.path.parent.iterdir()] == ["metrics.jsonl"]
    log.append(step=3)
    assert [record.get("step") for record in log] == [1, 2, None, 3]

"""The GroundZero gate: what a graph and its embedding must have reached before a language model is built on them.

    size        50,000 triples, 20,000 entities, 50 relations
    learning    500 epochs, and at the last of them a mean hinge below 0.01 (margin 1, unit-norm entities, uniform
                negatives; no early stopping), and more than 70 % of held-out triples told from hard negatives
    stability   learning from text runs, the dashboard runs, the tests pass

Each has a progress in per cent and, where its past says how fast it goes, the seconds it will still take. The past is
two logs: `metrics.jsonl` of the gate's own training, and a log beside the graph of how large the graph was when.

A hinge near 0 says that the margin is kept on training triples, not that predictions are good: LibKGE's best margin
trials on FB15k-237 reach an MRR of .244, its best softmax trials .319. So the gate asks for accuracy too, and
`gz graph embed` trains its vectors by softmax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.errors import InputError, UsageError
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.store import Counts
from groundzero.metrics import MetricLog

TRIPLES, ENTITIES, RELATIONS = 50_000, 20_000, 50
EPOCHS, HINGE, ACCURACY = 500, 0.01, 0.70
STABILITY = {"learning": "learning from text runs", "dashboard": "the dashboard runs", "tests": "the tests pass"}

GATE_CONFIG = EmbedConfig(
    model="transe",
    norm=1,
    dim=32,
    reciprocal=False,
    loss="margin",
    margin=1.0,
    sampler="uniform",
    negatives=4,
    batch_size=4096,
    epochs=EPOCHS,
    optimizer="rowwise_adagrad",
    learning_rate=0.3,
    unit_entities=True,
    evaluate_every=50,
    evaluate_triples=1000,
    patience=0,
    plateau_factor=1.0,
)
"""TransE as in Bordes et al. 2013, trained for exactly as long as the gate asks.

Distances are sums of absolute values, because Euclidean ones between unit vectors are so short that a margin of 1 is
not kept (Wiki27K after 100 epochs: hinge 0.123, though validation accuracy is .770). More dimensions make the margin
easy to keep and teach less; fewer do not keep it (100 epochs at rate 0.1; hinge and accuracy: dim 16 .0170 .695, 32
.0072 .692, 64 .0076 .681; at rate 0.3: 32 .0078 .717, 64 .0088 .692)."""


@dataclass(frozen=True)
class Milestone:
    """One thing to reach."""

    name: str
    title: str
    value: float | None
    """As measured; None where nothing was."""
    target: float
    done: bool
    percent: float
    """0 to 100; 100 only where done."""
    seconds_left: float | None
    """At the pace so far; 0 where done, None where the past does not tell."""
    note: str = ""


def milestones(
    counts: Counts, history: MetricLog, gate: Path, figures: dict[str, Any] | None, *, now: float
) -> list[Milestone]:
    """All of the gate's items, sizes first.

    Args:
        history: what `note_size` and `note_stability` wrote.
        gate: folder of the gate's own training, which need not exist.
        figures: those of the gate's embedding, or of another if there is none; None before any was made.
        now: seconds since 1970.
    """
    records = list(history)
    sizes = {"triples": (counts.triples, TRIPLES), "entities": (counts.entities, ENTITIES)}
    sizes["relations"] = (counts.relations, RELATIONS)
    found = [_size(name, value, target, records, now) for name, (value, target) in sizes.items()]
    found += _training(list(MetricLog(gate / "metrics.jsonl")))
    accuracy = (figures or {}).get("accuracy")
    found.append(
        Milestone(
            "accuracy",
            "held-out triples told from hard negatives",
            accuracy,
            ACCURACY,
            accuracy is not None and accuracy > ACCURACY,
            _percent(
                0.0 if accuracy is None else (accuracy - 0.5) / (ACCURACY - 0.5),
                accuracy is not None and accuracy > ACCURACY,
            ),
            0.0 if accuracy is not None and accuracy > ACCURACY else None,
            "measured when the training ends; half is chance",
        )
    )
    return found + [_stability(item, records) for item in STABILITY]


def note_size(history: MetricLog, counts: Counts, *, now: float) -> None:
    """Remember how large the graph is, where that has changed."""
    size = {"triples": counts.triples, "entities": counts.entities, "relations": counts.relations}
    last = [record for record in history if "triples" in record][-1:]
    if not last or any(last[0].get(key) != value for key, value in size.items()):
        history.append(time=now, **size)


def note_stability(history: MetricLog, item: str, *, passed: bool, now: float, note: str = "") -> None:
    """Remember that one of `STABILITY` was tried.

    Raises:
        UsageError: there is no such item.
    """
    if item not in STABILITY:
        raise UsageError(f"There is no stability item {item!r}.", remedy=f"Give one of {', '.join(STABILITY)}.")
    history.append(time=now, item=item, passed=passed, note=note)


def beside(location: str, what: str) -> Path:
    """Where things that belong to a graph are kept: `facts.db.embedding`, `facts.db.gate`, `facts.db.milestones.jsonl`.

    Raises:
        InputError: the graph is no file, so nothing can lie beside it.
    """
    if "://" in location:
        raise InputError(f"Nothing can be kept beside {location}.", remedy="Say where with --out DIR.")
    path = Path(location)
    return path.with_name(f"{path.name}.{what}")


def _size(name: str, value: int, target: int, records: Sequence[dict[str, Any]], now: float) -> Milestone:
    """Growth goes on as it was between the first and the last note of this size."""
    past = [(float(r["time"]), float(r[name])) for r in records if name in r] + [(now, float(value))]
    (began, first), (ended, last) = past[0], past[-1]
    rate = (last - first) / (ended - began) if ended > began else 0.0
    done = value >= target
    left = 0.0 if done else (target - value) / rate if rate > 0 else None
    return Milestone(name, name, value, target, done, _percent(value / target, done), left)


def _training(log: Sequence[dict[str, Any]]) -> list[Milestone]:
    """Epochs and hinge, from the log of the gate's training."""
    losses = [(r["epoch"], r["loss"], r["seconds"]) for r in log if r.get("loss") is not None and "mrr" not in r]
    if not losses:
        note = "train it with `gz graph milestones --train`"
        return [
            Milestone("epochs", "epochs", 0, EPOCHS, False, 0.0, None, note),
            Milestone("hinge", f"mean hinge at epoch {EPOCHS}", None, HINGE, False, 0.0, None, note),
        ]
    epoch, loss, seconds = losses[-1]
    left = max(0.0, (EPOCHS - epoch) * seconds / epoch)
    ended = epoch >= EPOCHS
    met = ended and loss < HINGE
    first = losses[0][1]
    fallen = 1.0 if loss < HINGE else math.log(first / loss) / math.log(first / HINGE) if loss < first else 0.0
    share = fallen * min(1.0, epoch / EPOCHS)
    note = "" if ended else f"{loss:.4f} after {epoch} epochs"
    return [
        Milestone("epochs", "epochs", epoch, EPOCHS, ended, _percent(epoch / EPOCHS, ended), left),
        Milestone(
            "hinge",
            f"mean hinge at epoch {EPOCHS}",
            loss,
            HINGE,
            met,
            _percent(share, met),
            None if ended and not met else left,
            note,
        ),
    ]


def _stability(item: str, records: Sequence[dict[str, Any]]) -> Milestone:
    tried = [record for record in records if record.get("item") == item]
    passed = bool(tried) and bool(tried[-1]["passed"])
    note = str(tried[-1].get("note", "")) if tried else "not tried yet"
    return Milestone(
        item,
        STABILITY[item],
        float(passed) if tried else None,
        1,
        passed,
        100.0 * passed,
        0.0 if passed else None,
        note,
    )


def _percent(share: float, done: bool) -> float:
    """Below 100 until it is done."""
    return 100.0 if done else round(min(99.9, max(0.0, 100 * share)), 1)

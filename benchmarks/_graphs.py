"""Public knowledge graphs as arrays of ids, from the data folder (`GROUNDZERO_DATA`)."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CODEX = "train.txt.gz valid.txt.gz test.txt.gz valid_negatives.txt.gz test_negatives.txt.gz"
FILES = {
    "codex-s": ("kg-codex/codex-s", CODEX),
    "codex-m": ("kg-codex/codex-m", CODEX),
    "fb15k-237": ("kg-fb15k237", "train.txt.gz valid.txt.gz test.txt.gz"),
    "wiki27k": ("kg-wiki27k", "train.txt.gz valid.txt test.txt valid_neg.txt test_neg.txt"),
    "umls": ("kg-umls-text", "train.tsv dev.tsv test.tsv"),
}


@dataclass(frozen=True)
class PublicGraph:
    """Splits and, where they were published, labelled negatives; ids count from 0 in order of first appearance."""

    name: str
    splits: Any
    negatives: Any
    """A `Labelled`, or None."""


def load(name: str) -> PublicGraph:
    """Read one of `FILES`. Negatives that name entities without a vector are left out (there are none in these)."""
    from groundzero.graph.embed.session import Labelled
    from groundzero.graph.embed.splits import Splits

    folder, files = FILES[name]
    parts = [_read(data_folder() / folder / file) for file in files.split()]
    entities: dict[str, int] = {}
    relations: dict[str, int] = {}
    for subject, relation, object_ in (row for part in parts[:3] for row in part):
        entities.setdefault(subject, len(entities))
        relations.setdefault(relation, len(relations))
        entities.setdefault(object_, len(entities))
    arrays = [_ids(part, entities, relations) for part in parts]
    splits = Splits.make(len(entities), len(relations), *arrays[:3])
    return PublicGraph(name, splits, Labelled(*arrays[3:]) if len(arrays) > 3 else None)


def data_folder() -> Path:
    """`GROUNDZERO_DATA`, or ../shared/data beside the checkout."""
    return Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))


def _read(path: Path) -> list[list[str]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    return [line.split("\t") for line in text.splitlines() if line]


def _ids(rows: list[list[str]], entities: dict[str, int], relations: dict[str, int]) -> np.ndarray:
    known = [(s, r, o) for s, r, o in rows if s in entities and r in relations and o in entities]
    return np.array([(entities[s], relations[r], entities[o]) for s, r, o in known], np.int64).reshape(-1, 3)

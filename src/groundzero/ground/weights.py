"""Learnt weights as a file: JSON, by the names of features and the keys of relations, so that it outlives ids."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from groundzero.errors import FormatError, InputError
from groundzero.ground.hops import HopTable
from groundzero.ground.scorer import Learned

SCHEMA = 1
SMALL = 0.01
"""Weights below this are left out."""


def save_learned(learned: Learned, table: HopTable, path: Path) -> None:
    """Write weights; the file is replaced at once or not at all."""
    hops = [f"{'<' if hop.inverse else '>'}{table.relation(code).key}" for code, hop in enumerate(table.hops)]
    features: dict[str, dict[str, float]] = {}
    for feature, row in learned.rows.items():
        told = np.flatnonzero(np.abs(learned.weight_FC[row]) >= SMALL)
        if len(told):
            features[feature] = {hops[code]: round(float(learned.weight_FC[row, code]), 3) for code in told}
    raw = {
        "schema": SCHEMA,
        "kind": "question scorer",
        "features": features,
        "bias": {
            hops[code]: round(float(value), 3) for code, value in enumerate(learned.bias_C) if abs(value) >= SMALL
        },
        "cuts": {
            feature: round(float(learned.cut_F[row]), 3)
            for feature, row in learned.cut_rows.items()
            if abs(learned.cut_F[row]) >= SMALL
        },
        "directions": [round(float(value), 3) for value in learned.direction_2],
        "words": sorted(learned.words),
        "margin": round(learned.margin, 3),
    }
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(raw, ensure_ascii=False, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def load_learned(path: Path, table: HopTable) -> Learned:
    """Read weights for the relations of a graph; weights of relations that it lacks are left out.

    Raises:
        InputError: there is no such file.
        FormatError: it is no file of weights, or of a version that this release does not read.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.", remedy="Learn one with `gz ask --learn PAIRS --scorer FILE`.")
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["schema"] != SCHEMA or raw["kind"] != "question scorer":
            raise FormatError(
                f"{path} has schema {raw['schema']}; this release reads {SCHEMA}.", remedy="Learn it again from pairs."
            )
        return _from(raw, table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is no file of learnt weights.", remedy="Learn it again from pairs.") from error


def carried_over(learned: Learned, before: HopTable, after: HopTable) -> Learned:
    """The same weights for a graph whose relations have changed since."""
    codes = [(code, after.code_of[hop]) for code, hop in enumerate(before.hops) if hop in after.code_of]
    old, new = [pair[0] for pair in codes], [pair[1] for pair in codes]
    weight_FC, bias_C = np.zeros((len(learned.rows), len(after))), np.zeros(len(after))
    weight_FC[:, new] = learned.weight_FC[:, old]
    bias_C[new] = learned.bias_C[old]
    return replace(learned, weight_FC=weight_FC, bias_C=bias_C)


def _from(raw: dict[str, Any], table: HopTable) -> Learned:
    codes = {f"{'<' if hop.inverse else '>'}{table.relation(code).key}": code for code, hop in enumerate(table.hops)}
    weight_FC = np.zeros((len(raw["features"]), len(table)))
    for row, told in enumerate(raw["features"].values()):
        for hop, value in told.items():
            if hop in codes:
                weight_FC[row, codes[hop]] = float(value)
    bias_C = np.zeros(len(table))
    for hop, value in raw["bias"].items():
        if hop in codes:
            bias_C[codes[hop]] = float(value)
    return Learned(
        rows={feature: row for row, feature in enumerate(raw["features"])},
        weight_FC=weight_FC,
        bias_C=bias_C,
        cut_rows={feature: row for row, feature in enumerate(raw["cuts"])},
        cut_F=np.array([float(value) for value in raw["cuts"].values()]),
        direction_2=np.array([float(value) for value in raw["directions"]]),
        words=frozenset(str(word) for word in raw["words"]),
        margin=float(raw["margin"]),
    )

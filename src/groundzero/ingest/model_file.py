"""A prose model in one file: arrays without pickle, and JSON for what has names."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundzero.errors import FormatError
from groundzero.ingest.facts import Facts
from groundzero.ingest.gazetteer import Gazetteer
from groundzero.ingest.pages import PageModel
from groundzero.ingest.thresholds import Calibration, Judge
from groundzero.ingest.topics import Topics, Words
from groundzero.run.files import write_atomic

SCHEMA = 1


def write_model(path: Path, model: PageModel) -> None:
    """Write a model, whole or not at all."""
    judge, topics = model.judge, model.topics
    names: dict[str, Any] = {
        "schema": SCHEMA,
        "pages": model.pages,
        "bias": model.bias,
        "weights": list(model.weights),
        "memory": list(model.memory),
        "columns": list(topics.words.column),
        "classes": topics.classes,
        "calibrations": {
            str(int(named)): [each.scores, each.probabilities] for named, each in judge.calibrations.items()
        },
        "thresholds": [[r, int(named), value] for (r, named), value in judge.thresholds.items()],
        "measured": [[r, int(named), *value] for (r, named), value in judge.measured.items()],
    }
    arrays: dict[str, NDArray[Any]] = {
        "names": np.frombuffer(json.dumps(names).encode(), dtype=np.uint8),
        "weights": np.asarray(list(model.weights.values()), dtype=np.float32),
        "memory": np.asarray(list(model.memory.values()), dtype=np.float32).reshape(-1, 2),
        "word_weights": topics.words.weight_W,
        "data": topics.pages_DW.data.astype(np.float32),
        "indices": topics.pages_DW.indices,
        "indptr": topics.pages_DW.indptr,
        "dual": topics.dual_DC,
        "mean": topics.mean_C,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def read_model(path: Path, facts: Facts, gazetteer: Gazetteer) -> PageModel:
    """Read a model back, for a graph whose ids it was learnt with.

    Raises:
        FormatError: damaged, or of another version.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        names = json.loads(found["names"].tobytes())
        if names["schema"] != SCHEMA:
            raise ValueError(f"version {names['schema']}")
        return _model(names, found, facts, gazetteer)
    except (ValueError, KeyError, TypeError, IndexError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path} cannot be read: {error}.", remedy="Delete it; it is learnt again.") from None


def _model(names: dict[str, Any], found: dict[str, NDArray[Any]], facts: Facts, gazetteer: Gazetteer) -> PageModel:
    words = Words({name: i for i, name in enumerate(names["columns"])}, found["word_weights"])
    shape = (len(found["indptr"]) - 1, len(words.column))
    pages_dw = sparse.csr_matrix((found["data"], found["indices"], found["indptr"]), shape=shape)
    topics = Topics(words, [(r, o) for r, o in names["classes"]], pages_dw, found["dual"], found["mean"])
    judge = Judge({bool(int(named)): Calibration(*points) for named, points in names["calibrations"].items()})
    judge.thresholds = {(r, bool(named)): value for r, named, value in names["thresholds"]}
    judge.measured = {(r, bool(named)): (a, b) for r, named, a, b in names["measured"]}
    memory = dict(zip(names["memory"], found["memory"].tolist(), strict=True))
    weights = dict(zip(names["weights"], found["weights"].tolist(), strict=True))
    model = PageModel(facts, gazetteer, topics, memory, weights, float(names["bias"]), judge)
    model.pages = int(names["pages"])
    return model

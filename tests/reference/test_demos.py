"""Every module of the twin that has a demonstration runs as one, without PyTorch, and shows what it promises."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import groundzero.reference

PHRASES = {
    "module": ["by hand", "a*b = 6.000", "Next: activations"],
    "activations": ["relu2", "scores + 100", "[101. 102. 103.] = [0.09  0.245 0.665]", "(sum 0)"],
    "layers": ["[2. 2. 2. 2.]", "distance 2, product 0.83", "Dropout of one half"],
    "tokenizer": ["id 29", "'banana'", "é世"],
    "attention": [
        "now knows of a cat and a dog",
        "5 of 6 outputs stay the same",
        "sum 1.00",
        "['reached', 'reached', 'reached', '-', '-', '-']",
    ],
    "transformer": ["every output as before to the last bit: True", "Past the layers it arrives whole"],
    "optimizer": ["SGD + momentum 0.9", "(0.60, 0.80)", "cosine"],
    "roles": ["blocks.0.attention.query.weight     32 x 32     matrix     Muon", "0      exp_avg"],
    "model": ["ln 20 = 3.00", "56,544 numbers", "Written at temperature 1.5", "Next: lora"],
    "knowledge": ["'Man'    -> c 0.33, the end 0.67", "'Manchester' with 0.30", "not a fact, but how to look one up"],
    "islands": [
        "Peru      1    3      see    see    see    see",
        "as islands                   facts 0.000   question 0.000",
    ],
    "lora": ["exactly what it said: True", "to the last bit: True"],
    "quantize": ["scale / 2 = 0.067", "(float32)", "it is the default"],
    "safetensors": ["the header has 160 bytes", "a pickle"],
    "utils": ["is the same batch", "Largest difference of the weights at the end: 0.0"],
    "training": ["ln 12 = 2.48", "unseen right"],
}
"""What each demonstration must print, among other things; one added to the package needs a line here."""
WITHOUT = {"config", "split", "__main__"}
"""Tables for others, with nothing to show; and the table of contents."""

RUN = """
import runpy, sys
runpy.run_module("groundzero.reference." + sys.argv[1], run_name="__main__")
brought = {"torch", "pydantic", "regex", "tokenizers", "safetensors"} & set(sys.modules)
ours = {name.split(".")[1] for name in sys.modules if name.startswith("groundzero.")} - {"reference"}
sys.exit(f"the twin imports {sorted(brought | ours)}" if brought or ours else 0)
"""


def run(module: str) -> str:
    """What `python -m groundzero.reference.<module>` prints; and nothing on stderr, and no import it must not make."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, module],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("module", PHRASES)
def test_a_demonstration(module):
    shown = run(module)
    for phrase in PHRASES[module]:
        assert phrase in shown
    assert max(len(line) for line in shown.splitlines()) <= 120


def test_every_module_has_a_demonstration_and_says_how_to_run_it():
    modules = {module.name for module in pkgutil.iter_modules(groundzero.reference.__path__)}
    assert modules == set(PHRASES) | WITHOUT
    for module in PHRASES:
        spec = importlib.util.find_spec(f"groundzero.reference.{module}")
        assert spec is not None
        assert f"`python -m groundzero.reference.{module}`" in Path(str(spec.origin)).read_text(encoding="utf-8")


def test_what_one_demonstration_promises_next_is_there():
    """A learner is led from one to the next."""
    for module in PHRASES:
        spec = importlib.util.find_spec(f"groundzero.reference.{module}")
        assert spec is not None
        text = Path(str(spec.origin)).read_text(encoding="utf-8")
        for line in text.splitlines():
            if "Next: " in line:
                assert line.split("Next: ")[1].split(",")[0].split(".")[0].split(" ")[0].strip('")') in PHRASES

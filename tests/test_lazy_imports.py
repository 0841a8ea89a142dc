"""PyTorch takes seconds to import; nothing that answers without it may bring it in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import groundzero

FOLDER = Path(groundzero.__file__).parent
HEAVY = ("torch", "transformers", "safetensors.torch", "matplotlib")
WITHOUT_TORCH = [
    "import groundzero",
    "import groundzero.reference",
    "import groundzero.cli.app",
    "import groundzero.errors, groundzero.settings, groundzero.metrics, groundzero.run",
    "from groundzero.model import GPTConfig; GPTConfig(family='llama').padded_vocab_size",
    "from groundzero.model.presets import PRESETS; [(p.config, p.true_parameters) for p in PRESETS]",
    "from groundzero.model.size import flops_per_token, memory, parameter_count",
    "from groundzero.model.aliases import *",
]
LIGHT_FILES = sorted(
    ".".join(("groundzero", *path.relative_to(FOLDER).with_suffix("").parts))
    for pattern in ("cli/*.py", "*/config.py", "reference/**/*.py")
    for path in FOLDER.glob(pattern)
    if path.name != "__init__.py"
)


def heavy_after(code: str) -> list[str]:
    """Which heavy packages a fresh interpreter holds after running `code`."""
    script = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("code", WITHOUT_TORCH)
def test_it_does_without_pytorch(code) -> None:
    assert heavy_after(code) == []


def test_every_command_and_config_file_does_without_pytorch() -> None:
    """All at once, which is quick; a culprit is then looked for one by one."""
    assert "groundzero.model.config" in LIGHT_FILES
    if heavy_after("import " + ", ".join(LIGHT_FILES)):
        culprits = {name: found for name in LIGHT_FILES if (found := heavy_after(f"import {name}"))}
        assert culprits == {}


def test_the_network_itself_brings_it_in() -> None:
    """What shows that the checks above can fail."""
    assert "torch" in heavy_after("from groundzero.model import GPT")


def test_names_that_are_not_there_are_refused() -> None:
    import groundzero.model

    with pytest.raises(AttributeError, match="no attribute 'GTP'"):
        groundzero.model.GTP  # noqa: B018

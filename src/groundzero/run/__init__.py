"""The run directory: everything needed to use or repeat a training, as plain files. Never imports PyTorch."""

from groundzero.run.checkpoints import Checkpoint, Checkpoints, Search
from groundzero.run.directory import SCHEMA_VERSION, RunDirectory, fresh_run_path
from groundzero.run.files import read_sealed, sha256_of, write_atomic, write_sealed

__all__ = [
    "SCHEMA_VERSION",
    "Checkpoint",
    "Checkpoints",
    "RunDirectory",
    "Search",
    "fresh_run_path",
    "read_sealed",
    "sha256_of",
    "write_atomic",
    "write_sealed",
]

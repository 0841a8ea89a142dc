"""How far a build is: `build.json` in its run, sealed, and written anew whenever a stage begins or ends.

A stage is in it once all that it makes is on the disk. What a killed process was at is done again, or gone on with
where the stage itself keeps checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundzero.build.config import BuildConfig
from groundzero.build.order import Order
from groundzero.build.plan import Plan
from groundzero.errors import FormatError, UsageError
from groundzero.run import read_sealed, write_sealed
from groundzero.run.files import storage_errors

SCHEMA_VERSION = 1
FILE = "build.json"
MAY_BE_THERE = frozenset({"corpus.txt"})
"""In a new build's folder: text that was piped in is kept there before anything else happens."""


class State:
    """The order, what was resolved from it, and the stages that are done."""

    def __init__(self, out: Path, content: dict[str, Any]) -> None:
        self._path = out / FILE
        self._content = content
        try:
            self.order = Order.from_json(content["order"])
            self.config = BuildConfig.parse(content["config"])
            self.plan = Plan(**content["plan"])
        except (KeyError, TypeError) as error:
            raise FormatError(f"{self._path} does not describe a build: {error!r}.", remedy="Build anew.") from None

    @classmethod
    def find(cls, out: Path) -> State | None:
        """The build in a folder; None where nothing is there.

        Raises:
            UsageError: something else is there.
            FormatError: its state is damaged, or of another version.
        """
        if (out / FILE).exists():
            return cls(out, read_sealed(out / FILE, reads=SCHEMA_VERSION, what="state of a build"))
        there = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name] if out.exists() else []
        if set(there) - MAY_BE_THERE:
            raise UsageError(
                f"There is something else at {out} already: {min(set(there) - MAY_BE_THERE)}.",
                remedy="Give --out a folder that is new or empty.",
            )
        return None

    @classmethod
    def begin(cls, out: Path, order: Order, config: BuildConfig, plan: Plan) -> State:
        """A new build; its folder is made.

        Raises:
            StorageError: the disk refused.
        """
        content = {
            "schema": SCHEMA_VERSION,
            "order": order.as_json(),
            "config": config.model_dump(mode="json", exclude_unset=True),
            "plan": plan.as_json(),
            "stages": {},
            "begun": {},
            "spent": 0.0,
        }
        with storage_errors(f"create the build {out}"):
            out.mkdir(parents=True, exist_ok=True)
        state = cls(out, content)
        state._write()
        return state

    @property
    def spent(self) -> float:
        """Seconds, by all processes that worked on it, as far as they could tell."""
        return float(self._content["spent"])

    def is_done(self, stage: str) -> bool:
        """Whether all that it makes is there."""
        return stage in self._content["stages"]

    def figures(self, stage: str) -> dict[str, Any]:
        """What a stage came to; empty where it is not done."""
        found: dict[str, Any] = self._content["stages"].get(stage, {})
        return found

    def begun(self, stage: str, seconds: float) -> float:
        """Note that a stage has begun, with the time it gets; what it got where it was begun before."""
        known = self._content["begun"].get(stage)
        if known is None:
            self._content["begun"][stage] = known = seconds
            self._write()
        return float(known)

    def finish(self, stage: str, figures: Mapping[str, Any], spent: float) -> None:
        """Note that a stage is done."""
        self._content["stages"][stage] = dict(figures)
        self._content["spent"] = spent
        self._write()

    def pause(self, spent: float) -> None:
        """Note the time when work stops in the middle of a stage."""
        self._content["spent"] = spent
        self._write()

    def _write(self) -> None:
        with storage_errors(f"write {self._path}"):
            write_sealed(self._path, self._content)

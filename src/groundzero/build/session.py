"""The build itself: stage after stage, each begun with its share of the time, each noted once it is done.

    plan      what it will be and take; can the machine carry it?
    graph     the facts into the run
    text      the user's text and the graph in words -> vocabulary -> tokens
    pretrain  a network that writes
    embed     vectors of the graph
    ground    the network learns to answer from facts, to cite them, to refuse
    exam      what it answers about entities that it was never taught
    report    one page that tells it all

Facts come before text, because they are read, too, all but those that the exam asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundzero.build.budget import WEIGHTS, Budget
from groundzero.build.config import BuildConfig
from groundzero.build.doctor import examine_machine
from groundzero.build.exam import hold_exam
from groundzero.build.facts import take_graph
from groundzero.build.job import Job, StoppedError
from groundzero.build.learning import embed, ground, pretrain
from groundzero.build.observer import BuildObserver
from groundzero.build.order import Order, anywhere
from groundzero.build.plan import Plan, forecast
from groundzero.build.report import write_report
from groundzero.build.sizes import choose_size
from groundzero.build.state import FILE, State
from groundzero.build.survey import look
from groundzero.build.text import prepare_text
from groundzero.errors import UsageError
from groundzero.graph.lease import Lease
from groundzero.hardware import choose_device


@dataclass(frozen=True)
class Stage:
    """One step of a build."""

    name: str
    what: str
    """In words, for whoever waits."""
    work: Callable[..., Mapping[str, Any]]
    """Given the job, and its seconds where it has a weight in the budget; returns its figures."""
    with_graph: bool = False
    """Only where there is a graph."""


STAGES = (
    Stage("graph", "the facts into the run", take_graph, with_graph=True),
    Stage("text", "vocabulary and tokens", prepare_text),
    Stage("pretrain", "learning to write", pretrain),
    Stage("embed", "vectors of the graph", embed, with_graph=True),
    Stage("ground", "learning to answer from facts", ground, with_graph=True),
    Stage("exam", "questions about what it was never taught", hold_exam, with_graph=True),
    Stage("report", "the report", write_report),
)


@dataclass(frozen=True)
class Built:
    """How a build ended."""

    run: Path
    plan: Plan
    stages: Mapping[str, Mapping[str, Any]]
    """What each stage that is done came to; `took` is its seconds."""
    seconds: float
    """Of work, in all processes."""
    interrupted: bool
    """A signal stopped it; the same order goes on."""

    def as_json(self) -> dict[str, Any]:
        """`{run, minutes, seconds, interrupted, plan, stages}`."""
        return {
            "run": str(self.run), "minutes": self.plan.minutes, "seconds": self.seconds,
            "interrupted": self.interrupted, "plan": self.plan.as_json(), "stages": dict(self.stages),
        }  # fmt: skip


def stages_of(order: Order) -> tuple[Stage, ...]:
    """Those that an order has."""
    return tuple(stage for stage in STAGES if order.graph or not stage.with_graph)


def plan_build(order: Order) -> tuple[BuildConfig, Plan]:
    """Every setting and a forecast; nothing is written.

    Raises:
        UsageError, ConfigError, InputError, FormatError, StorageError: what is wrong with the order or the input.
    """
    order.check()
    unsized = BuildConfig.resolve(
        order, choose_size(order.minutes, 0.0, choose_device(order.device), facts=bool(order.graph))
    )
    inputs = look(order, unsized.pretraining.data)
    text_bytes, facts = inputs.text_bytes + inputs.facts_bytes, bool(order.graph)
    size = choose_size(order.minutes, text_bytes, choose_device(order.device), facts=facts)
    config = BuildConfig.resolve(order, size)
    return config, forecast(order, config, inputs, tuple(stage.name for stage in stages_of(order)))


def order_for(out: Path, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> Order:
    """What is given over the defaults; or what was ordered when a build was begun in `out`, of which what is given must
    be part.

    Args:
        given: fields of an `Order` that somebody named.

    Raises:
        UsageError: nothing can be meant by it, something else is in `out`, or another build.
    """
    places = {name: anywhere(str(given[name])) for name in ("text", "graph") if given.get(name)}
    begun = State.find(out)
    if begun is not None:
        return begun.order.resumed_with({**given, **places})
    order = Order(**{**defaults, **given, **places})
    order.check()
    return order


def build(
    order: Order | None, out: Path, *, observer: BuildObserver | None = None, started: float | None = None
) -> Built:
    """Build into `out`, or go on with what was begun there.

    Args:
        order: what to build; None for what was ordered when it was begun.
        started: `time.monotonic()` from which the time counts; now when None.

    Raises:
        UsageError: nothing was begun there, or something else is there, or another build.
        ConfigError, InputError, FormatError, StorageError: what is wrong with settings, input or disk.
        TrainingError: a loss is not finite any more.
    """
    observer = observer or BuildObserver()
    state = State.find(out)
    if state is None:
        if order is None:
            raise UsageError(f"No build was begun at {out}.", remedy="Give --text DIR, --graph FILE, or both.")
        clock = Budget(order.minutes, started=started)
        config, plan = plan_build(order)
        observer.planned(plan)
        examine_machine(plan, out)
        state = State.begin(out, order, config, plan)
    else:
        clock = Budget(state.order.minutes, spent=state.spent, started=started)
    return _work(Job(out, state, clock, observer))


def _work(job: Job) -> Built:
    """What is left to do; by one process at a time."""
    stages = stages_of(job.order)
    if all(job.state.is_done(stage.name) for stage in stages):
        return _built(job, interrupted=False)
    lease = Lease(job.out / FILE, timeout=0.0)
    try:
        with lease.hold():
            interrupted = _went_through(job, stages)
    finally:
        lease.close()
    return _built(job, interrupted=interrupted)


def _went_through(job: Job, stages: tuple[Stage, ...]) -> bool:
    """Do the stages that are not done; returns whether a signal came before the end."""
    try:
        for place, stage in enumerate(stages):
            if not job.state.is_done(stage.name):
                job.observer.stage(stage.name, stage.what, place + 1, len(stages))
                before = job.budget.spent
                figures = _done(job, stage, tuple(each.name for each in stages[place:]))
                seconds = job.budget.spent - before
                job.state.finish(stage.name, {**figures, "took": seconds}, job.budget.spent)
                job.observer.finished(stage.name, figures, seconds)
    except (StoppedError, KeyboardInterrupt):
        job.state.pause(job.budget.spent)
        return True
    return False


def _built(job: Job, *, interrupted: bool) -> Built:
    names = [stage.name for stage in stages_of(job.order) if job.state.is_done(stage.name)]
    done = {name: job.state.figures(name) for name in names}
    return Built(job.out, job.state.plan, done, job.state.spent, interrupted)


def _done(job: Job, stage: Stage, ahead: tuple[str, ...]) -> Mapping[str, Any]:
    if stage.name not in WEIGHTS:
        return stage.work(job)
    return stage.work(job, job.state.begun(stage.name, job.budget.share(stage.name, ahead)))

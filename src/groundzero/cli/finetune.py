"""`gz finetune`: teach a trained model something further."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from groundzero.cli.app import INTERRUPTED
from groundzero.cli.output import emit, note
from groundzero.errors import UsageError
from groundzero.settings import parse_overrides

app = typer.Typer(add_completion=False)

# A third of pretraining's rates, for a few passes: what is known is to be used, not thrown away.
RECIPE: dict[str, Any] = {"learning_rate": 3e-4, "muon_learning_rate": 6e-3, "warmup_steps": 10, "sample_tokens": 40}
EPOCHS = 3.0
MINUTES = 10.0


@app.callback()
def finetune() -> None:
    """Teach a trained model something further. The run it starts from stays as it is."""


@app.command()
def instruct(
    run: Annotated[Path | None, typer.Option("--run", help="The trained run to start from.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Conversations: .json or .jsonl, .gz too.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; a fresh one under runs/.")] = None,
    form: Annotated[str, typer.Option("--template", help="How turns are framed: chat or alpaca.")] = "chat",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="train.key=value; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Updates of the weights.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Passes over the conversations; 3.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time budget, instead.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "--lr", help="AdamW's peak.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of dropout and batch order.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, mps or xpu.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Learn to answer, from conversations. Only what the assistant says is learnt.

    Rows may be {"messages": [{"role", "content"}]}, {"instruction", "input", "output"}, {"question", "answer"},
    ShareGPT's, or lists of turns; others are left out and told.

    Examples:
      gz finetune instruct --run runs/book --data chats.jsonl --out runs/chat
      gz finetune instruct --resume --out runs/chat
    """
    given = {"steps": steps, "epochs": epochs, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    train = {name: value for name, value in {**given, "device": device}.items() if value is not None}
    if resume and (out is None or run is not None or data is not None):
        raise UsageError("--resume needs --out RUN, and nothing else to start from.", remedy="Give --out alone.")
    if not resume and (run is None or data is None):
        missing = "--run" if run is None else "--data"
        raise UsageError(f"{missing} is missing.", remedy="Give --run RUN and --data FILE.")
    from groundzero.cli.train import summary  # noqa: PLC0415
    from groundzero.cli.training import TrainingDisplay  # noqa: PLC0415
    from groundzero.finetune.session import Instruction, tune_on_conversations  # noqa: PLC0415 - PyTorch
    from groundzero.run import fresh_run_path  # noqa: PLC0415
    from groundzero.train.config import LENGTHS, resolve  # noqa: PLC0415

    if not resume and not train.keys() & set(LENGTHS):
        train["epochs"] = EPOCHS
    defaults = {} if resume else RECIPE
    config = resolve(preset_name="nano", overrides=overrides or (), options={"train": {**defaults, **train}})
    path = out or fresh_run_path(name=f"{run.name}-chat" if run else "")
    instruction = Instruction(run, data, form) if run is not None and data is not None else None
    with TrainingDisplay() as display:
        result = tune_on_conversations(
            config, path, instruction=instruction, resume=resume, overwrite=overwrite, observer=display
        )
    payload = asdict(result)
    emit(payload, as_json, lambda: summary(payload))
    if result.interrupted:
        go_on = f"gz finetune instruct --resume --out {shlex.quote(str(path))}"
        note(f"Stopped and saved at step {result.steps}. Go on with: {go_on}")
        raise typer.Exit(INTERRUPTED)


@app.command()
def ground(
    run: Annotated[Path | None, typer.Option("--run", help="The trained run to start from.")] = None,
    graph: Annotated[str | None, typer.Option("--graph", help="The graph whose facts lessons are drawn from.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; a fresh one under runs/.")] = None,
    embedding: Annotated[
        Path | None, typer.Option("--embedding", help="Folder of `gz graph embed`: vectors beside the texts of facts.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="train.key=value, or ground.lessons|channels|knowledge.key=value; may be repeated."),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Updates of the weights.")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Lessons per statement of the graph.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Time budget; 10 when nothing is given.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "--lr", help="AdamW's peak.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of weights and dropout.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, mps or xpu.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Learn to answer from facts: to read evidence, copy names from it, cite it, and refuse where it is silent.

    Lessons are drawn from the graph; a tenth of its entities is never taught, and is validated with.

    Examples:
      gz finetune ground --run runs/book --graph facts.db --out runs/grounded --minutes 20
      gz finetune ground --resume --out runs/grounded
    """
    given = {"steps": steps, "epochs": epochs, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    train = {name: value for name, value in {**given, "device": device}.items() if value is not None}
    if resume and (out is None or run is not None or graph is not None):
        raise UsageError("--resume needs --out RUN, and nothing else to start from.", remedy="Give --out alone.")
    if not resume and (run is None or graph is None):
        missing = "--run" if run is None else "--graph"
        raise UsageError(f"{missing} is missing.", remedy="Give --run RUN and --graph DB.")
    from groundzero.build.recipe import TUNING  # noqa: PLC0415
    from groundzero.cli.train import summary  # noqa: PLC0415
    from groundzero.cli.training import TrainingDisplay  # noqa: PLC0415
    from groundzero.ground.config import GroundingSettings  # noqa: PLC0415 - PyTorch
    from groundzero.ground.tuning import Grounding, tune_on_graph  # noqa: PLC0415 - PyTorch
    from groundzero.run import fresh_run_path  # noqa: PLC0415
    from groundzero.train.config import LENGTHS, resolve  # noqa: PLC0415

    if not resume and not train.keys() & set(LENGTHS):
        train["minutes"] = MINUTES
    own = [each.removeprefix("ground.") for each in overrides or () if each.startswith("ground.")]
    others = [each for each in overrides or () if not each.startswith("ground.")]
    defaults = {} if resume else TUNING
    config = resolve(preset_name="nano", overrides=others, options={"train": {**defaults, **train}})
    path = out or fresh_run_path(name=f"{run.name}-grounded" if run else "")
    grounding = None
    if run is not None and graph is not None:
        where = graph if "://" in graph else str(Path(graph).resolve())
        grounding = Grounding(run, where, GroundingSettings.parse(parse_overrides(own)), embedding)
    with TrainingDisplay() as display:
        result = tune_on_graph(config, path, grounding=grounding, resume=resume, overwrite=overwrite, observer=display)
    payload = asdict(result)
    emit(payload, as_json, lambda: summary(payload))
    if result.interrupted:
        go_on = f"gz finetune ground --resume --out {shlex.quote(str(path))}"
        note(f"Stopped and saved at step {result.steps}. Go on with: {go_on}")
        raise typer.Exit(INTERRUPTED)

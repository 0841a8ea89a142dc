"""`report.html`: the build on one page, for whoever made it and whoever is shown it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundzero.build import page
from groundzero.build.job import Job
from groundzero.build.showing import Askable, answer_all, askable, asked_about_the_unseen, write_samples
from groundzero.run import RunDirectory, write_atomic
from groundzero.run.files import storage_errors

FILE, SAMPLES = "report.html", "samples.txt"
_SHOWN = 4
_LONGEST = 700
"""Characters of a sample that are shown."""


def write_report(job: Job) -> dict[str, Any]:
    """Let the model write and answer, and lay everything out.

    Raises:
        StorageError: the disk refused.
    """
    samples = write_samples(job.base, job.order.seed)
    answers: list[dict[str, Any]] = []
    questions: list[Askable] = []
    if job.order.graph:
        with job.graph() as graph:
            questions = askable(graph)
            answers = answer_all(job.out, graph, asked_about_the_unseen(graph, job.lessons, job.order.seed))
    parts = [
        *_head(job),
        *_asked(questions),
        *_answered(answers),
        *_exam(job.state.figures("exam")),
        *_curves(job),
        *_written([each["text"] for each in samples]),
        *_time(job),
        *_next(job, questions),
    ]
    with storage_errors(f"write {job.out / FILE}"):
        write_atomic(job.out / FILE, page.page(f"{job.out.name}: a model of your own", parts).encode())
        texts = "\n\n---\n\n".join(each["text"] for each in samples)
        write_atomic(job.out / SAMPLES, (texts + "\n").encode())
    return {
        "file": str(job.out / FILE),
        "samples": [each["text"] for each in samples],
        "finished_share": sum(each["finished"] for each in samples) / max(1, len(samples)),
        "questions": [each.question for each in questions],
        "answers": answers,
    }


def _head(job: Job) -> Iterator[str]:
    plan, text, graph = job.state.plan, job.state.figures("text"), job.state.figures("graph")
    base, tuned = job.state.figures("pretrain"), job.state.figures("ground")
    kind = "answers from your facts, and cites them" if graph else "writes like your text"
    yield f"<h1>{page.text(job.out.name)}</h1>"
    yield f'<p class="dim">A model of your own that {kind}. Built in {_minutes(job.budget.spent)} of the '
    yield f"{page.text(f'{plan.minutes:g}')} minutes given, on {page.text(plan.device)}.</p>"
    items = [(_count((tuned or base)["parameters"]), "parameters"), (_count(text["train_tokens"]), "tokens of text")]
    if graph:
        items += [
            (f"{graph['triples']:,}", "facts"),
            (f"{graph['entities']:,}", "things"),
            (f"{graph['relations']:,}", "relations"),
        ]
    if base.get("val_loss") is not None:
        items.append((f"{base['val_loss']:.3f}", "validation loss of the text"))
    yield page.cards(items)


def _asked(questions: Sequence[Askable]) -> Iterator[str]:
    if questions:
        yield "<h2>What it can be asked</h2>"
        rows = [(each.question, each.relation, f"{each.statements:,}") for each in questions]
        yield page.table(("for example", "relation", "facts"), rows, numbers=("facts",))
        yield '<p class="dim">Also two and three steps on, from the other end, how many, and whether it is true.</p>'


def _answered(answers: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    shown = list(answers)
    if shown:
        yield "<h2>Answers about things it was never taught</h2>"
    for answer in shown:
        yield f"<p><b>{page.text(answer['question'])}</b></p>"
        yield page.quote(answer["text"])
        cited = "; ".join(
            f"S{each['id']}: {each['subject']} | {each['relation']} | {each['object']}"
            for each in answer["citations"][:4]
        )
        verdict = "checked against the graph" if answer["verified"] else "not borne out by the graph"
        mark = "good" if answer["verified"] else "bad"
        yield f'<p class="dim">{page.text(cited)} <span class="{mark}">{verdict}</span></p>'


def _exam(figures: Mapping[str, Any]) -> Iterator[str]:
    for section in figures.get("sections", {}).values():
        yield f"<h2>Exam: {page.text(section['title'])}</h2>"
        rows = [
            (each["name"], _share(each["value"], each["unit"]), _interval(each), f"{each['n']:,}")
            for each in section["measures"]
        ]
        yield page.table(("", "found", "95 % interval", "of"), rows, numbers=("found", "95 % interval", "of"))


def _curves(job: Job) -> Iterator[str]:
    yield '<h2>How it learnt</h2><div class="row">'
    runs = [("learning to write", job.base)] + ([("learning to answer", job.out)] if job.order.graph else [])
    for name, path in runs:
        losses = curves(RunDirectory.open(path).metrics)
        caption = f"{name}: loss over steps, in nats a token; blue training, orange validation"
        yield page.curve(caption, losses["train_loss"], losses["val_loss"])
    yield "</div>"


def curves(records: Iterable[Any]) -> dict[str, list[tuple[int, float]]]:
    """Losses over steps, of training and of validation, from metric records."""
    known = [record for record in records if isinstance(record, Mapping)]
    return {
        name: [(int(record["step"]), float(record[name])) for record in known if record.get(name) is not None]
        for name in ("train_loss", "val_loss")
    }


def _written(samples: Sequence[str]) -> Iterator[str]:
    yield "<h2>What it writes of its own accord</h2>"
    yield '<p class="dim">Before it was taught facts: it knows the form of the text, and makes the rest up.</p>'
    for sample in samples[:_SHOWN]:
        yield page.quote(sample if len(sample) <= _LONGEST else sample[:_LONGEST] + "...")


def _time(job: Job) -> Iterator[str]:
    yield "<h2>Where the time went</h2>"
    rows = []
    for name, planned in job.state.plan.seconds.items():
        took = job.state.figures(name).get("took")
        rows.append((name, f"{planned:.0f} s", "" if took is None else f"{took:.0f} s"))
    yield page.table(("stage", "planned", "took"), rows, numbers=("planned", "took"))


def _next(job: Job, questions: Sequence[Askable]) -> Iterator[str]:
    run = shlex.quote(str(job.out))
    lines = [f'gz generate --run {shlex.quote(str(job.base))} --prompt "The"']
    if questions:
        graph = shlex.quote(str(job.graph_path))
        lines = [
            f"gz ask {shlex.quote(questions[0].question)} --run {run}",
            f"gz graph edit SUBJECT RELATION OBJECT --graph {graph} --diff {run}",
            *lines,
        ]
    yield f"<h2>Go on</h2><pre>{page.text(chr(10).join(lines))}</pre>"


def next_commands(out: Path, base: Path, question: str) -> list[str]:
    """What to try with a finished build."""
    run = shlex.quote(str(out))
    asked = [f"gz ask {shlex.quote(question)} --run {run}"] if question else []
    return [*asked, f'gz generate --run {shlex.quote(str(base))} --prompt "The"']


def _count(value: float) -> str:
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"


def _share(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if unit == "share" else f"{value:,.3g} {unit}"


def _interval(measure: Mapping[str, Any]) -> str:
    low, high = measure.get("low"), measure.get("high")
    return "" if low is None or high is None else f"{low:.1%} to {high:.1%}"

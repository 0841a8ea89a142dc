"""`report.html`: the build on one page, for whoever made it and whoever is shown it."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundzero.build import page
from groundzero.build.job import Job
from groundzero.build.showing import Askable, answer_all, askable, asked_about_the_unseen, write_samples
from groundzero.run import RunDirectory, write_atomic
from groundzero.run.files import storage_errors

FILE, SAMPLES = "report.html", "samples.txt"
_SHOWN = 3
_LONGEST = 600
"""Characters of a sample that are shown."""
_COLUMNS = {
    "fallback on": "as answered",
    "model alone": "in the model's own words",
    "reasoning": "found by reasoning",
    "by rule": "worded by rule",
}


def write_report(job: Job) -> dict[str, Any]:
    """Let the model write and answer, and lay everything out.

    Returns:
        `{file, samples, finished_share, questions, answers}`; answers as `gz ask --json` prints them.

    Raises:
        StorageError: the disk refused.
    """
    job.observer.preparing("samples and answers", 0, 2)
    samples = write_samples(job.base, job.order.seed)
    job.observer.preparing("samples and answers", 1, 2)
    answers: list[dict[str, Any]] = []
    questions: list[Askable] = []
    if job.order.graph:
        with job.graph() as graph:
            questions = askable(graph)
            answers = answer_all(job.out, graph, asked_about_the_unseen(graph, job.lessons, job.order.seed))
    job.observer.preparing("samples and answers", 2, 2)
    texts = [each["text"] for each in samples]
    parts = [
        _head(job), _tiles(job), _asked(questions), _answered(answers), _exam(job.state.figures("exam")),
        _curves(job), _written(texts), _time(job),
        page.section("Go on", page.commands(_next(job, questions))),
    ]  # fmt: skip
    with storage_errors(f"write {job.out / FILE}"):
        write_atomic(job.out / FILE, page.page(f"{job.out.name}: a model of your own", parts).encode())
        write_atomic(job.out / SAMPLES, ("\n\n---\n\n".join(texts) + "\n").encode())
    return {
        "file": str(job.out / FILE),
        "samples": texts,
        "finished_share": sum(each["finished"] for each in samples) / max(1, len(samples)),
        "questions": [each.question for each in questions],
        "answers": answers,
    }


def _head(job: Job) -> str:
    plan, today = job.state.plan, datetime.date.today().isoformat()
    kind = "It answers from your facts, and cites them." if job.order.graph else "It writes like your text."
    spent = job.budget.spent
    took = f"{spent:.0f} seconds" if spent < 120 else f"{spent / 60:.1f} minutes"
    about = f"{kind} Built on {today} in {took}, of {plan.minutes:g} minutes given, on {plan.device}."
    return page.header("A model of your own", job.out.name, about)


def _tiles(job: Job) -> str:
    text, graph, exam = (job.state.figures(name) for name in ("text", "graph", "exam"))
    base, tuned = job.state.figures("pretrain"), job.state.figures("ground")
    items = [_counted((tuned or base)["parameters"], "parameters"), _counted(text["train_tokens"], "tokens of text")]
    if graph:
        items.append(_counted(graph["triples"], f"facts about {graph['entities']:,} things"))
    if base.get("val_loss") is not None:
        items.append((f"{base['val_loss']:.2f}", " nats", "validation loss of the text"))
    for key, name in (("accuracy", "of the exam right"), ("refusal_recall", "refused where the graph is silent")):
        share = exam.get("summary", {}).get(key)
        if share is not None:
            items.append((f"{100 * share:.1f}", " %", name))
    return page.tiles(items)


def _asked(questions: Sequence[Askable]) -> str:
    if not questions:
        return ""
    rows = [(each.question, each.relation, f"{each.statements:,}") for each in questions]
    return page.section(
        "What it can be asked",
        page.table(("for example", "relation", "facts"), rows, numbers=("facts",)),
        about="Also two and three steps on, from the other end, how many, and whether it is true.",
    )


def _answered(answers: Sequence[Mapping[str, Any]]) -> str:
    if not answers:
        return ""
    parts = []
    for answer in answers:
        cited = [
            f"S{each['id']}: {each['subject']}, {each['relation']}, {each['object']}" for each in answer["citations"]
        ]
        more = f"; and {len(cited) - 3} more" if len(cited) > 3 else ""
        parts.append(
            page.talk(answer["question"], answer["text"], "; ".join(cited[:3]) + more, good=answer["verified"])
        )
    about = "The facts were read when they were asked for. Each answer was checked against the graph, by no model."
    return page.section("Answers about things it was never taught", *parts, about=about)


def _exam(figures: Mapping[str, Any]) -> str:
    """The rows of answers as a grid, the other sections as lists; the whole card lies beside."""
    sections = figures.get("sections", {})
    if not sections:
        return ""
    parts = []
    grid: dict[str, dict[str, str]] = {}
    plain: list[tuple[str, str, str]] = []
    for section in sections.values():
        for each in section["measures"]:
            row, _, column = each["name"].partition(" · ")
            if section is sections.get("answers") and column in _COLUMNS:
                grid.setdefault(row, {})[column] = _share(each)
            elif each["n"]:
                plain.append((each["name"], _share(each), f"{each['n']:,}"))
    if grid:
        rows = [(row, *(cells.get(column, "") for column in _COLUMNS)) for row, cells in grid.items()]
        parts.append(page.table(("", *_COLUMNS.values()), rows, numbers=_COLUMNS.values()))
    if plain:
        parts.append(page.table(("", "found", "of"), plain, numbers=("found", "of")))
    about = (
        f"Up to {figures['questions']} questions a row; with intervals and samples in {Path(figures['folder']).name}/"
    )
    return page.section("Exam", *parts, about=about)


def _curves(job: Job) -> str:
    runs = [("Learning to write", job.base)] + ([("Learning to answer", job.out)] if job.order.graph else [])
    drawn = []
    for name, path in runs:
        losses = curves(RunDirectory.open(path).metrics)
        caption = f"{name}: loss over steps, in nats a token. Line: training; dots: what was held back."
        drawn.append(page.curve(caption, losses["train_loss"], losses["val_loss"]))
    return page.section("How it learnt", f'<div class="pair">{"".join(drawn)}</div>')


def curves(records: Iterable[Any]) -> dict[str, list[tuple[int, float]]]:
    """Losses over steps, of training and of validation, from metric records."""
    known = [record for record in records if isinstance(record, Mapping)]
    return {
        name: [(int(record["step"]), float(record[name])) for record in known if record.get(name) is not None]
        for name in ("train_loss", "val_loss")
    }


def _written(samples: Sequence[str]) -> str:
    shown = [each if len(each) <= _LONGEST else each[:_LONGEST] + "..." for each in samples[:_SHOWN]]
    return page.section(
        "What it writes of its own accord",
        *map(page.quote, shown),
        about="As pretraining left it: it has learnt the form of the text, and makes the rest up.",
    )


def _time(job: Job) -> str:
    rows = []
    for name, planned in job.state.plan.seconds.items():
        if job.state.is_done(name):  # all but this one
            rows.append((name, f"{planned:.0f} s", f"{job.state.figures(name)['took']:.0f} s"))
    return page.section(
        "Where the time went", page.table(("stage", "planned", "took"), rows, numbers=("planned", "took"))
    )


def _next(job: Job, questions: Sequence[Askable]) -> list[str]:
    lines = next_commands(job.out, job.base, questions[0].question if questions else "")
    if questions:
        graph, run = shlex.quote(str(job.graph_path)), shlex.quote(str(job.out))
        lines.insert(1, f"gz graph edit SUBJECT RELATION OBJECT --graph {graph} --diff {run}")
    return lines


def next_commands(out: Path, base: Path, question: str) -> list[str]:
    """What to try with a finished build."""
    asked = [f"gz ask {shlex.quote(question)} --run {shlex.quote(str(out))}"] if question else []
    return [*asked, f'gz generate --run {shlex.quote(str(base))} --prompt "The"']


def _counted(value: float, name: str) -> tuple[str, str, str]:
    return (f"{value / 1e6:.1f}", " M", name) if value >= 1e6 else (f"{value:,.0f}", "", name)


def _share(measure: Mapping[str, Any]) -> str:
    if not measure["n"] or measure["value"] is None:
        return ""
    return f"{measure['value']:.1%}" if measure["unit"] == "share" else f"{measure['value']:,.3g} {measure['unit']}"

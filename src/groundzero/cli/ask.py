"""`gz ask`: questions to a graph, answered with the statements they rest on, or refused with a reason."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundzero.cli.output import emit, note, print_json
from groundzero.errors import InputError, UsageError

if TYPE_CHECKING:
    from groundzero.ground.answer import Answer
    from groundzero.ground.predict import Predictor
    from groundzero.ground.reason import Reasoner
    from groundzero.run import RunDirectory

UNKNOWN = 4
SHOWN_SOURCES = 5

QuestionArgument = Annotated[str | None, typer.Argument(help="What you want to know.")]
GraphOption = Annotated[
    str, typer.Option("--graph", help="The graph: a file, postgresql://... or a SPARQL endpoint.", metavar="DB")
]
FileOption = Annotated[
    str | None, typer.Option("--file", help="Ask every line of a file, - for stdin.", metavar="FILE")
]
JsonlOption = Annotated[bool, typer.Option("--jsonl", help="With --file: one answer object a line.")]
ModelOption = Annotated[bool, typer.Option("--no-model", help="Answer straight from the graph, worded by rule.")]
ScorerOption = Annotated[
    Path | None, typer.Option("--scorer", help="Learnt wordings to use; with --learn, where to keep them.")
]
LearnOption = Annotated[
    Path | None, typer.Option("--learn", help="Learn wordings from a file: question, tab, answers with | between.")
]
HopsOption = Annotated[int, typer.Option("--max-hops", help="Statements in a row at most.", min=1, max=3)]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="A run tuned by `gz finetune ground`: it words the answers.")
]
FallbackOption = Annotated[
    bool,
    typer.Option("--fallback/--no-fallback", help="Say by rule what the model words otherwise than the graph."),
]
ChannelsOption = Annotated[
    str, typer.Option("--channels", help="How the model gets facts: of prompt, attention and copy.")
]
EmbeddingOption = Annotated[
    Path | None,
    typer.Option(
        "--embedding", help="Vectors by `gz graph embed`: predict what the graph does not say.", metavar="DIR"
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", help="With --embedding: least probability of a prediction; 0.5.", min=0, max=1),
]
RememberOption = Annotated[
    bool | None,
    typer.Option(
        "--remember/--no-remember",
        help="Keep unanswered questions beside the graph for `gz graph gaps`; by default where it is a writable file.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def command(
    question: QuestionArgument = None,
    graph: GraphOption = "",
    file: FileOption = None,
    jsonl: JsonlOption = False,
    run: RunOption = None,
    no_model: ModelOption = False,
    fallback: FallbackOption = True,
    channels: ChannelsOption = "prompt,attention,copy",
    scorer: ScorerOption = None,
    learn: LearnOption = None,
    max_hops: HopsOption = 3,
    embedding: EmbeddingOption = None,
    threshold: ThresholdOption = None,
    remember: RememberOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ask a graph a question; exit code 4 says that the graph does not know.

    What it does not know is remembered beside it, and `gz graph gaps` lists what is missing. With --embedding, a
    likely answer that the graph does not give is predicted: it has a probability and cites nothing.

    Examples:

    gz ask "What is the capital of Peru?" --run runs/grounded

    gz ask "What is the capital of Peru?" --graph facts.db --no-model

    gz ask --file questions.txt --jsonl --graph facts.db --no-model > answers.jsonl

    gz ask "Where did Ada Lovelace die?" --graph facts.db --embedding facts.db.embedding

    gz ask --learn pairs.tsv --scorer wordings.json --graph facts.db
    """
    named = None if no_model else run
    if named is not None and not graph:
        from groundzero.generate.chat import form_of  # noqa: PLC0415 - brings in PyTorch
        from groundzero.ground.opening import graph_of, knows_graph  # noqa: PLC0415
        from groundzero.run import RunDirectory  # noqa: PLC0415

        directory = RunDirectory.open(named)
        if not knows_graph(directory) and form_of(directory.manifest()) is not None:
            _check(question, "none", file, jsonl, scorer, learn)
            return _told(_chatting(directory), question, file, jsonl, as_json)
        graph = graph_of(directory)
    _check(question, graph, file, jsonl, scorer, learn)
    if threshold is not None and embedding is None:
        raise UsageError("--threshold is for predictions.", remedy="Add --embedding DIR, or leave it out.")
    from groundzero.graph.graph import Graph  # noqa: PLC0415 - brings in NumPy and SciPy, which --help need not

    with Graph.open(graph, read_only=True) as opened:
        reasoner = _reasoner(opened, max_hops, scorer, learn)
        answered: Callable[[str], Answer] = reasoner.ask
        keep: Callable[[Answer], None] | None = None
        if named is not None:
            answered, keep = _worded(named, opened, reasoner, fallback, channels)
        ask = _completed(answered, opened, embedding, threshold, remember, keep)
        return _told(ask, question, file, jsonl, as_json)


def _told(ask: Callable[[str], Answer], question: str | None, file: str | None, jsonl: bool, as_json: bool) -> int:
    """Ask what there is to ask, and print it; the exit code."""
    if question is not None:
        answer = ask(question)
        emit(answer.as_json(), as_json, lambda: _tell(answer))
        return UNKNOWN if answer.status == "unknown" else 0
    return 0 if file is None else _batch(ask, file, jsonl, as_json)


def _chatting(run: RunDirectory) -> Callable[[str], Answer]:
    """Asking a run that was tuned to answer, and has no graph to answer from."""
    from groundzero.generate.chat import form_of  # noqa: PLC0415 - PyTorch
    from groundzero.generate.load import load_engine  # noqa: PLC0415
    from groundzero.ground.conversation import answer_without_graph  # noqa: PLC0415

    note("There is no graph: this is what the model says by itself, and nothing bears it out. --graph DB names one.")
    form = form_of(run.manifest())
    assert form is not None
    return partial(answer_without_graph, load_engine(run, warn=note), form)


def _worded(
    run: Path, graph: Any, reasoner: Reasoner, fallback: bool, channels: str
) -> tuple[Callable[[str], Answer], Callable[[Answer], None]]:
    """Asking through the model of a run, and keeping its answers."""
    from groundzero.generate.evidence import CHANNELS  # noqa: PLC0415 - PyTorch
    from groundzero.ground.kept import keep_answer  # noqa: PLC0415
    from groundzero.ground.opening import open_grounded  # noqa: PLC0415
    from groundzero.run import RunDirectory  # noqa: PLC0415

    wanted = [name.strip() for name in channels.split(",") if name.strip()]
    unknown = next((name for name in wanted if name not in CHANNELS), None)
    if unknown is not None:
        raise UsageError(f"There is no channel {unknown!r}.", remedy="Give some of prompt,attention,copy.")
    open_ = [channel for channel in CHANNELS if channel in wanted]
    directory = RunDirectory.open(run)
    model = open_grounded(directory, graph, reasoner=reasoner)
    model.settings = model.settings.replace(fallback=fallback)
    return partial(model.ask, channels=open_), partial(keep_answer, directory)


def _completed(
    ask: Callable[[str], Answer],
    graph: Any,
    embedding: Path | None,
    threshold: float | None,
    remember: bool | None,
    keep: Callable[[Answer], None] | None,
) -> Callable[[str], Answer]:
    """Asking, then predicting what the graph does not say, then remembering that it did not."""
    from groundzero.ground.remember import remember_refusal  # noqa: PLC0415 - as above

    told = remember is None  # whoever did not ask for it need not hear that it cannot be done
    predictor = None if embedding is None else _predictor(graph, embedding, threshold)

    def completed(question: str) -> Answer:
        nonlocal told
        answer = ask(question)
        if predictor is not None:
            answer = predictor.fill_in(answer)
        obstacle = remember_refusal(graph, answer) if remember is not False else ""
        if obstacle and not told:
            note(f"Not remembered: {obstacle}.")
            told = True
        if keep is not None:
            keep(answer)
        return answer

    return completed


def _predictor(graph: Any, embedding: Path, threshold: float | None) -> Predictor:
    from groundzero.ground.predict import PredictConfig, Predictor  # noqa: PLC0415 - PyTorch

    chosen = PredictConfig() if threshold is None else PredictConfig(threshold=threshold)
    predictor = Predictor(graph, embedding, chosen)
    if predictor.behind:
        note(f"The vectors are {predictor.behind} transactions old; `gz graph embed --update` brings them up to date.")
    return predictor


def _check(
    question: str | None, graph: str, file: str | None, jsonl: bool, scorer: Path | None, learn: Path | None
) -> None:
    """Options that cannot be meant together."""
    if not graph:
        raise UsageError("There is no graph to ask.", remedy="Add --graph DB; make one with `gz graph import`.")
    if question is not None and file is not None:
        raise UsageError("A question and --file are both given.", remedy="Give one of them.")
    if question is None and file is None and learn is None:
        raise UsageError("There is no question.", remedy='Write one: gz ask "What is ...?" --graph DB; or give --file.')
    if question is not None and not question.strip():
        raise UsageError("The question is empty.", remedy='Write one: gz ask "What is ...?" --graph DB.')
    if jsonl and file is None:
        raise UsageError("--jsonl is for --file.", remedy="Use --json for one question.")
    if learn is not None and scorer is None and question is None and file is None:
        raise UsageError("What is learnt would be lost.", remedy="Add --scorer FILE to keep it, or a question.")


def _reasoner(graph: Any, max_hops: int, scorer: Path | None, learn: Path | None) -> Reasoner:
    from groundzero.ground.examples import read_examples  # noqa: PLC0415 - as above
    from groundzero.ground.reason import ReasonConfig, Reasoner  # noqa: PLC0415
    from groundzero.ground.weights import load_learned, save_learned  # noqa: PLC0415

    reasoner = Reasoner(graph, config=ReasonConfig(max_hops=max_hops))
    if learn is not None:
        if not learn.is_file():
            raise InputError(f"There is no file {learn}.", remedy="Check the path of --learn.")
        examples = read_examples(learn)
        used = reasoner.learn(examples)
        note(f"Learnt from {used:,} of {len(examples):,} pairs: the others' answers are not in the graph.")
        if not used:
            raise InputError(
                f"Nothing in {learn} can be answered from this graph.", remedy="Check that its names are the graph's."
            )
        if scorer is not None and reasoner.learned is not None:
            save_learned(reasoner.learned, reasoner.table, scorer)
            note(f"Kept in {scorer}; use it with --scorer.")
    elif scorer is not None:
        reasoner.use(load_learned(scorer, reasoner.table))
    return reasoner


def _batch(ask: Callable[[str], Answer], file: str, jsonl: bool, as_json: bool) -> int:
    """Ask every line; the exit code is 0 once each was answered or refused."""
    answers: list[dict[str, Any]] = []
    for question in _questions(file):
        answer = ask(question)
        if jsonl:
            print_json(answer.as_json())
        elif as_json:
            answers.append(answer.as_json())
        else:
            print(f"> {visible(question)}")
            _tell(answer)
            print()
    if as_json and not jsonl:
        print_json({"answers": answers})
    return 0


def _questions(file: str) -> Iterator[str]:
    """The lines that hold a question; a byte order mark and empty lines are dropped."""
    if file == "-":
        lines = sys.stdin.read().splitlines()
    else:
        path = Path(file)
        if not path.is_file():
            raise InputError(f"There is no file {file}.", remedy="Check the path of --file.")
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return (line.strip() for line in lines if line.strip())


def _tell(answer: Answer) -> None:
    """An answer for people: the text, the way to it, where it is from."""
    print(visible(answer.text))
    if answer.status == "unknown":
        if answer.reason != "talk":
            print(f"({answer.reason.replace('_', ' ')})")
        return
    if answer.status == "predicted":
        others = [f"{each.entity} ({each.score:.2f})" for each in answer.candidates[1:SHOWN_SOURCES]]
        print(visible(f"  no fact; else {', '.join(others)}" if others else "  no fact"))
        return
    if len(answer.path) > 1:
        print(visible(f"  {path_line(answer)}"))
    sources = [
        f"S{each.id}: {each.source}" + (f", {each.start}-{each.end}" if each.start is not None else "")
        for each in answer.citations[:SHOWN_SOURCES]
        if each.source
    ]
    more = len(answer.citations) - len(sources)
    if sources:
        print(visible(f"  {'; '.join(sources)}" + (f"; {more} more" if more > 0 else "")))


def path_line(answer: Answer) -> str:
    """The path as one line: "Peru -> capital -> Lima"; branches of a conjunction apart."""
    line = ""
    for place, step in enumerate(answer.path):
        follows = place and answer.path[place - 1].to == step.origin
        start = "" if follows else f"{'; ' if place else ''}{step.origin}"
        line += f"{start} -> {step.relation} -> {step.to}"
    return line


def visible(text: str, keep: str = "") -> str:
    """`text` with control characters (a label may hold them) made visible, so that no terminal obeys them.

    Args:
        keep: those that may stay.
    """
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)

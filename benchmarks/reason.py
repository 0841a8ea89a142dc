"""Questions to graphs: multi-hop question answering, refusals, linking and latency, with no language model.

    learnt        five folds, grouped by gold path; trained on the questions and answers of the other folds, no paths
    zero-shot     no questions at all; PathQuestion without the paths that its weights were set on
    Hits@1        the first candidate is in the gold set; `answered` counts only what was not refused
    path          the cited path replays to the gold set
    refusals      one question in five cannot be answered: a fact left out, a name nobody has, a relation nobody has

There is no peer to run; the figures to reach stand in the peer's column.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _questions as sets
from benchmarks.table import Row, row

PARTS = ("zero-shot", "learnt", "wiki", "million", "ernie")
FOLDS = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which parts, and how much of them."""
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--folds", type=int, default=FOLDS, help="folds of the five to run")
    parser.add_argument("--train", type=int, default=2000, help="training questions of a fold at most")
    parser.add_argument("--questions", type=int, default=1000, help="questions of each set at most; 0 for all")


def measure(options: argparse.Namespace) -> list[Row]:
    """Run the parts asked for."""
    wanted = options.parts.split(",")
    unknown = set(wanted) - set(PARTS)
    if unknown:
        raise SystemExit(f"--parts: there is no {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    most = options.questions or 10**9
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if "zero-shot" in wanted:
            rows += _zero_shot(place, most)
        if "learnt" in wanted:
            rows += _learnt(place, most, options)
        if "wiki" in wanted:
            rows += _wiki(place, most)
        if "million" in wanted:
            rows += _million(place, min(most, 300))
        if "ernie" in wanted:
            rows += _ernie(place)
    return rows


@dataclass
class Score:
    """What answering questions came to."""

    asked: int = 0
    first: int = 0
    answered: int = 0
    replayed: int = 0
    """Answers whose path replays to the gold set."""
    milliseconds: list[float] = field(default_factory=list)

    def rows(self, work: str, goal: float | None) -> list[Row]:
        """Percentages, and the median latency."""
        asked = max(self.asked, 1)
        note = f"{self.asked:,} questions; goal in the peer's column" if goal else f"{self.asked:,} questions"
        return [
            row(work, "Hits@1 %", 100 * self.first / asked, goal, "goal", note=note),
            row(f"{work}, answered and right", "%", 100 * self.answered / asked, None, "-", note=" "),
            row(f"{work}, path replays", "%", 100 * self.replayed / asked, None, "-", note=" "),
            row(f"{work}, latency", "ms", statistics.median(self.milliseconds or [0.0]), None, "-", note=" "),
        ]


def _ask_all(reasoner: Any, asked: Iterable[sets.Asked], score: Score) -> Score:
    from groundzero.ground.query import label_of, run

    for each in asked:
        started = time.perf_counter()
        answer = reasoner.ask(each.question)
        score.milliseconds.append(1000 * (time.perf_counter() - started))
        score.asked += 1
        first = bool(answer.candidates) and answer.candidates[0].entity in each.answers
        score.first += first
        if answer.status == "asserted":
            score.answered += first
            reader = reasoner.graph.store
            assert answer.query is not None
            reached = {label_of(node, reader) for node in run(answer.query, reader).answers}
            score.replayed += bool(reached) and reached <= each.answers
    return score


def _graph(place: Path, name: str) -> Any:
    """One of the sets' own graphs."""
    from groundzero.graph.graph import Graph
    from groundzero.graph.importing import import_file

    path = place / f"{name}.db"
    fresh = not path.exists()
    graph = Graph.open(path, create=True)
    if fresh:
        import_file(graph.store, sets.knowledge_base(name, place))
        graph.refresh()
    return graph


def _question_sets() -> list[tuple[str, str, list[sets.Asked], float, float | None]]:
    """Name, graph, questions, goal learnt, goal zero-shot (there is none)."""
    return [
        ("PathQuestion 2 hops", "pathquestion-2", sets.path_question(2), 96.0, None),
        ("PathQuestion 3 hops", "pathquestion-3", sets.path_question(3), 90.0, None),
        ("WC2014 1 hop", "wc2014", sets.world_cup("WC-P1"), 99.0, None),
        ("WC2014 2 hops", "wc2014", sets.world_cup("WC-P2"), 97.0, None),
        ("WC2014 conjunctive", "wc2014", sets.world_cup("WC-C"), 95.0, None),
    ]


def _zero_shot(place: Path, most: int) -> list[Row]:
    from groundzero.ground.reason import Reasoner

    rows = []
    for name, graph_name, every, _, goal in _question_sets():
        asked = sets.without_development(every)
        random.Random(0).shuffle(asked)
        with _graph(place, graph_name) as graph:
            score = _ask_all(Reasoner(graph), asked[:most], Score())
        rows += score.rows(f"{name}, zero-shot", goal)
    return rows


def _learnt(place: Path, most: int, options: argparse.Namespace) -> list[Row]:
    rows = []
    for name, graph_name, asked, goal, _ in _question_sets():
        score, seconds = Score(), []
        fold_of = _folds(asked)
        for fold in range(options.folds):
            training = [each for each in asked if fold_of[each.group] != fold]
            test = [each for each in asked if fold_of[each.group] == fold]
            random.Random(fold).shuffle(training)
            random.Random(fold).shuffle(test)
            with _graph(place, graph_name) as graph:
                started = time.perf_counter()
                reasoner = _taught(graph, training[: options.train])
                seconds.append(time.perf_counter() - started)
                _ask_all(reasoner, test[: max(most // options.folds, 1)], score)
        rows += score.rows(f"{name}, learnt", goal)
        rows.append(row(f"{name}, learning", "s a fold", statistics.median(seconds), None, "-", note=" "))
    return rows + _withheld(place, options)


def _folds(asked: Sequence[sets.Asked]) -> dict[str, int]:
    groups = sorted({each.group for each in asked})
    random.Random(0).shuffle(groups)
    return {group: number % FOLDS for number, group in enumerate(groups)}


def _taught(graph: Any, training: Iterable[sets.Asked]) -> Any:
    from groundzero.ground.examples import Example
    from groundzero.ground.reason import Reasoner

    reasoner = Reasoner(graph)
    reasoner.learn(Example(each.question, tuple(each.answers)) for each in training)
    return reasoner


def _withheld(place: Path, options: argparse.Namespace) -> list[Row]:
    """PathQuestion 2 hops, learnt, with the last fact of one test path in five left out of the graph."""
    from groundzero.graph.graph import Graph
    from groundzero.graph.importing import import_file

    asked = sets.path_question(2)
    fold_of = _folds(asked)
    test = [each for each in asked if fold_of[each.group] == 0]
    groups = sorted({each.group for each in test})
    random.Random(2).shuffle(groups)
    silent = {tuple(group.split("#")[2:4]) for group in groups[: len(groups) // 5]}  # (whom, relation) of the last hop
    lines = sets.knowledge_base("pathquestion-2", place).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if tuple(line.split("\t")[:2]) not in silent]
    source = place / "withheld.tsv"
    source.write_text("\n".join(kept) + "\n", encoding="utf-8")
    facts = {tuple(line.split("\t")) for line in kept}

    def answerable(each: sets.Asked) -> bool | None:
        """None where some of its facts are left and some are not."""
        start, first, _, last = each.group.split("#")[:4]
        through = {object_ for subject, relation, object_ in facts if (subject, relation) == (start, first)}
        left = {object_ for subject, relation, object_ in facts if subject in through and relation == last}
        if left:
            return True if {sets.spaced(end) for end in left} == each.answers else None
        return False

    with Graph.open(place / "withheld.db", create=True) as graph:
        import_file(graph.store, source)
        graph.refresh()
        training = [each for each in asked if fold_of[each.group] != 0]
        random.Random(0).shuffle(training)
        reasoner = _taught(graph, training[: options.train])
        known = [(each, answerable(each)) for each in test]
        yes = [each.question for each, can in known if can]
        no = [each.question for each, can in known if can is False]
        return _refusals("PathQuestion 2 hops, learnt", reasoner, yes, no)


def _refusals(name: str, reasoner: Any, answerable: Sequence[str], unanswerable: Sequence[str]) -> list[Row]:
    wrongly = sum(reasoner.ask(question).status == "unknown" for question in answerable)
    rightly = sum(reasoner.ask(question).status == "unknown" for question in unanswerable)
    note = f"{len(unanswerable):,} of {len(answerable) + len(unanswerable):,} cannot be answered"
    return [
        row(f"{name}: refusal precision", "%", 100 * rightly / max(rightly + wrongly, 1), 95.0, "goal", note=note),
        row(f"{name}: refusal recall", "%", 100 * rightly / max(len(unanswerable), 1), 95.0, "goal", note=note),
    ]


def _wiki(place: Path, most: int) -> list[Row]:
    """Wiki27K with its names: generated questions, misspelt ones, refusals, latency."""
    from groundzero.graph.graph import Graph
    from groundzero.ground.reason import Reasoner

    wiki = sets.wiki27k()
    with Graph.open(place / "wiki.db", create=True) as graph:
        sets.load_wiki(graph, wiki)
        reasoner = Reasoner(graph)
        chance = random.Random(11)  # 7 was looked at while weights were set
        made = _generated(graph, most, chance)
        reasoner.ask(made[0].asked.question)  # the indexes of names are built
        score = _ask_all(reasoner, [each.asked for each in made], Score())
        rows = score.rows("Wiki27K, generated questions", None)
        rows += _linking(reasoner, graph, made, chance)
        rows += _latency(reasoner, "Wiki27K", [each.asked.question for each in made], 20.0)
        absent = _unanswerable(wiki, reasoner, len(made) // 4, chance)
        return rows + _refusals("Wiki27K, zero-shot", reasoner, [each.asked.question for each in made], absent)


@dataclass(frozen=True)
class _Made:
    """A generated question and the entity it is about."""

    asked: sets.Asked
    subject: int


def _generated(graph: Any, most: int, chance: random.Random) -> list[_Made]:
    """Questions of one hop as the graph's own verbaliser asks them, in equal parts for objects and for subjects."""
    from groundzero.graph.verbalise import VerbaliseSettings, verbalise

    rows = list(verbalise(graph.store, VerbaliseSettings(kinds=("question", "inverse"), paraphrases=2, max_answers=50)))
    chance.shuffle(rows)
    return [_Made(sets.Asked(each.text, frozenset(each.answers), each.text), each.subject) for each in rows[:most]]


def _linking(reasoner: Any, graph: Any, made: Sequence[_Made], chance: random.Random) -> list[Row]:
    rows = []
    for how, goal in (("as written", 95.0), ("case", None), ("typo", None)):
        right = asked = 0
        for each in made[:400]:
            name = graph.label(each.subject)
            if len(name) < 6 or name not in each.asked.question:
                continue
            written = name if how == "as written" else sets.mistyped(name, how, chance)
            question = each.asked.question.replace(name, written)
            found, _ = reasoner.evidence(question.lower() if how == "case" else question)
            asked += 1
            right += each.subject in found.linked
        share = 100 * right / max(asked, 1)
        rows.append(row(f"Wiki27K, linking, {how}", "%", share, goal, "goal", note=f"{asked:,} questions"))
    return rows


def _latency(reasoner: Any, name: str, questions: Sequence[str], goal: float) -> list[Row]:
    """Link, retrieve (statements by PageRank) and reason, for one question after another."""
    wall, cpu = [], []
    for question in questions[:300]:
        started, busy = time.perf_counter(), time.process_time()
        reasoner.retrieve(question)
        reasoner.evidence(question)
        wall.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - busy))
    return [
        row(f"{name}: link + retrieve + reason", "ms", statistics.median(wall), goal, "goal", lower_is_better=True,
            note="median"),
        row(f"{name}: the same, processor time", "ms", statistics.median(cpu), goal, "goal", lower_is_better=True,
            note=f"median; 95 % below {statistics.quantiles(cpu, n=20)[-1]:.0f} ms"),
    ]  # fmt: skip


def _unanswerable(wiki: sets.Wiki, reasoner: Any, count: int, chance: random.Random) -> list[str]:
    """A third each: facts that the graph lacks, names that nobody has, relations that the graph has not."""
    from groundzero.graph.phrasing import phrase
    from groundzero.ground.words import SILENT, stems

    known = {(subject, relation) for subject, relation, _ in wiki.train}
    joined = {end for subject, _, object_ in wiki.train for end in ((subject, object_), (object_, subject))}
    entities = {key for subject, _, object_ in wiki.train for key in (subject, object_)}
    table = reasoner.table
    phrasings = {relation.key: phrase(relation) for relation in table.relations}
    silent = [
        chance.choice(phrasings[relation].questions).replace("{subject}", wiki.labels[subject])
        for subject, relation, object_ in chance.sample(wiki.held_out, len(wiki.held_out))
        if (subject, object_) not in joined  # what another relation says in other words can be answered
        and (subject, relation) not in known
        and subject in entities
        and relation in phrasings
    ]
    labels = sorted(wiki.labels[key] for key in entities if key in wiki.labels)
    nobody = []
    while len(nobody) < count:
        made = " ".join((chance.choice(labels).split()[0][:4] + "zub", chance.choice(labels).split()[-1][:4] + "qwo"))
        nobody.append(
            chance.choice(phrasings[chance.choice(sorted(phrasings))].questions).replace("{subject}", made.title())
        )
    words = {word for feature in table.features for word in feature[2:].split()} - SILENT
    foreign = []
    for key in chance.sample(sorted(wiki.relations), len(wiki.relations)):
        label = wiki.relations[key]
        if key not in phrasings and not set(stems(label)) & words and label.isascii():
            foreign.append(f"What is the {label} of {chance.choice(labels)}?")
    third = count // 3
    return silent[:third] + nobody[:third] + foreign[:third]


def _million(place: Path, most: int) -> list[Row]:
    """10^6 made-up triples over 200,000 entities and 60 relations, hubs and all."""
    import numpy as np

    from groundzero.graph.graph import Graph
    from groundzero.ground.reason import Reasoner

    draw = np.random.default_rng(3)
    wiki = sets.wiki27k()
    chosen = sorted(wiki.templates)[:60]
    with Graph.open(place / "million.db", create=True) as graph:
        with graph.store.writer() as writer:
            names = [_name(number) for number in range(200_000)]
            entities = writer.add_entities([f"e{number}" for number in range(len(names))], labels=names)
            relations = [writer.add_relation(key, label=wiki.relations[key]) for key in chosen]
            subject_N = draw.integers(0, len(names), 1_000_000)
            object_N = (len(names) * draw.random(1_000_000) ** 3).astype(np.int64)  # few are spoken of much
            relation_N = draw.integers(0, len(relations), 1_000_000)
            ids = np.array(entities)
            rows_N3 = np.stack((ids[subject_N], np.array(relations)[relation_N], ids[object_N]), axis=1)
            writer.add_triples(map(tuple, rows_N3.tolist()), source=writer.add_source("made up"))
        graph.refresh()
        started = time.perf_counter()
        reasoner = Reasoner(graph)
        questions = [
            f"What is the {wiki.relations[chosen[relation_N[row_]]]} of {names[subject_N[row_]]}?"
            for row_ in range(most)
        ]
        reasoner.ask(questions[0])
        opening = time.perf_counter() - started
        rows = _latency(reasoner, "10^6 triples", questions, 50.0)
        return [
            *rows,
            row("10^6 triples, opening", "s", opening, None, "-", note="indexes in memory, before the first"),
        ]


_SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


def _name(number: int) -> str:
    """A name of two words that no other number has."""
    parts = []
    for _ in range(3):
        number, rest = divmod(number, len(_SYLLABLES))
        parts.append(_SYLLABLES[rest])
    return f"{parts[0]}{parts[1]}n {parts[2]}{parts[0]}s".title()


def _ernie(place: Path) -> list[Row]:
    """Mentions of running text to Wikidata entities, among all that the data folder has labels for."""
    from groundzero.graph.folding import form
    from groundzero.graph.graph import Graph
    from groundzero.ground.link import Linker
    from groundzero.ground.words import read_words

    labels = sets.wikidata_labels()
    with Graph.open(place / "labels.db", create=True) as graph:
        with graph.store.writer() as writer:
            keys = list(labels)
            ids = dict(zip(keys, writer.add_entities(keys, labels=[labels[key] for key in keys]), strict=True))
        graph.refresh()
        linker = Linker(graph)
        known = found = right = same_name = spelt = 0
        for text, mentions in sets.ernie_mentions():
            wanted = [(start, end, key) for start, end, key in mentions if key in labels]
            if not wanted:
                continue
            words = read_words(text)
            links = {(words[link.first].start, words[link.last - 1].end): link for link in linker.link(text, words)}
            for start, end, key in wanted:
                known += 1
                same = form(labels[key]) == form(text[start:end])
                same_name += same
                link = links.get((start, end))
                found += link is not None
                linked = link is not None and link.candidates[0].entity == ids[key]
                right += linked
                spelt += linked and same
        note = f"{known:,} mentions; {100 * same_name / known:.1f} % are spelt as their label"
        return [
            row("text-ernie, mentions found", "%", 100 * found / known, None, "-", note=note),
            row("text-ernie, mentions linked rightly", "%", 100 * right / known, None, "-", note=note),
            row("text-ernie, right of those spelt as their label", "%", 100 * spelt / same_name, None, "-", note=" "),
            row("text-ernie, right of those found", "%", 100 * right / max(found, 1), None, "-", note=note),
        ]

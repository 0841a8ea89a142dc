"""The parts of a build: who is held out of the text, how time and size are chosen, the page, the embedded graph."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundzero.build import doctor, page, text
from groundzero.build.budget import CLOSING_S, CLOSING_SHARE, EXAM_S, FLOOR, WEIGHTS, Budget, share
from groundzero.build.config import BuildConfig
from groundzero.build.embedded import add_embedded_facts
from groundzero.build.exam import summary
from groundzero.build.facts import held_out_share
from groundzero.build.order import EMBEDDED, Order
from groundzero.build.plan import Plan
from groundzero.build.showing import askable
from groundzero.build.sizes import SIZES, choose_size, with_context
from groundzero.build.survey import look
from groundzero.build.text import HeldOut, spoken_facts
from groundzero.data import DataConfig
from groundzero.data.embedded import sentences as say
from groundzero.data.embedded.tables import entities, facts, relations
from groundzero.errors import ConfigError, InputError, StorageError
from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.graph.verbalise import VerbaliseSettings
from groundzero.ground.lessons import LessonSettings
from groundzero.ground.reason import Reasoner
from groundzero.ground.teacher import Teacher
from groundzero.hardware import Device
from groundzero.hardware.cpu import Memory

CPU = Device("cpu", "for a test")
LESSONS = LessonSettings(test_share=0.3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Graph:
    path = tmp_path_factory.mktemp("world") / "world.db"
    with Graph.open(path, create=True) as graph:
        import_file(graph.store, table)
    return Graph.open(path, read_only=True)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("embedded") / "facts.db"
    with Graph.open(path, create=True) as graph:
        add_embedded_facts(graph.store)
    return Graph.open(path, read_only=True)


# ---------------------------------------------------------------------- what is not read


def leaks(graph: Graph, documents: Sequence[str]) -> list[str]:
    """Documents that bring the two ends of a fact together that the exam asks for, by the exam's own teacher."""
    examiner = Teacher(graph, LESSONS.replace(made_up_share=0.0), split="test")
    asked = {number for lesson in examiner.lessons(300) for number in lesson.cited if number > 0}
    ends = []
    for number in asked:
        statement = graph.statement(number)
        assert statement is not None
        if examiner.known.belongs(statement.subject):
            value = statement.literal.value if statement.literal else graph.label(statement.object or 0)
            ends.append((graph.label(statement.subject), value))
    assert ends
    return [each for each in documents if any(one in each and other in each for one, other in ends)]


def test_nothing_that_the_exam_asks_is_read_before(world: Graph) -> None:
    names = HeldOut(world, LESSONS)
    documents = list(spoken_facts(world, VerbaliseSettings(), names, 1e9))
    assert len(documents) > 10
    assert names.left_out
    assert leaks(world, documents) == []


def test_a_leak_would_be_noticed(world: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldOut, "are_in", lambda self, text: False)
    assert leaks(world, list(spoken_facts(world, VerbaliseSettings(), HeldOut(world, LESSONS), 1e9)))


def test_facts_in_words_end_where_there_is_enough(world: Graph) -> None:
    names = HeldOut(world, LESSONS)
    everything = list(spoken_facts(world, VerbaliseSettings(), names, 1e9))
    some = list(spoken_facts(world, VerbaliseSettings(), names, 500))
    assert some == everything[: len(some)]
    assert len(some) < len(everything)


def test_a_small_graph_holds_more_out(world: Graph, tmp_path: Path) -> None:
    assert held_out_share(world, LessonSettings(test_share=0.4)) == 0.4  # as set
    assert held_out_share(world, LessonSettings()) in (0.1, 0.2, 0.3)
    with Graph.open(tmp_path / "one.db", create=True) as graph:
        with graph.store.writer() as writer:
            peru, lima = (writer.add_entity(name, label=name) for name in ("Peru", "Lima"))
            writer.add_statement(peru, writer.add_relation("capital", label="capital"), lima)
        graph.refresh()
        with pytest.raises(InputError, match="too little"):
            held_out_share(graph, LessonSettings())


def test_the_users_files_are_read_as_the_settings_say_and_ours_as_they_are(tmp_path: Path) -> None:
    own = text._write(tmp_path / "facts.jsonl", ["Peru is there.\nIt is.", "Çay"])
    (tmp_path / "theirs.jsonl").write_bytes('{"body": "caf\xe9"}\n'.encode("cp1252"))
    config = DataConfig.parse({"text_field": "body", "encoding": "cp1252"})
    with text.open_corpus(str(tmp_path / "theirs.jsonl"), config) as found:
        joined = text._Joined(found.root, found.files, config, own=(own,))
        assert list(joined) == ["café", "Peru is there.\nIt is.", "Çay"]
        assert joined.bytes == sum(file.bytes for file in joined.files)


# ---------------------------------------------------------------------- time and size


@given(st.floats(1, 1e5), st.floats(0, 1), st.integers(0, 3))
def test_shares_never_come_to_more_than_there_is(minutes: float, part: float, first: int) -> None:
    seconds = 60 * minutes
    spent, dealt = part * seconds, 0.0
    stages = tuple(WEIGHTS)[first:]
    for place, name in enumerate(stages):
        given_ = share(seconds, spent + dealt, name, stages[place:])
        assert given_ >= 1
        dealt += given_
    assert dealt <= max(seconds - spent, 0) + FLOOR * seconds + len(stages)
    if spent == 0 and first == 0:
        assert dealt <= seconds + len(stages)


def test_what_a_stage_leaves_over_the_later_ones_share() -> None:
    ahead = ("ground", "exam")
    assert share(600, 100, "ground", ahead) > share(600, 200, "ground", ahead)
    assert share(100, 0, "exam", ("exam",)) == pytest.approx(100 * (1 - CLOSING_SHARE))
    assert share(600, 0, "exam", ("exam",)) == EXAM_S
    assert share(3600, 0, "ground", ahead) == pytest.approx(3600 - CLOSING_S - EXAM_S), "what the exam does not need"
    assert share(60, 1e9, "exam", ("exam",)) == pytest.approx(FLOOR * 60 * WEIGHTS["exam"] / sum(WEIGHTS.values()))
    assert share(1, 1e9, "exam", ("exam",)) == 1


def test_a_budget_goes_on_from_what_was_spent() -> None:
    budget = Budget(10, spent=100)
    assert budget.spent >= 100
    assert budget.share("exam", ("exam",)) <= 600 - 100


@pytest.mark.parametrize(("minutes", "low", "high"), [(5, 4e6, 6e6), (20, 8e6, 12e6), (600, 20e6, 30e6), (0.1, 0, 2e6)])
def test_the_size_grows_with_the_minutes(
    minutes: float, low: float, high: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundzero.build.sizes.power_of", lambda device: 1.0)
    assert low <= choose_size(minutes, 1e9, CPU).parameters <= high


def test_a_small_text_affords_a_small_model_and_an_accelerator_a_large_one() -> None:
    assert choose_size(600, 1e4, CPU) == SIZES[0]
    assert choose_size(600, 1e9, Device("cuda", "for a test")) == SIZES[-1]


def test_a_reader_of_facts_is_smaller_and_grows_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundzero.build.sizes.power_of", lambda device: 1.0)
    sizes = [choose_size(minutes, 1e9, CPU, facts=True).parameters for minutes in (5, 60, 600)]
    assert sizes == sorted(sizes)
    assert sizes[-1] < choose_size(600, 1e9, CPU).parameters


def test_a_longer_context_keeps_the_tokens_of_a_batch() -> None:
    made = with_context({"model": {"context": 256}, "train": {"batch_size": 8}}, 512)
    assert made == {"model": {"context": 512}, "train": {"batch_size": 4}}
    longer = {"model": {"context": 1024}, "train": {"batch_size": 8}}
    assert with_context(longer, 512) == longer


def test_settings_lie_over_the_size_and_unknown_ones_are_refused() -> None:
    order = Order(graph="g", overrides=("n_embd=64", "model.n_head=2", "tuning.steps=7", "ground.lessons.most_facts=3"))
    config = BuildConfig.resolve(order, SIZES[2])
    assert config.pretraining.model.d_model == 64
    assert config.pretraining.model.context == 512
    assert config.pretraining.model.vocab_size == config.pretraining.tokenizer.vocab_size == SIZES[2].vocab_size
    assert config.tuning.steps == 7
    assert config.ground.lessons.most_facts == 3
    again = BuildConfig.parse(config.model_dump(mode="json", exclude_unset=True))
    assert again == config
    assert again.pretraining.model.model_fields_set == config.pretraining.model.model_fields_set
    for wrong in ("tunning.steps=1", "tuning.stepz=1", "exam.questions=0", "train.steps=-1"):
        with pytest.raises(ConfigError):
            BuildConfig.resolve(replace(order, overrides=(wrong,)), SIZES[2])


def test_a_preset_keeps_no_length_of_its_own() -> None:
    config = BuildConfig.resolve(Order(text="t", preset="custom-tiny"), SIZES[0])
    assert config.pretraining.train.steps == 0
    assert config.pretraining.preset == "custom-tiny"


def test_a_glance_counts_what_is_there(table: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.tsv"
    many.write_text("".join(f"e{n}\tr\te{n + 1}\n" for n in range(200_000)), encoding="utf-8")
    assert look(Order(graph=str(table)), DataConfig()).statements == 81
    assert look(Order(graph=str(many)), DataConfig()).statements == pytest.approx(200_000, rel=0.1)
    assert look(Order(text=EMBEDDED, graph=EMBEDDED), DataConfig()).statements == len(facts())


def plan(**changes: object) -> Plan:
    values: dict[str, object] = dict.fromkeys(Plan.__dataclass_fields__, 0) | {"device": "cpu", "seconds": {}} | changes
    return Plan(**values)  # type: ignore[arg-type]


def test_a_machine_that_is_too_small_is_told_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "detect_memory", lambda: Memory(10**10, 10**9))
    doctor.examine_machine(plan(memory_bytes=5e8), tmp_path / "new" / "run")
    with pytest.raises(ConfigError, match="memory"):
        doctor.examine_machine(plan(memory_bytes=2e9), tmp_path)
    with pytest.raises(StorageError, match="disk"):
        doctor.examine_machine(plan(disk_bytes=1e18), tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- the page


class Tags(HTMLParser):
    """The elements of a page, and whether they close."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "polyline"):
            assert self.open.pop() == tag


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style>", "\x1b[31m", "a\u202eb", "&lt;")


@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), min_size=1, max_size=4))
def test_no_text_becomes_markup(texts: list[str]) -> None:
    joined = "".join(texts)
    parts = [
        page.header(joined, joined, joined),
        page.tiles([(joined, joined, joined)]),
        page.section(
            joined,
            page.table((joined,), [(joined,)]),
            page.talk(joined, joined, joined, good=True),
            page.quote(joined),
            page.commands(texts),
            page.curve(joined, [(0, 1.0), (5, 0.5)], [(5, 0.7)]),
            about=joined,
        ),
    ]
    tags = Tags()
    whole = page.page(joined, parts)
    tags.feed(whole)
    assert tags.open == []
    assert not tags.seen & {"script", "img", "iframe", "link"}
    assert "\x1b" not in whole and "\u202e" not in whole


def test_curves_hold_odd_numbers() -> None:
    assert page.curve("x", [], []) == ""
    assert page.curve("x", [(0, float("nan"))], []) == ""
    drawn = page.curve("x", [(1, 2.0)], [(1, float("inf"))])
    assert "nan" not in drawn and "inf" not in drawn


def test_a_summary_counts_questions_not_rows() -> None:
    def measure(name: str, right: int, n: int) -> dict[str, object]:
        return {"name": name, "value": right / n if n else 0.0, "n": n, "unit": "share"}

    found = {
        "sections": {
            "answers": {
                "measures": [
                    measure("One hop, unseen facts · fallback on", 9, 10),
                    measure("Two hops · fallback on", 1, 1),
                ]
            }
        }
    }
    assert summary(found)["accuracy"] == pytest.approx(10 / 11)
    assert summary(found)["two_hops"] == 1.0
    assert summary(found)["refusal_recall"] is None


# ---------------------------------------------------------------------- the embedded graph


def test_the_embedded_graph_says_what_the_tables_say(embedded: Graph) -> None:
    counts = embedded.store.counts()
    assert (counts.triples, counts.entities, counts.relations) == (len(facts()), len(entities()), len(relations()))
    rng = random.Random(1)
    for fact in rng.sample(facts(), 200):
        subject, relation = embedded.store.find_entity(fact.subject), embedded.store.find_relation(fact.relation)
        assert subject is not None and relation is not None
        said = embedded.store.outgoing(subject, relation)
        objects = {each.literal.value if each.literal else embedded.entity(each.object or 0).key for each in said}
        assert fact.object in objects
        assert all(each.source is not None for each in said)


def test_wordings_have_plain_slots_and_every_relation_has_some(embedded: Graph) -> None:
    for relation in embedded.relations.values():
        assert relation.templates and relation.questions and relation.inverse, relation.key
        for template in relation.templates:
            assert sorted(re.findall(r"\{.*?\}", template)) == ["{object}", "{subject}"], template
        for question in relation.questions:
            assert re.findall(r"\{.*?\}", question) == ["{subject}"], question
            assert question.endswith("?")


def test_writing_it_twice_adds_nothing(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "twice.db", create=True) as graph:
        add_embedded_facts(graph.store)
        once = graph.store.counts()
        add_embedded_facts(graph.store)
        assert graph.store.counts() == once


def test_questions_in_the_words_of_the_prose_are_answered(embedded: Graph) -> None:
    """Forms and all: "lions", "a lion", "the Nile". Other ways to ask than the graph itself has are among them."""
    rng, reasoner, right = random.Random(5), Reasoner(embedded), 0
    pairs = [(subject, relation) for subject, known in say.objects_of().items() for relation in known]
    asked = rng.sample(pairs, 150)
    for subject, relation in asked:
        question = say.ask(rng, subject, relation)
        answer = reasoner.ask(question[0].upper() + question[1:])
        objects = say.objects_of()[subject][relation]
        wanted = {each if relations()[relation].literal else entities()[each].label for each in objects}
        right += bool(answer.citations) and {each.object for each in answer.citations} <= wanted
    assert right / len(asked) >= 0.88


def test_what_can_be_asked_names_each_relation_once(embedded: Graph) -> None:
    found = askable(embedded)
    assert len({each.relation for each in found}) == len(found) == 12
    assert all(each.question.endswith("?") and "{" not in each.question for each in found)
    assert json.dumps([each.question for each in found])

"""A model over a graph: what it says is read back, and only what the graph says is let through."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from groundzero.errors import InputError
from groundzero.generate import Engine, rows
from groundzero.generate.evidence import CHANNELS, Channel
from groundzero.generate.prefix import salt_of
from groundzero.graph.graph import Graph
from groundzero.graph.phrasing import sayings
from groundzero.ground.claims import is_refusal, marked, read_claims
from groundzero.ground.grounded import GroundedModel, GroundedSettings
from groundzero.ground.lessons import Copied, Fact, Lesson, LessonSettings
from groundzero.ground.speech import Said, Span, Speaker
from groundzero.ground.teacher import Teacher
from groundzero.ground.verify import verify
from groundzero.model import GPT
from groundzero.model.knowledge import KnowledgeGPT
from groundzero.tokenizer import Tokenizer


def said_of(lesson: Lesson, *, ended: bool = True) -> Said:
    """A lesson's answer as if a model had said it."""
    text, spans = "", []
    for piece in lesson.answer:
        start = len(text)
        text += piece if isinstance(piece, str) else piece.text
        if isinstance(piece, Copied):
            spans.append(Span(start, len(text), lesson.facts[piece.fact], piece.role == "subject"))
    return Said(text, tuple(spans), (70, 71, 72), 2, ended)


class Parrot(Speaker):
    """Says by heart what it is told, with spans at the names of its facts."""

    def __init__(self, engine: Engine, template: str) -> None:
        super().__init__(engine)
        self.template = template

    def say_all(
        self,
        asked: Sequence[tuple[str, Sequence[Fact]]],
        channels: Collection[Channel] = CHANNELS,
        *,
        seed: int | None = None,
        from_marked: bool = False,
    ) -> list[Said]:
        return [self._parroted(*each) for each in asked]

    def _parroted(self, question: str, facts: Sequence[Fact]) -> Said:
        relation = "capital"
        place = next(n for n, fact in enumerate(facts) if fact.relation == relation)
        pieces: list[str | Copied] = []
        for part in self.template.split("|"):
            role = {"S": "subject", "O": "object"}.get(part)
            name = facts[place].subject if part == "S" else facts[place].object
            pieces.append(Copied(name, place, role) if role else part)  # type: ignore[arg-type]
        return said_of(Lesson("one", question, tuple(facts), tuple(pieces)))


def test_what_lessons_teach_is_understood(world: Graph) -> None:
    """Every kind that makes claims is read back to exactly the statements it cites."""
    seen = set()
    for lesson in Teacher(world, LessonSettings(test_share=0.4)).lessons(250):
        told = read_claims(said_of(lesson), lesson.facts, lambda relation: sayings(world.relation(relation)))
        if lesson.kind in ("unknown", "silent", "talk", "conflict"):
            assert told is None
            continue
        assert told is not None, lesson.text
        assert sorted(fact.statement for fact in told.claims) == sorted(lesson.cited), lesson.text
        seen.add(lesson.kind)
    assert seen >= {"one", "inverse", "list", "two", "count", "yes", "compare"}


@pytest.mark.parametrize("change", ["cut", "other relation", "invented name", "swapped", "private use"])
def test_what_no_fact_says_is_not_understood(world: Graph, change: str) -> None:
    lessons = Teacher(world, LessonSettings(test_share=0.4)).lessons(40, "one")
    lesson = next(each for each in lessons if each.facts[0].relation == "capital" and len(each.facts) > 1)
    said = said_of(lesson, ended=change != "cut")
    text, spans = said.text, said.spans
    if change == "other relation":
        text = text.replace("capital", "currency").replace("is", "has")
        spans = tuple(Span(s.start, s.end, s.fact, s.is_subject) for s in spans)
    elif change == "invented name":
        spans = spans[:1]
    elif change == "swapped":
        spans = tuple(Span(s.start, s.end, s.fact, not s.is_subject) for s in spans)
    elif change == "private use":
        text += "\ue000"
    told = read_claims(
        Said(text, spans, said.ids, 0, said.ended), lesson.facts, lambda relation: sayings(world.relation(relation))
    )
    assert told is None


@pytest.mark.parametrize(
    ("template", "let_through"),
    [
        ("The capital of |S| is |O|.", True),
        ("|O| is the capital of |S|.", True),
        ("|S| is the capital of |O|.", False),
        ("The capital of |S| is |O|. All of that is a lie.", False),
        ("No: The capital of |S| is |O|.", False),
        ("I do not know: the facts do not say.", False),
        ("The mayor of |S| is |O|.", False),
        ("|O", False),
    ],
)
def test_only_what_the_graph_says_is_let_through(
    world: Graph, reader_engine: Engine, template: str, let_through: bool
) -> None:
    model = GroundedModel(Parrot(reader_engine, template), world, settings=GroundedSettings(meters=False))
    answer = model.ask("What is the capital of Peru?")
    assert answer.status == "asserted"
    assert "Peru City" in answer.text
    assert bool(answer.tokens_generated) == let_through
    assert answer.text.count("[S") == 1
    assert verify(answer, world.store)
    own = GroundedModel(Parrot(reader_engine, template), world, settings=GroundedSettings(fallback=False, meters=False))
    assert own.ask("What is the capital of Peru?").tokens_generated


@pytest.mark.parametrize(
    ("question", "template", "let_through"),
    [
        ("How many answers are there: What is the capital of Peru?", "1: |O|.", True),
        ("How many answers are there: What is the capital of Peru?", "1: |S|.", False),  # the right fact's wrong end
        ("How many answers are there: What is the capital of Peru?", "1: |S| and |O|.", False),
        ("How many answers are there: What is the capital of Peru?", "2: |O|.", False),
        ("Is Peru City the capital of Peru?", "Yes: The capital of |S| is |O|.", True),
        ("Is Peru City the capital of Peru?", "Yes: |O|.", False),
        ("Is Peru City the capital of Peru?", "No: The capital of |S| is |O|.", False),
    ],
)
def test_a_list_is_of_answers(
    world: Graph, reader_engine: Engine, question: str, template: str, let_through: bool
) -> None:
    model = GroundedModel(Parrot(reader_engine, template), world, settings=GroundedSettings(meters=False))
    wording = model.word(model.evidence(question)[0])
    assert wording is not None
    assert wording.entailed == let_through


class Stutterer(Parrot):
    """Says what is right, but only when asked for the n-th time."""

    def __init__(self, engine: Engine, right_at: int) -> None:
        super().__init__(engine, "")
        self.right_at, self.asked = right_at, list[tuple[int | None, bool]]()

    def say_all(
        self,
        asked: Sequence[tuple[str, Sequence[Fact]]],
        channels: Collection[Channel] = CHANNELS,
        *,
        seed: int | None = None,
        from_marked: bool = False,
    ) -> list[Said]:
        self.asked.append((seed, from_marked))
        self.template = "|O| is the capital of |S|." if len(self.asked) == self.right_at else "|O|? Of |S|?"
        return super().say_all(asked, channels)


@pytest.mark.parametrize("right_at", [1, 2, 4, 5])
def test_it_is_said_anew_until_the_graph_bears_it_out(world: Graph, reader_engine: Engine, right_at: int) -> None:
    speaker = Stutterer(reader_engine, right_at)
    model = GroundedModel(speaker, world, settings=GroundedSettings(meters=False, attempts=4))
    wording = model.word(model.evidence("What is the capital of Peru?")[0])
    assert wording is not None
    assert wording.entailed == (right_at <= 4)
    assert wording.alone.entailed == (right_at == 1)
    assert "?" in wording.alone.text or right_at == 1
    assert len(speaker.asked) == min(right_at, 4)
    assert [from_marked for _, from_marked in speaker.asked] == [False, True, True, True][: len(speaker.asked)]
    seeds = [seed for seed, _ in speaker.asked]
    assert seeds[:2] == [None, None][: len(seeds)], "the likeliest words are tried first"
    assert None not in seeds[2:]
    assert len(set(seeds[2:])) == len(seeds[2:]), "the same words would be drawn again"


def test_without_a_fallback_the_first_words_stand(world: Graph, reader_engine: Engine) -> None:
    speaker = Stutterer(reader_engine, right_at=2)
    settings = GroundedSettings(meters=False, fallback=False)
    answer = GroundedModel(speaker, world, settings=settings).ask("What is the capital of Peru?")
    assert answer.text == "Peru City? Of Peru?"
    assert len(speaker.asked) == 1


def test_an_untrained_model_changes_no_answer(world: Graph, reader_engine: Engine) -> None:
    model = GroundedModel(Speaker(reader_engine, max_tokens=24), world)
    for question in ("What is the capital of Chile?", "Who is the mayor of the capital of Peru?"):
        by_rule = model.reasoner.ask(question)
        answer = model.ask(question)
        assert (answer.status, answer.citations, answer.path) == (by_rule.status, by_rule.citations, by_rule.path)
        assert verify(answer, world.store)
        assert set(answer.channels) == set(CHANNELS)
        assert all(0 <= share <= 1 for share in answer.channels.values())


def test_what_the_graph_does_not_know_is_refused_without_asking_the_model(world: Graph, reader_engine: Engine) -> None:
    answer = GroundedModel(Speaker(reader_engine, max_tokens=24), world).ask("What is the capital of Atlantis?")
    assert (answer.status, answer.reason) == ("unknown", "no_entity")
    assert not answer.tokens_generated
    assert not answer.citations


def test_deleting_the_cited_fact_changes_the_answer_and_another_does_not(
    world_path: Path, tmp_path: Path, reader_engine: Engine
) -> None:
    shutil.copy(world_path, tmp_path / "w.db")
    with Graph.open(tmp_path / "w.db") as graph:
        model = GroundedModel(Parrot(reader_engine, "The capital of |S| is |O|."), graph)
        before = model.ask("What is the capital of Peru?")
        (cited,) = before.citations
        peru = graph.store.find_entity("Peru")
        assert peru is not None
        other = next(each for each in graph.store.outgoing(peru) if each.id != cited.id)
        with graph.store.writer() as writer:
            writer.retire(other.id)
        assert model.ask("What is the capital of Peru?").text == before.text
        with graph.store.writer() as writer:
            writer.retire(cited.id)
        after = model.ask("What is the capital of Peru?")
        assert after.text != before.text
        assert cited.id not in [each.id for each in after.citations]
        assert verify(before, graph.store), "an old answer stays provable"


def test_an_edit_is_answered_at_once(world_path: Path, tmp_path: Path, reader_engine: Engine) -> None:
    shutil.copy(world_path, tmp_path / "w.db")
    with Graph.open(tmp_path / "w.db") as graph:
        model = GroundedModel(Parrot(reader_engine, "The capital of |S| is |O|."), graph)
        assert "Peru City" in model.ask("What is the capital of Peru?").text
        with graph.store.writer() as writer:
            new = writer.add_entity("Cusco", label="Cusco")
        peru, capital = graph.store.find_entity("Peru"), graph.store.find_relation("capital")
        assert peru is not None
        assert capital is not None
        graph.edit(peru, capital, new)
        answer = model.ask("What is the capital of Peru?")
        assert answer.text.startswith("The capital of Peru is Cusco [S")
        assert answer.tokens_generated


def check_no_stale_cache(world_path: Path, folder: Path, model: KnowledgeGPT, words: Tokenizer) -> None:
    """The prompt is the same before and after an edit, and the facts are not: every token is as likely as to an engine
    that never knew the old ones."""
    shutil.copy(world_path, folder / "w.db")
    engine = Engine(model, words, prefix_cache_bytes=10_000_000)
    with Graph.open(folder / "w.db") as graph:
        grounded = GroundedModel(Speaker(engine, max_tokens=24), graph)
        peru, capital = graph.store.find_entity("Peru"), graph.store.find_relation("capital")
        assert peru is not None
        assert capital is not None
        seen: list[list[float]] = []
        for name in ("Cusco", "Arequipa", "Puno"):
            with graph.store.writer() as writer:
                new = writer.add_entity(name, label=name)
            graph.edit(peru, capital, new)
            evidence, _ = grounded.evidence("What is the capital of Peru?")
            facts = grounded.facts_for(evidence)
            asked = f"I would like to know this, and nothing else: {evidence.question}"
            request = grounded.speaker._request(asked, facts, frozenset({"attention"}), None)
            request = replace(request, sampling=request.sampling.replace(logprobs=1))
            got, want = (each.run([request])[0] for each in (engine, Engine(model, words)))
            assert got.ids == want.ids
            assert got.logprobs is not None
            assert want.logprobs is not None
            seen.append([entry.logprob for entry in got.logprobs])
            assert seen[-1] == pytest.approx([entry.logprob for entry in want.logprobs], abs=1e-9)
    assert len({tuple(each) for each in seen}) == 3, "the facts must matter to prove anything"


def test_an_edit_never_meets_a_stale_cache(
    world_path: Path, tmp_path: Path, reader_model: KnowledgeGPT, words: Tokenizer
) -> None:
    check_no_stale_cache(world_path, tmp_path, reader_model.double(), words)


def test_a_cache_that_knows_tokens_alone_is_stale_after_an_edit(
    world_path: Path, tmp_path: Path, reader_model: KnowledgeGPT, words: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "salt_of", lambda version, evidence: salt_of(version, b""))
    with pytest.raises(AssertionError):
        check_no_stale_cache(world_path, tmp_path, reader_model.double(), words)


def test_evidence_is_what_is_needed_among_what_does_not_answer(world: Graph, reader_engine: Engine) -> None:
    model = GroundedModel(Speaker(reader_engine, max_tokens=24), world)
    evidence, _ = model.reasoner.evidence("What is the currency of Brazil?")
    facts = model.facts_for(evidence)
    assert model.facts_for(evidence) == facts
    assert len(facts) <= model.settings.most_facts
    answering = [fact for fact in facts if fact.subject == "Brazil" and fact.relation == "currency"]
    assert len(answering) == 1
    small = GroundedModel(Speaker(reader_engine), world, settings=GroundedSettings(most_facts=1))
    listed, _ = small.reasoner.evidence("What does Brazil share a border with?")
    assert small.facts_for(listed) == ()
    assert small.ask("What does Brazil share a border with?").status == "asserted"


def test_it_means_what_was_named_before(world: Graph, reader_engine: Engine) -> None:
    model = GroundedModel(Speaker(reader_engine, max_tokens=24), world)
    history = ["What is the capital of Chile?", "The capital of Chile is Chile City [S9]."]
    assert "Ana" in model.ask("Who is its mayor?", history=history).text
    assert "1037" in model.ask("And what is its population?", history=history).text
    assert model.ask("And what is its population?").status == "unknown"


def test_a_model_without_knowledge_layers_is_refused(words: Tokenizer, reader_engine: Engine) -> None:
    plain = Engine(GPT(reader_engine.model.config), words)
    with pytest.raises(InputError, match="knowledge layers"):
        Speaker(plain)


def test_answers_together_are_as_alone(world: Graph, reader_engine: Engine) -> None:
    """In float64 neighbours in the batch change no word."""
    reader_engine.model.double()
    speaker = Speaker(reader_engine, max_tokens=24)
    lessons = list(Teacher(world, LessonSettings(test_share=0.4)).lessons(4))
    asked = [(lesson.question, lesson.facts) for lesson in lessons]
    together = speaker.say_all(asked)
    assert [speaker.say(*each).ids for each in asked] == [said.ids for said in together]


def test_spans_of_whatever_is_said_are_names_of_facts(world: Graph, reader_engine: Engine) -> None:
    speaker = Speaker(reader_engine, max_tokens=24)
    found = 0
    for lesson in Teacher(world, LessonSettings(test_share=0.4)).lessons(6):
        said = speaker.say(lesson.question, lesson.facts, seed=3)
        for span in said.spans:
            assert said.text[span.start : span.end] == span.text
            found += 1
    assert found


def test_marks_stand_behind_what_they_prove(world: Graph) -> None:
    lesson = next(Teacher(world, LessonSettings(made_up_share=0.0)).lessons(1, "one"))
    said = said_of(lesson)
    told = read_claims(said, lesson.facts, lambda relation: sayings(world.relation(relation)))
    assert told is not None
    assert not is_refusal(said)
    text = marked(said, told)
    (number,) = lesson.cited
    assert f"[S{number}]" in text
    assert text.replace(f" [S{number}]", "") == lesson.text


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("A and B share a border with P.", "A [S12] and B [S13] share a border with P."),
        ("A and B shares a border with P.", None),
        ("A share a border with P.", None),
        ("A shares a border with P.", "A shares a border with P [S12]."),
        ("P shares a border with A and B.", "P shares a border with A [S2] and B [S3]."),
        ("P shares a border with A, B.", None),
        ("P shares a border with A, B and C.", "P shares a border with A [S2], B [S3] and C [S4]."),
        ("P shares a border with A and B and C.", None),
    ],
)
def test_only_what_is_written_well_is_let_through(world: Graph, text: str, cited: str | None) -> None:
    border = world.store.find_relation("shares border with")
    assert border is not None
    facts = [Fact("P", "shares border with", name, n, (1, border, n)) for n, name in enumerate("ABC", 2)]
    facts += [Fact(name, "shares border with", "P", n + 10, (n, border, 1)) for n, name in enumerate("ABC", 2)]
    spans = []
    for place, letter in enumerate(text):
        if letter in "ABCP" and not text[place + 1 : place + 2].isalpha():
            fact = next(each for each in facts if letter in (each.subject, each.object))
            spans.append(Span(place, place + 1, fact, letter == fact.subject))
    said = Said(text, tuple(spans), (70, 71), 2, True)
    told = read_claims(said, facts, lambda relation: sayings(world.relation(relation)))
    assert (None if told is None else marked(said, told)) == cited

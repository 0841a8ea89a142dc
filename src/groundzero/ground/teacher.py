"""Draws lessons from a graph (`lessons` says which kinds there are)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, Relation, RelationId, Statement
from groundzero.graph.phrasing import for_many, phrase, plain_phrase, sayings
from groundzero.ground.lessons import (
    REFUSAL,
    Copied,
    Fact,
    Kind,
    Lesson,
    LessonSettings,
    Piece,
    Split,
    named_in,
    noun_of,
)
from groundzero.ground.names import made_up, made_up_value
from groundzero.ground.saying import filled, fitting, put, within, worn
from groundzero.ground.teachable import TeachableFacts

_SHARES: dict[Kind, float] = {
    "one": 0.25, "inverse": 0.10, "list": 0.10, "two": 0.16, "three": 0.08, "count": 0.04, "yes": 0.04, "no": 0.03,
    "compare": 0.03, "conflict": 0.03, "unknown": 0.10, "silent": 0.02, "talk": 0.02,
}  # fmt: skip
_TRIES = 25
"""Draws of one kind before another is taken: most statements of a graph start no chain of three."""
_WORN: tuple[Kind, ...] = ("one", "inverse", "list", "two", "three")
"""Kinds whose answers begin with no verdict or number that only the question asks for."""
_RARE_SHARE = 0.3
"""Of lessons: those that start from a relation drawn among all, however few statements it has."""
_FUNCTIONAL = 0.05
"""A relation of which at most this share of subjects has a second object: then another object is a false one."""
_REFUSALS = (
    REFUSAL + ": the facts do not say.",
    REFUSAL + ". Nothing here tells that.",
    REFUSAL + ", because no fact given says so.",
)
"""Without names: those in the question need not be in any fact, so that they could not be copied but would be spelt."""
_UNSHOWN = (REFUSAL + ": no facts are given.", REFUSAL + ", because nothing is shown.")
_PREPOSITIONS = frozenset("of in at by to for from on with after as into through about".split())  # noqa: SIM905
_WHICH = re.compile(r"(?:\w+ )?[Ww]hich ([a-z ]+?) (?:is|was|are|were) \{subject\}")
"""A question that says what it asks for: the country, the administrative territory."""
_TALK = (
    ("Hello!", "Hello! What would you like to know?"),
    ("Hi there.", "Hi! Ask me about anything in the graph."),
    ("Good morning.", "Good morning! How can I help?"),
    ("Thank you!", "You are welcome."),
    ("Thanks, that helps.", "Glad to help."),
    ("Who are you?", "I am a small model that answers from a graph of facts, and says where each fact stands."),
    ("What can you do?", "I answer questions from facts, cite them, and say so when they are silent."),
    ("How are you?", "I am well, thank you. What would you like to know?"),
    ("Goodbye.", "Goodbye!"),
)


class Teacher:
    """Draws lessons from a graph.

    Args:
        split: `train` shows no statement about an entity of `test`, not even as a distractor; `test` asks about those
            entities only, in phrasings that were held back where a relation has several.
    """

    def __init__(self, graph: Graph, settings: LessonSettings | None = None, *, split: Split = "train") -> None:
        self.settings = settings or LessonSettings()
        self.split = split
        self.known = known = TeachableFacts(graph, self.settings, split)
        self._phrasings = {key: phrase(relation) for key, relation in known.relations.items()}
        self._questions = {key: self._asked(relation) for key, relation in known.relations.items()}
        self._sayings = {key: sayings(relation) for key, relation in known.relations.items()}
        self._numbers = [each for each in self.known.asked if each.literal is not None and _number(each.literal.value)]
        self._drawers: dict[Kind, Callable[[random.Random], Lesson | None]] = {
            "one": self._one, "inverse": self._inverse, "list": self._list, "two": lambda rng: self._chain(rng, 2),
            "three": lambda rng: self._chain(rng, 3), "count": self._count, "yes": lambda rng: self._verdict(rng, True),
            "no": lambda rng: self._verdict(rng, False), "compare": self._compare, "conflict": self._conflict,
            "unknown": self._unknown, "silent": self._silent, "talk": self._talk,
        }  # fmt: skip

    @property
    def n_askable(self) -> int:
        """Statements that lessons of this split start from."""
        return len(self.known.asked)

    def lesson(self, number: int, kind: Kind | None = None) -> Lesson | None:
        """Lesson `number`: the same whenever it is asked for; None where the graph has none of its kind."""
        rng = random.Random(f"{self.settings.seed}:{self.split}:{kind or ''}:{number}")
        for _ in range(1 if kind else 4):
            wanted: Kind = kind or rng.choices(list(_SHARES), list(_SHARES.values()))[0]
            for _ in range(_TRIES if self.known.asked or wanted == "talk" else 0):
                lesson = self._drawers[wanted](rng)
                if lesson is not None:
                    lesson = self._worn(lesson, rng)
                    lesson = replace(lesson, facts=tuple(named_in(lesson.question, each) for each in lesson.facts))
                    return self._renamed(lesson, rng) if rng.random() < self.settings.made_up_share else lesson
        return None

    def lessons(self, count: int, kind: Kind | None = None) -> Iterator[Lesson]:
        """The first `count` lessons; fewer where some cannot be drawn."""
        for number in range(count):
            lesson = self.lesson(number, kind)
            if lesson is not None:
                yield lesson

    # ------------------------------------------------------------------ kinds

    def _one(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        answers = self.known.answers(chosen.subject, chosen.relation)
        if len(answers) != 1:
            return None
        template = self._template(chosen.relation, rng)
        return self._told("one", template, self._asked_about(chosen.subject, template), [answers], rng)

    def _list(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        answers = self.known.answers(chosen.subject, chosen.relation)
        if not 2 <= len(answers) <= self.settings.most_answers:
            return None
        template = self._template(chosen.relation, rng)
        return self._told("list", template, self._asked_about(chosen.subject, template), [answers], rng)

    def _inverse(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        if chosen.object is None:
            return None
        answers = [each for each in self.known.by_object[chosen.object] if each.relation == chosen.relation]
        if len(answers) > self.settings.most_answers:
            return None
        template = rng.choice(self._held(self._phrasings[chosen.relation].inverse))
        question = self._asked_about(chosen.object, template)
        return self._told("inverse", template, question, [answers], rng, inverse=True)

    def _chain(self, rng: random.Random, hops: int) -> Lesson | None:
        step = self._start(rng)
        steps: list[list[Statement]] = []
        start = step.subject
        subject = self.known.label(step.subject)
        for hop in range(hops):
            answers = self.known.answers(step.subject, step.relation)
            last = hop == hops - 1
            if last and hop and len(answers) > 1:  # "the neighbours of Peru's neighbour" are the others
                answers = [each for each in answers if each.object != start]
            if len(answers) != 1 and not (last and len(answers) <= self.settings.most_answers):
                return None
            steps.append(answers)
            if last:
                break
            subject = self._of(step.relation, subject)
            following = self.known.by_subject.get(step.object) if step.object is not None else None
            seen = {each.subject for each in (part[0] for part in steps)}
            choices = [each for each in following or () if each.object not in seen]
            if not choices:
                return None
            step = rng.choice(choices)
        template = self._template(step.relation, rng)
        return self._told("two" if hops == 2 else "three", template, filled(template, subject, subject), steps, rng)

    def _count(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        answers = self.known.answers(chosen.subject, chosen.relation)
        if len(answers) > self.settings.most_answers:
            return None
        asked = self._question(chosen.relation, chosen.subject, rng)
        question = rng.choice(("How many answers are there: {}", "How many? {}")).format(asked)
        facts, places = self._evidence([answers], rng)
        named = _listed([Copied(facts[place].object, place, "object") for place in places])
        return Lesson("count", question, facts, (f"{len(answers)}: ", *named, "."))

    def _verdict(self, rng: random.Random, true: bool) -> Lesson | None:
        chosen = self._start(rng)
        answers = self.known.answers(chosen.subject, chosen.relation)
        if len(answers) != 1 or chosen.object is None:
            return None
        claimed = self.known.label(chosen.object)
        if not true:
            others = [each for each in self.known.by_relation[chosen.relation] if each.object != chosen.object]
            other = rng.choice(others) if others else None
            if other is None or other.object is None or self.known.share_of_many(chosen.relation) > _FUNCTIONAL:
                return None
            claimed = self.known.label(other.object)
        template = rng.choice(self._phrasings[chosen.relation].sentences)
        claim = put(within(template).rstrip("."), self.known.label(chosen.subject), claimed)
        question = rng.choice(("Is it true that {}?", "Is this right: {}?")).format(claim)
        facts, places = self._evidence([answers], rng)
        said = self._said(facts, places, fitting(self._sayings[chosen.relation], template, rng))
        return Lesson(
            "yes" if true else "no", question, facts, ("Yes: " if true else "No: ", *said), mentioned=(claimed,)
        )

    def _compare(self, rng: random.Random) -> Lesson | None:
        if len(self._numbers) < 2:
            return None
        one = rng.choice(self._numbers)
        numbers = (each for each in self.known.by_relation[one.relation] if each.subject != one.subject)
        others = [each for each in numbers if each.literal is not None and _number(each.literal.value)]
        if not others:
            return None
        other = rng.choice(others)
        values = [_number(each.literal.value) for each in (one, other) if each.literal is not None]
        if values[0] == values[1] or None in values:
            return None
        noun = noun_of(self.known.relations[one.relation])
        question = f"Which has the larger {noun}, {self.known.label(one.subject)} or {self.known.label(other.subject)}?"
        facts, places = self._evidence([[one, other]], rng)
        assert values[0] is not None and values[1] is not None
        larger, smaller = (0, 1) if values[0] > values[1] else (1, 0)
        first, second = facts[places[larger]], facts[places[smaller]]
        answer: tuple[Piece, ...] = (
            Copied(first.subject, places[larger], "subject"), " with ", Copied(first.object, places[larger], "object"),
            "; ", Copied(second.subject, places[smaller], "subject"), " has ",
            Copied(second.object, places[smaller], "object"), ".",
        )  # fmt: skip
        return Lesson("compare", question, facts, answer)

    def _conflict(self, rng: random.Random) -> Lesson | None:
        """Two sources disagree: made from one statement and the object of another, so that nothing false is stored.

        Never marked: reasoning that finds a disagreement hands nothing on, and marked facts that say two things are two
        answers.
        """
        chosen = self._start(rng)
        answers = self.known.answers(chosen.subject, chosen.relation)
        others = [each for each in self.known.by_relation[chosen.relation] if each.object not in (None, chosen.object)]
        if len(answers) != 1 or not others:
            return None
        facts, (place,) = self._evidence([answers], rng, leave=1, may_mark=False)
        rival = rng.choice(others)
        assert rival.object is not None
        true = facts[place]
        false = Fact(true.subject, true.relation, self.known.label(rival.object), -true.statement,
                     (chosen.subject, chosen.relation, rival.object))  # fmt: skip
        at = rng.randrange(len(facts) + 1)
        facts = (*facts[:at], false, *facts[at:])
        places = sorted((at, place + (at <= place)))
        said = [Copied(facts[i].object, i, "object") for i in places]
        question = self._question(chosen.relation, chosen.subject, rng)
        return Lesson(
            "conflict", question, facts, ("The facts disagree: one says ", said[0], ", another ", said[1], ".")
        )

    def _unknown(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        question = self._question(chosen.relation, chosen.subject, rng)
        facts, _ = self._evidence([], rng, about=chosen)
        mentioned = (self.known.label(chosen.subject),)
        return Lesson("unknown", question, facts, (rng.choice(_REFUSALS),), mentioned=mentioned)

    def _silent(self, rng: random.Random) -> Lesson | None:
        chosen = self._start(rng)
        question = self._question(chosen.relation, chosen.subject, rng)
        return Lesson("silent", question, (), (rng.choice(_UNSHOWN),), mentioned=(self.known.label(chosen.subject),))

    def _talk(self, rng: random.Random) -> Lesson | None:
        question, answer = rng.choice(_TALK)
        return Lesson("talk", question, (), (answer,))

    # ------------------------------------------------------------------ answers and evidence

    def _told(
        self,
        kind: Kind,
        template: str,
        question: str,
        steps: Sequence[Sequence[Statement]],
        rng: random.Random,
        *,
        inverse: bool = False,
    ) -> Lesson | None:
        """Every hop in a sentence that sounds like the question, with its answers copied from their statements.

        Args:
            template: of the question's last hop.
        """
        if sum(map(len, steps)) > self.settings.most_facts:
            return None
        facts, places = self._evidence(steps, rng)
        pieces: list[Piece] = []
        start = 0
        for answers in steps:
            here = places[start : start + len(answers)]
            start += len(answers)
            asked = template if start == len(places) else self._of(answers[0].relation, "")
            sentence = fitting(self._sayings[answers[0].relation], asked, rng)
            said = self._said(facts, here, sentence, inverse=inverse)
            pieces += [" ", *said] if pieces else said
        return Lesson(kind, question, facts, tuple(pieces))

    def _said(
        self,
        facts: Sequence[Fact],
        places: Sequence[int],
        template: str,
        *,
        inverse: bool = False,
    ) -> list[Piece]:
        """One sentence for statements that share an end; the shared end is copied once, the others in their order."""
        places = sorted(places)
        first = facts[places[0]]
        answers: list[Piece] = _listed(
            [
                Copied(facts[i].subject if inverse else facts[i].object, i, "subject" if inverse else "object")
                for i in places
            ]
        )
        shared: Piece = Copied(
            first.object if inverse else first.subject, places[0], "object" if inverse else "subject"
        )
        pieces: list[Piece] = []
        many = "{subject}" if inverse else "{object}"
        for part in re.split(r"(\{subject\}|\{object\})", for_many(template, many) if len(places) > 1 else template):
            if part in ("{subject}", "{object}"):
                pieces += answers if (part == "{subject}") == inverse else [shared]
            elif part:
                pieces.append(part[:1].upper() + part[1:] if not pieces else part)
        if not isinstance(pieces[-1], str) or not pieces[-1].rstrip().endswith("."):
            pieces.append(".")
        return pieces

    def _evidence(
        self,
        steps: Sequence[Sequence[Statement]],
        rng: random.Random,
        *,
        about: Statement | None = None,
        leave: int = 0,
        may_mark: bool = True,
    ) -> tuple[tuple[Fact, ...], list[int]]:
        """The statements of each step among distractors, and their places.

        Args:
            about: what is asked and must not be answered: nothing of this subject and relation is shown.
            leave: places to leave free.
            may_mark: the steps may be marked.
        """
        needed = [each for answers in steps for each in answers]
        key = about or needed[0]
        wanted = {(each.subject, each.relation, each.object, each.literal) for each in needed}
        asked = {(each.subject, each.relation) for each in (*needed, key)}
        alike = self.known.by_relation[key.relation]
        pool = list(self.known.by_subject.get(key.subject, ()))
        pool += rng.sample(alike, k=min(12, len(alike)))
        pool += rng.sample(self.known.statements, k=min(6, len(self.known.statements)))
        rng.shuffle(pool)
        room = max(0, rng.randint(len(needed), self.settings.most_facts) - len(needed) - leave)
        others: list[Statement] = []
        for each in pool:
            what = (each.subject, each.relation, each.object, each.literal)
            if len(others) < room and what not in wanted and (each.subject, each.relation) not in asked:
                others.append(each)
                wanted.add(what)
        rng.shuffle(others)
        if may_mark and rng.random() < self.settings.marked_share:
            marked = [self.known.fact(each, step) for step, answers in enumerate(steps, 1) for each in answers]
            return (*marked, *map(self.known.fact, others)), list(range(len(marked)))
        order = [*needed, *others]
        rng.shuffle(order)
        return tuple(self.known.fact(each) for each in order), [order.index(each) for each in needed]

    def _worn(self, lesson: Lesson, rng: random.Random) -> Lesson:
        """The same with words of the question gone, now and then, where marks tell what is asked all the same.

        Each relation is asked for in a few ways only; who could learn those by heart would never look at the relation
        that the facts name, and be at a loss when asked in another way.
        """
        marked = bool(lesson.facts) and lesson.facts[0].step > 0
        if self.split == "test" or not marked or lesson.kind not in _WORN or rng.random() >= self.settings.worn_share:
            return lesson
        names = {name for fact in lesson.facts for name in (fact.subject, fact.object)}
        return replace(lesson, question=worn(lesson.question, names, rng))

    def _renamed(self, lesson: Lesson, rng: random.Random) -> Lesson:
        """The same lesson about things that do not exist. Longer names first, so that a name within one stays whole."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        named = [(fact.subject, False) for fact in lesson.facts]
        named += [(fact.object, fact.ends[2] is None) for fact in lesson.facts]
        for text, literal in [*named, *((name, False) for name in lesson.mentioned)]:
            if text not in names:
                new = made_up_value(text, rng) if literal else made_up(rng)
                while new in taken:
                    new = made_up(rng)
                taken.add(new)
                names[text] = new
        if not names:
            return lesson
        either = re.compile(
            "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names, key=len, reverse=True))
        )

        def other(text: str) -> str:
            return either.sub(lambda match: names[match.group()], text)

        facts = tuple(replace(each, subject=names[each.subject], object=names[each.object]) for each in lesson.facts)
        answer = tuple(
            other(piece) if isinstance(piece, str) else Copied(names[piece.text], piece.fact, piece.role)
            for piece in lesson.answer
        )
        return Lesson(
            lesson.kind,
            other(lesson.question),
            facts,
            answer,
            made_up=True,
            mentioned=tuple(map(other, lesson.mentioned)),
        )

    # ------------------------------------------------------------------ the graph

    def _question(self, relation: RelationId, subject: EntityId, rng: random.Random) -> str:
        return self._asked_about(subject, self._template(relation, rng))

    def _start(self, rng: random.Random) -> Statement:
        """A statement to ask about; while teaching, now and then of any relation alike, so that rare ones are heard."""
        if self.split == "train" and rng.random() < _RARE_SHARE:
            return rng.choice(self.known.asked_by_relation[rng.choice(self.known.asked_relations)])
        return rng.choice(self.known.asked)

    def _template(self, relation: RelationId, rng: random.Random) -> str:
        return rng.choice(self._questions[relation])

    def _asked_about(self, entity: EntityId, template: str) -> str:
        return filled(template, self.known.label(entity), self.known.label(entity))

    def _of(self, relation: RelationId, subject: str) -> str:
        """The object of a relation as a phrase: `the capital of Peru`, `the one that Peru shares a border with`."""
        noun = noun_of(self.known.relations[relation])
        if noun.split()[-1] in _PREPOSITIONS or noun.split()[0].endswith(("ed", "es", "s")):
            asked = (_WHICH.match(question) for question in self._phrasings[relation].questions)
            noun = next((found[1] for found in asked if found and found[1].split()[-1] not in _PREPOSITIONS), noun)
        if noun.split()[-1] not in _PREPOSITIONS and not noun.split()[0].endswith(("ed", "es", "s")):
            return f"the {noun} of {subject}"
        for template in self._phrasings[relation].sentences:
            before, _, after = template.partition("{object}")
            if "{subject}" in before and after.strip(" .") == "":
                return "the one that " + within(before).replace("{subject}", subject).strip()
        return f"the {noun} of {subject}"

    def _asked(self, relation: Relation) -> tuple[str, ...]:
        """The questions of this split; those in the words of the label are taught, too, and never examined."""
        questions = phrase(relation).questions
        plain = plain_phrase(relation).questions if self.split == "train" else ()
        return (*self._held(questions), *(each for each in plain if each not in questions))

    def _held(self, templates: tuple[str, ...]) -> tuple[str, ...]:
        """The phrasings of this split: of several, the last is held back."""
        if len(templates) < 2:
            return templates
        return templates[:-1] if self.split == "train" else templates[-1:]


def _listed(items: Sequence[Copied]) -> list[Piece]:
    """A, B and C."""
    pieces: list[Piece] = []
    for place, item in enumerate(items):
        if place:
            pieces.append(" and " if place == len(items) - 1 else ", ")
        pieces.append(item)
    return pieces


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None

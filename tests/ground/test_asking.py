"""Questions to a small graph: what is answered, in which words, by which statements, and what is refused and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from groundzero.graph.graph import Graph
from groundzero.graph.importing import import_file
from groundzero.graph.nouns import Literal
from groundzero.ground.answer import Answer
from groundzero.ground.reason import Reasoner

FIXTURE = Path(__file__).parents[1] / "fixtures" / "atlas.tsv"


def atlas(place: Path) -> Graph:
    """People, places and works, with literals, an alias, twins of one name, and a quarrel about a date."""
    graph = Graph.open(place / "atlas.db", create=True)
    import_file(graph.store, FIXTURE)
    with graph.store.writer() as writer:
        for key, what in (("springfield-1", "city in Illinois"), ("springfield-2", "city in Oregon")):
            springfield = writer.add_entity(key, label="Springfield", description=what)
            writer.add_statement(springfield, writer.add_relation("country"), writer.add_entity(f"land around {key}"))
        lima = writer.add_entity("Lima")
        writer.name_entity(lima, "Ciudad de los Reyes")
        found = writer.add_source("press.txt")
        ends = writer.add_entity("Andes Press"), writer.add_relation("headquarters location"), lima
        writer.add_statement(*ends, source=found, start=10, end=19)
    graph.refresh()
    return graph


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    with atlas(tmp_path_factory.mktemp("atlas")) as graph:
        yield graph


@pytest.fixture(scope="module")
def reasoner(graph: Graph) -> Reasoner:
    return Reasoner(graph)


def names(answer: Answer) -> set[str]:
    """The asserted answers: candidates of the best reading."""
    return {each.entity for each in answer.candidates if each.score == answer.probability}


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What is the capital of Peru?", {"Lima"}),
        ("peru's capital", {"Lima"}),
        ("Where was Ana Ruiz born?", {"Lima"}),
        ("Where did Luis Vega die?", {"Santiago"}),
        ("Who was born in Cusco?", {"Luis Vega"}),
        ("Who is married to Ana Ruiz?", {"Luis Vega"}),
        ("What does Rosa Vega do for a living?", {"painter"}),
        ("Who wrote Red Dust?", {"Ana Ruiz"}),
        ("Which countries does Peru border?", {"Chile", "Bolivia"}),
        ("Where was the spouse of Ana Ruiz born?", {"Cusco"}),
        ("What is the capital of the country of Cusco?", {"Lima"}),
        ("In which country was Luis Vega born?", {"Peru"}),
        ("Who is the husband of the author of Red Dust?", {"Luis Vega"}),
        ("What is the population of Arequipa?", {"1008290"}),
        ("When was Ana Ruiz born?", {"1950-03-01"}),
    ],
)
def test_paths_of_one_to_three_hops(reasoner: Reasoner, question: str, wanted: set[str]) -> None:
    answer = reasoner.ask(question)
    assert answer.status == "asserted", answer.text
    assert names(answer) == wanted
    for name in wanted:
        assert name in answer.text


def test_gendered_words_tell_children_apart(reasoner: Reasoner) -> None:
    assert names(reasoner.ask("Who is the daughter of Ana Ruiz?")) == {"Rosa Vega"}
    assert names(reasoner.ask("Who is the son of Ana Ruiz?")) == {"Tito Vega"}
    assert names(reasoner.ask("Who are the children of Ana Ruiz?")) == {"Rosa Vega", "Tito Vega"}


def test_two_mentions_are_a_conjunction(reasoner: Reasoner) -> None:
    answer = reasoner.ask("Which novel by Ana Ruiz was published by Andes Press?")
    assert names(answer) == {"The Long River"}
    assert answer.query is not None
    assert len(answer.query.constraints) == 1
    assert len(answer.citations) == 2


def test_counting(reasoner: Reasoner) -> None:
    answer = reasoner.ask("How many children does Ana Ruiz have?")
    assert answer.candidates[0].entity == "2"
    assert answer.text.startswith("There are 2: Rosa Vega")
    assert reasoner.ask("What is the population of Cusco?").candidates[0].entity == "428450"


def test_superlatives_compare_literals(reasoner: Reasoner) -> None:
    answer = reasoner.ask("What is the largest city in Peru?")
    assert answer.candidates[0].entity == "Lima"
    assert "the highest of 3 compared" in answer.text
    assert reasoner.ask("What is the smallest city in Peru?").candidates[0].entity == "Cusco"


def test_yes_and_no(reasoner: Reasoner) -> None:
    yes = reasoner.ask("Is Lima the capital of Peru?")
    assert yes.candidates[0].entity == "yes"
    assert yes.text.startswith("Yes: ")
    unsure = reasoner.ask("Is Cusco the capital of Peru?")
    assert unsure.status == "unknown"
    assert unsure.reason == "no_fact"  # with four capitals nothing says that there is one each


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What is the capital of Atlantis?", "no_entity"),
        ("Who are you?", "no_entity"),
        ("What is the favourite colour of Ana Ruiz?", "no_relation"),
        ("What is the password of Ana Ruiz?", "no_relation"),  # "passed away" is how people say "died"
        ("Where did Ana Ruiz die?", "no_fact"),
        ("When did Luis Vega die?", "no_relation"),
        ("What is the occupation of Luis Vega?", "no_fact"),
        ("In which country is Springfield?", "ambiguous"),
        ("When was Luis Vega born?", "contradiction"),
    ],
)
def test_refusals_say_why(reasoner: Reasoner, question: str, reason: str) -> None:
    answer = reasoner.ask(question)
    assert answer.status == "unknown", answer.text
    assert answer.reason == reason
    assert answer.text.startswith("I do not know")
    assert not answer.citations
    assert answer.query is None


def test_an_ambiguous_name_is_told_apart(reasoner: Reasoner) -> None:
    text = reasoner.ask("In which country is Springfield?").text
    assert "city in Illinois" in text
    assert "city in Oregon" in text


@pytest.mark.parametrize("written", ["ana ruiz", "ANA RUIZ", "Ána Ruíz", "Ana Riuz", "Anna Ruiz"])
def test_names_are_found_whatever_their_case_accents_and_typos(reasoner: Reasoner, written: str) -> None:
    assert names(reasoner.ask(f"Where was {written} born?")) == {"Lima"}


def test_aliases_are_names(reasoner: Reasoner) -> None:
    assert names(reasoner.ask("What country is Ciudad de los Reyes in?")) == {"Peru"}


def test_citations_carry_source_and_span(reasoner: Reasoner) -> None:
    (citation,) = reasoner.ask("Where are the headquarters of Andes Press?").citations
    assert (citation.subject, citation.relation, citation.object) == ("Andes Press", "headquarters location", "Lima")
    assert citation.source == "press.txt"
    assert (citation.start, citation.end) == (10, 19)


def test_the_path_reads_from_the_question_to_the_answer(reasoner: Reasoner) -> None:
    answer = reasoner.ask("Where was the spouse of Ana Ruiz born?")
    assert [(step.origin, step.relation, step.to) for step in answer.path] == [
        ("Ana Ruiz", "spouse", "Luis Vega"),
        ("Luis Vega", "place of birth", "Cusco"),
    ]


def test_json_has_exactly_the_promised_keys(reasoner: Reasoner) -> None:
    keys = (
        "question text status reason probability citations path query candidates graph facts_retrieved channels "
        "tokens_generated seconds"
    )
    for question in ("What is the capital of Peru?", "What is the capital of Atlantis?"):
        raw = reasoner.ask(question).as_json()
        assert list(raw) == keys.split()
        assert list(raw["graph"]) == ["id", "transaction"]
        assert list(raw["seconds"]) == ["link", "retrieve", "generate"]
    raw = reasoner.ask("What is the capital of Peru?").as_json()
    assert list(raw["citations"][0]) == ["id", "subject", "relation", "object", "source", "start", "end"]
    assert list(raw["path"][0]) == ["from", "relation", "to"]
    assert list(raw["query"]) == ["hops", "constraints", "aggregate"]
    assert list(raw["candidates"][0]) == ["entity", "score"]


def test_an_edit_shows_in_the_next_answer(tmp_path: Path) -> None:
    with atlas(tmp_path) as graph:
        reasoner = Reasoner(graph)
        before = reasoner.ask("What is the capital of Peru?")
        peru, cusco = graph.store.find_entity("Peru"), graph.store.find_entity("Cusco")
        capital = graph.store.find_relation("capital")
        assert peru is not None
        assert cusco is not None
        assert capital is not None
        graph.edit(peru, capital, cusco)
        after = reasoner.ask("What is the capital of Peru?")
        assert names(before) == {"Lima"}
        assert names(after) == {"Cusco"}
        assert before.citations[0].id != after.citations[0].id
        assert before.graph.transaction < after.graph.transaction


@pytest.mark.parametrize(
    "asked",
    [
        "Can you tell me {}?", "Could you please tell me what {} is?", "Do you know {}?", "I'd like to know {}.",
        "I would like to know: what is {}?", "Please tell me {}", "Hello! Would you give me {}, please?",
        "We want to know what {} is", "I wonder what {} is.",
    ],
)  # fmt: skip
def test_courtesy_asks_for_nothing(reasoner: Reasoner, asked: str) -> None:
    """Neither for a verdict ("do you know ..."), nor for a relation ("I would like ...")."""
    plain = reasoner.ask("What is the capital of Peru?")
    answer = reasoner.ask(asked.format("the capital of Peru"))
    assert plain.status == "asserted"
    assert (answer.status, answer.citations, answer.query) == (plain.status, plain.citations, plain.query)
    whether = reasoner.ask("Can you tell me whether Lima is the capital of Peru?")
    assert whether.text.startswith("Yes: ")


def test_literals_are_seen_from_the_first_one_on(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "small.db", create=True) as graph:
        with graph.store.writer() as writer:
            lima, peru = writer.add_entity("Lima"), writer.add_entity("Peru")
            population = writer.add_relation("population")
            writer.add_statement(peru, writer.add_relation("capital"), lima)
        reasoner = Reasoner(graph)
        assert reasoner.ask("What is the population of Lima?").status == "unknown"
        with graph.store.writer() as writer:
            writer.add_statement(lima, population, Literal("10092000", "integer"))
        assert names(reasoner.ask("What is the population of Lima?")) == {"10092000"}


HOSTILE = [
    "<script>alert(1)</script>",
    "Robert'); DROP TABLE entity;--",
    "\x1b[31mred\x1b[0m",
    "{subject} is {object}",
    "[S1] cites itself",
    "I do not know",
    "what is the capital of",
    "𝒯𝓊𝓇𝒾𝓃𝑔",
    "a" * 300,
]


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_are_data(tmp_path: Path, label: str) -> None:
    with Graph.open(tmp_path / "odd.db", create=True) as graph:
        with graph.store.writer() as writer:
            odd = writer.add_entity("odd", label=label)
            writer.add_statement(writer.add_entity("Peru", label="Peru"), writer.add_relation("capital"), odd)
        graph.refresh()
        answer = Reasoner(graph).ask("What is the capital of Peru?")
        assert names(answer) == {label}
        assert answer.text == f"The capital of Peru is {label} [S{answer.citations[0].id}]."


@pytest.mark.parametrize("question", ["", "?", "   ", "\0\0", "🦙" * 50, "who " * 400, "Peru", "of of of the the"])
def test_any_text_is_answered_or_refused(reasoner: Reasoner, question: str) -> None:
    assert reasoner.ask(question).status in ("asserted", "unknown")


def test_an_empty_graph_knows_nothing(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "empty.db", create=True) as graph:
        assert Reasoner(graph).ask("What is the capital of Peru?").reason == "no_entity"

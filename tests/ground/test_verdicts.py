"""Claims and questions in the words that a graph has for its relations: one hop, and no way round about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from groundzero.graph.graph import Graph
from groundzero.ground.reason import Reasoner

STATEMENTS = """
Marktbreit|country|Germany; Marktbreit|located in the administrative territorial entity|Kitzingen; Rome|country|Italy
Kitzingen|located in the administrative territorial entity|Bavaria; Bavaria|country|Germany; Rome|country|United States
Germany|diplomatic relation|Japan; Kyoto|country|Japan; Jeolla|twinned administrative body|Shanghai
Ada|place of birth|Marktbreit; Ben|place of birth|Germany; Ada|spouse|Ben; Ben|spouse|Ada; Cleo|spouse|Ben
Ada|member of political party|Greens; Greens|member of|Green Union; Green Union|headquarters location|Kyoto
Bavaria|shares border with|Hesse; Wiesbaden|capital of|Hesse; Ada|instrument|piano; Ada|instrument|voice
piano|instance of|instrument; The Inn|narrative location|Florence; Florence|country|Italy
Kiel|location of formation|Marktbreit; Marktbreit|location|Franconia; Acme|parent organization|Holding
Main|flows through|Marktbreit; Marktbreit|crossed by|Main; Main|flows into|Rhine; Rhine|flows into|North Sea
"""


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reasoner]:
    path = tmp_path_factory.mktemp("claims") / "claims.db"
    with Graph.open(path, create=True) as graph:
        with graph.store.writer() as writer:
            said = [each.strip().split("|") for line in STATEMENTS.strip().splitlines() for each in line.split(";")]
            for number in range(40):  # enough to know that things have one country and one birthplace
                said += [[f"Town {number}", "country", "Germany"], [f"Person {number}", "place of birth", "Kyoto"]]
            for subject, relation, object_ in said:
                ends = (writer.add_entity(name, label=name) for name in (subject, object_))
                writer.add_statement(next(ends), writer.add_relation(relation, label=relation), next(ends))
            twins = writer.add_relation("twinned administrative body")
            writer.name_relation(twins, "{subject} and {object} are twin cities.", "template")
        graph.refresh()
        yield Reasoner(graph)


def named(reasoner: Reasoner, question: str) -> set[str]:
    """What a question is answered with."""
    answer = reasoner.ask(question)
    return {each.entity for each in answer.candidates if each.score == answer.probability}


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("Marktbreit is located in Germany", "Yes"),
        ("Marktbreit is in Japan", "No"),  # which Germany has diplomatic relations with
        ("Marktbreit is located in Bavaria", "Yes"),  # through Kitzingen
        ("Ada was born in Germany", "Yes"),
        ("Ada was born in Kyoto", "No"),
        ("Ben was born in Marktbreit", ""),  # may be: it is in Germany
        ("Shanghai and Jeolla are twin cities", "Yes"),
        ("Ben is married to Cleo", "Yes"),  # said of Cleo
        ("Wiesbaden is the capital of Hesse", "Yes"),
        ("Ada is a member of Green Union", ""),  # her party is
        ("Kyoto was born in Ada", ""),
    ],
)
def test_a_claim_is_judged_by_the_relation_that_it_names(reasoner: Reasoner, claim: str, text: str) -> None:
    for question in (f"Is it true that {claim}?", f"Is this right: {claim}?"):
        answer = reasoner.ask(question)
        assert answer.text.split(",")[0].split(":")[0].split(".")[0] == text or (not text and answer.reason)


def test_a_claim_may_be_put_as_a_question(reasoner: Reasoner) -> None:
    assert reasoner.ask("Is Marktbreit located in Germany?").text.startswith("Yes")
    assert reasoner.ask("Was Ada born in Kyoto?").text.startswith("No")


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("Which instrument does the spouse of Ben play?", {"piano", "voice"}),  # only one of them is called so
        ("Which political party is Ada a member of?", {"Greens"}),
        ("What is Holding the parent organization of?", {"Acme"}),
        ("What is the country of the location of formation of Kiel?", {"Germany"}),
        ("In which administrative territory is the administrative territory of Marktbreit located?", {"Bavaria"}),
        ("What is the capital of the one that the administrative territory of Kitzingen shares border with?",
         {"Wiesbaden"}),
    ],
)  # fmt: skip
def test_chains_in_common_words(reasoner: Reasoner, question: str, answers: set[str]) -> None:
    assert named(reasoner, question) == answers


def test_how_many_answers_there_are_asks_for_no_further_hop(reasoner: Reasoner) -> None:
    answer = reasoner.ask("How many answers are there: Where is The Inn set?")
    assert [step.to for step in answer.path] == ["Florence"]


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Which river flows through Marktbreit?", {"Main"}),  # and not what that flows into
        ("What rivers flow into the North Sea?", {"Rhine"}),
        ("Which sea does the Rhine flow into?", {"North Sea"}),
        ("What place is Wiesbaden the capital of?", {"Hesse"}),  # and not where that is
        ("Which party is Cleo's spouse's spouse a member of?", {"Greens"}),
        ("What instrument does Ben's spouse play?", {"piano", "voice"}),  # and not who that is
    ],
)
def test_a_question_that_names_the_kind_of_answer_is_a_sentence_all_the_same(
    reasoner: Reasoner, question: str, wanted: set[str]
) -> None:
    assert named(reasoner, question) == wanted

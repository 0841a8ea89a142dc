"""The embedded facts agree with one another, and the prose made of them is well formed and always the same."""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter, defaultdict

import pytest

from groundzero.data import embedded
from groundzero.data.embedded import phrases, sentences
from groundzero.data.embedded.tables import LITERAL_TYPES, folder

FACTS = embedded.facts()
ENTITIES = embedded.entities()
RELATIONS = embedded.relations()
DOCUMENTS = list(embedded.documents())

# Change it with the facts or the prose, and say in the commit what changed.
SHA256 = "b129d174a5186609d8e9ad66237ba450ebaa1d15947cef44d0b8367d0eb170f9"


def objects(relation: str) -> dict[str, list[str]]:
    table = defaultdict(list)
    for fact in FACTS:
        if fact.relation == relation:
            table[fact.subject].append(fact.object)
    return table


def test_there_are_thousands_of_facts_and_none_twice() -> None:
    assert len(FACTS) >= 3000
    assert [fact for fact, count in Counter(FACTS).items() if count > 1] == []


def test_relations_are_declared_and_all_used() -> None:
    assert {fact.relation for fact in FACTS} == set(RELATIONS)


def test_subjects_and_objects_have_the_types_of_the_relation() -> None:
    wrong = []
    for fact in FACTS:
        relation = RELATIONS[fact.relation]
        subject, object_ = ENTITIES.get(fact.subject), ENTITIES.get(fact.object)
        if subject is None or subject.type not in relation.domain:
            wrong.append(fact)
        if not relation.literal and (object_ is None or object_.type not in relation.range):
            wrong.append(fact)
    assert wrong == []


def test_literals_look_like_their_type() -> None:
    forms = {"number": r"[1-9]\d*", "year": r"1[0-9]{3}|20[0-2][0-9]", "text": r"\S.*\S|\S"}
    for fact in FACTS:
        kinds = LITERAL_TYPES.intersection(RELATIONS[fact.relation].range)
        assert all(re.fullmatch(forms[kind], fact.object) for kind in kinds), fact


def test_functional_relations_have_one_value() -> None:
    for key, relation in RELATIONS.items():
        if relation.functional:
            assert {s: o for s, o in objects(key).items() if len(o) > 1} == {}, key


def test_symmetric_relations_hold_both_ways() -> None:
    known = set(FACTS)
    for fact in FACTS:
        if RELATIONS[fact.relation].symmetric:
            assert embedded.Fact(fact.object, fact.relation, fact.subject) in known, fact
            assert fact.subject != fact.object


def test_every_entity_is_used_and_its_key_tells_its_label() -> None:
    literal = {key for key, relation in RELATIONS.items() if relation.literal}
    used = {fact.subject for fact in FACTS} | {fact.object for fact in FACTS if fact.relation not in literal}
    assert set(ENTITIES) == used
    for entity in ENTITIES.values():
        assert entity.key == entity.label or re.fullmatch(re.escape(entity.label) + r" \([^)]+\)", entity.key)


def test_an_alias_is_not_the_label_and_never_names_two_things_of_one_type() -> None:
    names = Counter((entity.type, name) for entity in ENTITIES.values() for name in (entity.label, *entity.aliases))
    # Two cities share the name; their keys tell them apart.
    assert {name for name, count in names.items() if count > 1} == {("city", "Victoria")}


def test_the_periodic_table_is_whole() -> None:
    numbers, symbols = objects("atomic_number"), objects("symbol")
    elements = {entity.key for entity in ENTITIES.values() if entity.type == "element"}
    assert set(numbers) == set(symbols) == elements
    assert sorted(int(number) for [number] in numbers.values()) == list(range(1, 119))
    assert len({symbol for [symbol] in symbols.values()}) == 118
    assert all(re.fullmatch(r"[A-Z][a-z]?", symbol) for [symbol] in symbols.values())


def test_period_and_group_follow_from_the_atomic_number() -> None:
    noble = (2, 10, 18, 36, 54, 86, 118)
    periods, groups = objects("period"), objects("group")
    for element, [number] in objects("atomic_number").items():
        z = int(number)
        period = next(i for i, last in enumerate(noble, 1) if z <= last)
        assert periods[element] == [str(period)]
        if element in groups:
            place = z - (0, *noble)[period - 1]
            expected = place if place <= 2 and element != "helium" else 18 - (noble[period - 1] - z)
            assert groups[element] == [str(expected)], element


def test_symbols_of_formulas_are_the_elements_contained() -> None:
    by_symbol = {symbol: element for element, [symbol] in objects("symbol").items()}
    contained = objects("contains_element")
    for compound, [formula] in objects("formula").items():
        assert {by_symbol[s] for s in re.findall(r"[A-Z][a-z]?", formula)} == set(contained[compound]), compound


def test_a_capital_is_in_no_other_country() -> None:
    located = objects("country")
    for place, [city] in objects("capital").items():
        country = place if ENTITIES[place].type == "country" else located[place][0]
        assert located.get(city, [country]) == [country], (place, city)


def test_a_landmark_is_in_the_country_of_its_city() -> None:
    located = objects("country")
    capitals = {city: place for place, [city] in objects("capital").items() if ENTITIES[place].type == "country"}
    for landmark, [city] in objects("city").items():
        of_city = located.get(city) or [capitals[city]] if city in located or city in capitals else None
        assert of_city is None or located[landmark] == of_city, landmark


def test_neighbours_share_a_landmass() -> None:
    continents = objects("continent")
    joined = [{"Europe", "Asia"}, {"Asia", "Africa"}, {"North America", "South America"}, {"Asia", "Oceania"}]
    joined.append({"Europe", "Africa"})  # Ceuta and Melilla
    for country, neighbours in objects("borders").items():
        for other in neighbours:
            pair = set(continents.get(country, [])) | set(continents.get(other, []))
            assert len(pair) < 2 or pair in joined, (country, other)


def test_nobody_invents_before_being_born() -> None:
    born = {person: int(year) for person, [year] in objects("birth_year").items()}
    made = [
        ("discoverer", "discovery_year"),
        ("inventor", "invention_year"),
        ("language_creator", "release_year"),
        ("author", "publication_year"),
        ("painter", "painting_year"),
        ("composer", "premiere_year"),
    ]
    for who, when in made:
        years = objects(when)
        for thing, people in objects(who).items():
            for person in people:
                if person in born and thing in years:
                    assert 8 < int(years[thing][0]) - born[person] < 95, (thing, person)


@pytest.mark.parametrize("relation", sorted(RELATIONS))
def test_every_relation_can_be_told_and_asked(relation: str) -> None:
    forms = sentences.templates()[relation]
    assert set(forms) <= {
        "any", "one", "many", "next", "next_one", "next_many", "inverse", "ask", "ask_inverse", "clue", "members"
    }  # fmt: skip
    assert forms["ask"]
    for number in ("one", "many"):
        assert forms.get("any", []) + forms.get(number, [])
        assert forms.get("next", []) + forms.get(f"next_{number}", [])
    assert "ask_inverse" not in forms or "inverse" in forms
    assert set(sentences.templates()) == set(RELATIONS)


def test_templates_are_of_known_slots_and_end_in_punctuation() -> None:
    slots = {"s", "s.a", "s.s", "s.n", "o", "o.a", "o.s", "it", "its"}
    for relation, forms in sentences.templates().items():
        for kind, templates in forms.items():
            assert len(set(templates)) == len(templates), (relation, kind)
            for template in templates:
                assert set(re.findall(r"\{([^}]*)\}", template)) <= slots, template
                assert template.endswith("?" if kind.startswith("ask") else "."), template


def test_every_subject_has_an_opening() -> None:
    kinds = {ENTITIES[fact.subject].type for fact in FACTS}
    assert kinds == set(sentences.frames()["types"])
    assert all(frame["lead"] and frame["topic"] for frame in sentences.frames()["types"].values())


def test_the_corpus_has_the_size_promised() -> None:
    assert 1e6 <= sum(len(text.encode()) + 1 for text in DOCUMENTS) <= 3e6
    assert len(set(DOCUMENTS)) == len(DOCUMENTS)


def test_the_corpus_is_the_same_everywhere_and_another_with_another_seed() -> None:
    digest = hashlib.sha256("\n\n".join(DOCUMENTS).encode()).hexdigest()
    assert digest == SHA256, f"the corpus changed: {digest}"
    assert list(embedded.documents(seed=1)) != DOCUMENTS


def test_every_fact_is_told() -> None:
    """Each fact stands in some document with its subject and its object named."""
    documents_with = defaultdict(set)
    for i, text in enumerate(DOCUMENTS):
        for word in re.findall(r"\w+", text.lower()):
            documents_with[word].add(i)

    @functools.cache
    def naming(key: str) -> set[int]:
        word = phrases.words(key)
        names = {name.lower() for name in (word.label, word.phrase, word.plural) if name}
        return set().union(
            *(set.intersection(*(documents_with[part] for part in re.findall(r"\w+", name))) for name in names)
        )

    assert [fact for fact in FACTS if not naming(fact.subject) & naming(fact.object)] == []


def lines() -> list[str]:
    found = []
    for text in DOCUMENTS:
        for line in text.split("\n"):
            found.append(re.sub(r"^(?:Question|Answer|User|Assistant): ", "", line))
    return found


def test_lines_begin_with_a_capital_or_a_year_and_end_in_punctuation() -> None:
    assert [line for line in lines() if not re.fullmatch(r"(?:[^\Wa-z]|\d).*[.?!]", line)] == []


def test_sentences_begin_with_a_capital() -> None:
    ends = re.compile(r"(?<![A-Z])(?<!Dr)[.?!:] +([^\W\d_])")
    small = [text for text in DOCUMENTS for start in ends.findall(text) if start.islower()]
    assert small == []


def test_no_slot_is_left_open_and_no_space_is_doubled() -> None:
    wrong = re.compile(r"[{}]|  | [.,?!]|\.\.|\t| $|^ |\?\.")
    assert [text for text in DOCUMENTS if wrong.search(text)] == []


def test_a_and_an_follow_the_sound() -> None:
    spoken_with_consonant = ("uni", "uk", "use", "eu", "one", "ut")
    for text in DOCUMENTS:
        for article, noun in re.findall(r"(?<![\w'])([Aa]n?) ([A-Za-z]\w*)", text):
            if len(noun) == 1 or (article == "A" and noun[0].isupper()):
                continue  # a title or a letter
            vowel = noun[0].lower() in "aeiou" and not noun.lower().startswith(spoken_with_consonant)
            assert (article.lower() == "an") == vowel, (article, noun, text)


def test_documents_are_short_and_mixed() -> None:
    longest = max(len(text) for text in DOCUMENTS)
    assert longest < 1200
    kinds = Counter(text.split(":")[0] for text in DOCUMENTS if re.match(r"(?:User|Question):", text))
    assert all(kinds[kind] > 500 for kind in ("User", "Question"))


def test_the_tables_are_tidy() -> None:
    for file in (folder() / "facts").iterdir():
        rows = file.read_text(encoding="utf-8").splitlines()[1:]
        assert all(cell == cell.strip() != "" for row in rows for cell in row.split("\t")), file.name


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("owl", "an owl"),
        ("ukulele", "a ukulele"),
        ("icosahedron", "an icosahedron"),
        ("eucalyptus", "a eucalyptus"),
        ("union", "a union"),
        ("hexagon", "a hexagon"),
    ],
)
def test_articles(noun: str, expected: str) -> None:
    assert phrases.with_article(noun) == expected

"""Question sets with gold answers, and graphs to ask: from the data folder (`GROUNDZERO_DATA`), or made up here."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._graphs import data_folder

DEVELOPMENT = 300
"""Questions of each set, drawn with seed 1, that zero-shot weights were set on; its figures leave out their paths."""


@dataclass(frozen=True)
class Asked:
    """A question with its gold answers; `group` is the gold path, which paraphrases share."""

    question: str
    answers: frozenset[str]
    group: str


def spaced(name: str) -> str:
    """A name of these sets as people write it."""
    return name.replace("_", " ")


def path_question(hops: int) -> list[Asked]:
    """PathQuestion, 2 or 3 hops."""
    file = data_folder() / "kgqa-pathquestion" / ("PQ-2H.txt" if hops == 2 else "PQ-3H.txt.gz")
    asked = []
    for line in _lines(file):
        question, answers, path = line.split("\t")[:3]
        gold = answers[answers.index("(") + 1 :].rstrip(")").split("/")
        asked.append(Asked(spaced(question), frozenset(spaced(each) for each in gold if each), path))
    return asked


def world_cup(part: str) -> list[Asked]:
    """WC2014: `WC-P1` (one hop), `WC-P2` (two hops), `WC-C` (conjunctive); answers of the fourth column."""
    asked = []
    for line in _lines(data_folder() / "kgqa-wc2014" / f"{part}.txt.gz"):
        question, _, path, answers = line.split("\t")[:4]
        asked.append(Asked(spaced(question), frozenset(spaced(each) for each in answers.split("/") if each), path))
    return asked


def without_development(asked: list[Asked]) -> list[Asked]:
    """Those whose gold path is of no question that zero-shot weights were set on."""
    drawn = list(asked)
    random.Random(1).shuffle(drawn)
    seen = {each.group for each in drawn[:DEVELOPMENT]}
    return [each for each in asked if each.group not in seen]


def knowledge_base(name: str, folder: Path) -> Path:
    """The TSV of a set's own graph, unpacked."""
    source = {
        "pathquestion-2": "kgqa-pathquestion/2H-kb.txt",
        "pathquestion-3": "kgqa-pathquestion/3H-kb.txt",
        "wc2014": "kgqa-wc2014/WC2014.txt.gz",
    }[name]
    target = folder / f"{name}.tsv"
    target.write_text("\n".join(_lines(data_folder() / source)) + "\n", encoding="utf-8")
    return target


@dataclass(frozen=True)
class Wiki:
    """Wiki27K: training triples, held-out triples, and what everything is called."""

    train: list[tuple[str, str, str]]
    held_out: list[tuple[str, str, str]]
    labels: dict[str, str]
    definitions: dict[str, str]
    relations: dict[str, str]
    templates: dict[str, str]


def wiki27k() -> Wiki:
    """The whole of it, with `\\u00E9` in its texts read as é."""
    folder = data_folder() / "kg-wiki27k"
    triples = {
        name: [_triple(line) for line in _lines(folder / name)] for name in ("train.txt.gz", "valid.txt", "test.txt")
    }
    return Wiki(
        triples["train.txt.gz"],
        triples["valid.txt"] + triples["test.txt"],
        dict(_two(line) for line in _lines(folder / "entity2label.txt.gz")),
        dict(_two(line) for line in _lines(folder / "entity2definition.txt.gz")),
        json.loads((folder / "relation2label.json").read_text(encoding="utf-8")),
        json.loads((folder / "relation2template.json").read_text(encoding="utf-8")),
    )


def load_wiki(graph: Any, wiki: Wiki) -> None:
    """The training triples into a graph, with labels, definitions and templates."""
    with graph.store.writer() as writer:
        keys = list(dict.fromkeys(key for subject, _, object_ in wiki.train for key in (subject, object_)))
        entities = dict(
            zip(keys, writer.add_entities(keys, labels=[wiki.labels.get(key, key) for key in keys]), strict=True)
        )
        for key, entity in entities.items():
            if key in wiki.definitions:
                writer.name_entity(entity, wiki.definitions[key], "description")
        relations = {}
        for key in dict.fromkeys(relation for _, relation, _ in wiki.train):
            relations[key] = writer.add_relation(key, label=wiki.relations[key])
            if key in wiki.templates:
                template = wiki.templates[key].replace("[X]", "{subject}").replace("[Y]", "{object}")
                writer.name_relation(relations[key], template.replace(" .", "."), "template")
        rows = (
            (entities[subject], relations[relation], entities[object_]) for subject, relation, object_ in wiki.train
        )
        writer.add_triples(rows, source=writer.add_source("wiki27k/train.txt"))
    graph.refresh()


def mistyped(name: str, how: str, chance: random.Random) -> str:
    """A name in lower case, without accents, or with one typing error."""
    if how == "case":
        return name.lower()
    place = chance.randrange(1, len(name) - 1)
    kind = chance.choice(("swap", "drop", "double"))
    if kind == "swap":
        return name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    return name[:place] + (name[place] * 2 if kind == "double" else "") + name[place + 1 :]


def ernie_mentions() -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Sentences with their mentions: (first character, one past the last, Wikidata id)."""
    for line in _lines(data_folder() / "text-ernie-wiki-entities" / "wiki_entity_mentions.jsonl.gz"):
        for sentence in json.loads(line)["sentences"]:
            yield sentence["text"], [tuple(each) for each in sentence["mentions"]]


def wikidata_labels() -> dict[str, str]:
    """Wikidata ids to labels: every one that the data folder knows."""
    path = data_folder() / "kg-codex" / "wikidata_labels_union.tsv.gz"
    return dict(_two(line) for line in _lines(path))


def _two(line: str) -> tuple[str, str]:
    key, _, text = line.partition("\t")
    text = text.split("\t")[0]
    return key, json.loads(f'"{text}"') if "\\u" in text and '"' not in text else text


def _triple(line: str) -> tuple[str, str, str]:
    subject, relation, object_ = line.split()
    return subject, relation, object_


def _lines(path: Path) -> list[str]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    return [line for line in text.split("\n") if line.strip()]

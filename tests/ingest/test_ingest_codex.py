"""Real pages and real facts: what is accepted of unseen pages is right as often as is promised."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from groundzero.graph.nouns import Entity
from groundzero.ingest.facts import Facts
from groundzero.ingest.gazetteer import Gazetteer
from groundzero.ingest.pages import Page, train


@pytest.mark.slow
def test_accepted_facts_of_unseen_codex_pages_are_right(data_dir: Path) -> None:
    folder = data_dir / "kg-codex"
    labels, types, ids = {}, {}, {}
    with gzip.open(folder / "codex-s.entities.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            row = json.loads(line)
            ids[row["id"]], labels[number], types[number] = number, row["label"], row["type"]
    relations: dict[str, int] = {}
    triples = set()
    for name in ("train", "valid", "test"):
        with gzip.open(folder / "codex-s" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            for subject, relation, target in map(str.split, file):
                triples.add((ids[subject], relations.setdefault(relation, len(relations)), ids[target]))
    texts = {}
    with gzip.open(data_dir / "text-wikipedia" / "codex_s_extracts.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            texts[ids[row["id"]]] = row["text"]
    held = {each for each in texts if each % 4 == 0}
    pairs = {(subject, target) for subject, _, target in triples if subject in held}
    known = {each for each in triples if each[0] not in held and (each[2], each[0]) not in pairs}
    gazetteer = Gazetteer([Entity(i, str(i), label) for i, label in labels.items()])
    model = train([Page(each, texts[each]) for each in texts if each not in held], Facts(known, types), gazetteer)
    found = [each for subject in held for each in model.find(Page(subject, texts[subject])) if each.accepted]
    named = [each for each in found if each.named]
    gold = sum(subject in held for subject, _, _ in triples)
    for accepted, recall in ((named, 0.18), (found, 0.30)):
        right = sum((each.subject, each.relation, each.object) in triples for each in accepted)
        assert right >= 0.85 * len(accepted)
        assert right >= recall * gold

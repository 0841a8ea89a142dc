"""Facts extracted from Wikipedia extracts about CoDEx-S entities, against CoDEx-S's own triples; entities held out.

Five folds. The entities of a fold are new: none of their triples is known, nor one that joins the same two ends the
other way round; their names and types are. Precision counts a fact as right only if CoDEx-S has it, so that a true fact
that it lacks counts as wrong. Recall is of all triples that CoDEx-S has about the held-out entities, whether or not
the extract says anything of them; "of named objects" of those whose object the extract names by a label, an
adjective, a plural or part of a name. Implied facts are those that no sentence names: they are quarantined unless
`--suggested` accepts them. Patterns read any prose, without being told what a page is about.

The dump is the 206 pages of `formats-mediawiki/enwiki-shortened.xml.bz2`, into an empty graph; the wikitexts are the
70 of wtf_wikipedia's tests.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.table import Row, row

if TYPE_CHECKING:
    from groundzero.ingest.gazetteer import Gazetteer

Triple = tuple[int, int, int]
FOLDS = 5
REQUIRED = 0.85


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much to measure."""
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five folds to measure; 0 for none")
    parser.add_argument("--relations", action="store_true", help="a row for every relation")
    parser.add_argument("--wrong", type=int, default=0, help="print so many accepted facts that CoDEx-S lacks")


def measure(options: argparse.Namespace) -> list[Row]:
    """Extract from each fold's pages with a model trained on the others, and count; then the dump."""
    data = Path(os.environ.get("GROUNDZERO_DATA", Path(__file__).parents[2] / "shared" / "data"))
    rows = _codex_rows(data, options) if options.folds else []
    return rows + _dump_rows(data) + _wikitext_rows(data)


@dataclass
class _World:
    """CoDEx-S by numbers."""

    labels: dict[int, str] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)
    relations: list[str] = field(default_factory=list)
    triples: set[Triple] = field(default_factory=set)
    texts: dict[int, str] = field(default_factory=dict)


def _codex_rows(data: Path, options: argparse.Namespace) -> list[Row]:
    from groundzero.graph.nouns import Entity
    from groundzero.ingest.gazetteer import Gazetteer

    world = read_codex(data)
    gazetteer = Gazetteer([Entity(i, str(i), label) for i, label in world.labels.items()])
    order = sorted(world.texts)
    random.Random(0).shuffle(order)
    counts: Counter[str] = Counter()
    of_relation: dict[int, Counter[str]] = defaultdict(Counter)
    wrong: list[str] = []
    for fold in range(options.folds):
        held = set(order[fold::FOLDS])
        _measure_fold(world, gazetteer, order, held, counts, of_relation, wrong)
        print(f"fold {fold + 1} of {options.folds}: {dict(counts)}", file=sys.stderr, flush=True)
    for line in random.Random(1).sample(wrong, min(options.wrong, len(wrong))):
        print(line)
    rows = _share_rows(counts)
    if options.relations:
        for relation, each in sorted(of_relation.items(), key=lambda item: -item[1]["gold"]):
            told = f"{each['gold']} triples; named {each['named right']} right, {each['named wrong']} wrong"
            told += f"; implied {each['implied right']} right, {each['implied wrong']} wrong"
            share = (each["named right"] + each["implied right"]) / max(each["gold"], 1)
            rows.append(row(f"recall: {world.relations[relation]}", "share", share, None, "-", note=told))
    return rows


def _measure_fold(
    world: _World,
    gazetteer: Gazetteer,
    order: list[int],
    held: set[int],
    counts: Counter[str],
    of_relation: dict[int, Counter[str]],
    wrong: list[str],
) -> None:
    from groundzero.ingest.facts import Facts
    from groundzero.ingest.pages import Page, train
    from groundzero.ingest.patterns import learn_patterns

    pairs = {(s, o) for s, _, o in world.triples if s in held}
    known = {(s, r, o) for s, r, o in world.triples if s not in held and (o, s) not in pairs}
    facts = Facts(known, world.types)
    gold = Facts(world.triples, world.types).by_subject
    start = time.perf_counter()
    model = train([Page(i, world.texts[i]) for i in order if i not in held], facts, gazetteer, precision=REQUIRED)
    patterns = learn_patterns([world.texts[i] for i in order if i not in held], facts, gazetteer, precision=REQUIRED)
    counts["training"] += round(time.perf_counter() - start)
    counts["patterns"] += len(patterns.kept)
    start = time.perf_counter()
    for subject in sorted(held):
        text = world.texts[subject]
        named = _named(text, gazetteer)
        for relation, target in gold[subject]:
            counts["gold"] += 1
            counts["gold named"] += target in named
            of_relation[relation]["gold"] += 1
        for found in model.find(Page(subject, text)):
            if found.accepted:
                right = (found.relation, found.object) in gold[subject]
                name = f"{'named' if found.named else 'implied'} {'right' if right else 'wrong'}"
                counts[name] += 1
                of_relation[found.relation][name] += 1
                if not right:
                    ends = (world.labels[subject], world.relations[found.relation], world.labels[found.object])
                    wrong.append(
                        f"{' | '.join(ends)} | {found.probability:.2f} | {text[found.start : found.end][:200]}"
                    )
        for match in patterns.find(text):
            triple = (match.subject, match.relation, match.object)
            if triple not in known:
                counts["pattern right" if triple in world.triples else "pattern wrong"] += 1
    counts["finding"] += round(time.perf_counter() - start)


def _named(text: str, gazetteer: Gazetteer) -> set[int]:
    from groundzero.ingest.words import sentences

    mentions = (mention for sentence in sentences(text) for mention in gazetteer.find(sentence))
    return {entity for mention in mentions for entity, kind in mention.meanings if kind != "word"}


def _share_rows(counts: Counter[str]) -> list[Row]:
    right, wrong = counts["named right"], counts["named wrong"]
    all_right = right + counts["implied right"]
    everything = all_right + wrong + counts["implied wrong"]
    matched = counts["pattern right"] + counts["pattern wrong"]
    gold, of_gold = counts["gold"], f"of {counts['gold']:,} triples"
    need = "required"
    return [
        row("accepted: precision", "share", right / max(right + wrong, 1), REQUIRED, need,
            note=f"{right + wrong:,} facts"),
        row("accepted: recall", "share", right / gold, None, "-", note=of_gold),
        row("accepted: recall of named objects", "share", right / counts["gold named"], None, "-",
            note=f"of {counts['gold named']:,} triples"),
        row("with implied: precision", "share", all_right / max(everything, 1), REQUIRED, need,
            note=f"{everything:,} facts"),
        row("with implied: recall", "share", all_right / gold, None, "-", note=of_gold),
        row("patterns alone: precision", "share", counts["pattern right"] / max(matched, 1), REQUIRED, need,
            note=f"{matched:,} new facts by {counts['patterns']:,} patterns"),
        row("training, all folds", "s", counts["training"], None, "-", note=" "),
        row("reading, all folds", "s", counts["finding"], None, "-", note=" "),
    ]  # fmt: skip


def _dump_rows(data: Path) -> list[Row]:
    """The dump, end to end."""
    from groundzero.graph.graph import Graph
    from groundzero.ingest.config import IngestConfig
    from groundzero.ingest.learn import learn
    from groundzero.ingest.sources import open_source
    from groundzero.ingest.state import LearnState

    dump = data / "formats-mediawiki" / "enwiki-shortened.xml.bz2"
    with tempfile.TemporaryDirectory() as folder, Graph.open(Path(folder) / "wiki.db", create=True) as graph:
        report = learn(graph, [open_source(str(dump))], IngestConfig(), LearnState(Path(folder) / "state"))
        counts = report.counts
        by_way = ", ".join(f"{count:,} {way}" for way, count in counts.by_way.items())
    return [
        row("dump: articles", "", counts.documents, None, "-", note=f"in {report.seconds:.0f} s"),
        row("dump: facts accepted", "", counts.accepted, None, "-", note=by_way),
        row("dump: facts quarantined", "", counts.quarantined, None, "-", note=" "),
        row("dump: entities", "", counts.entities, None, "-", note=" "),
    ]


def _wikitext_rows(data: Path) -> list[Row]:
    """Every wikitext of the cache: those that raise, and what the rest hold."""
    from groundzero.ingest.wikitext import read_wikitext

    read, failed, fields = 0, 0, 0
    start = time.perf_counter()
    with tarfile.open(data / "formats-mediawiki" / "wtf_wikipedia-cache.tar.gz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            try:
                document = read_wikitext(file.read().decode(), key=member.name, title=Path(member.name).stem)
            except Exception as error:  # what is counted here is just that
                print(f"{member.name}: {type(error).__name__}: {error}")
                failed += 1
            else:
                read, fields = read + 1, fields + len(document.fields)
    note = f"{failed} failed, {fields:,} infobox fields, {time.perf_counter() - start:.0f} s"
    return [row("wikitexts read", "", read, None, "-", note=note)]


def read_codex(data: Path) -> _World:
    """All splits of CoDEx-S together, and the extracts."""
    world, ids, folder = _World(), {}, data / "kg-codex"
    with gzip.open(folder / "codex-s.entities.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            each = json.loads(line)
            ids[each["id"]] = number
            world.labels[number], world.types[number] = each["label"].strip('"'), each["type"]
    lines = (folder / "codex-s.relation_text.tsv").read_text(encoding="utf-8").splitlines()[1:]
    world.relations = [line.split("\t")[2] for line in lines]
    numbers = {line.split("\t")[1]: i for i, line in enumerate(lines)}
    for name in ("train", "valid", "test"):
        with gzip.open(folder / "codex-s" / f"{name}.txt.gz", "rt", encoding="utf-8") as file:
            for subject, relation, target in map(str.split, file):
                world.triples.add((ids[subject], numbers[relation], ids[target]))
    with gzip.open(data / "text-wikipedia" / "codex_s_extracts.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            each = json.loads(line)
            world.texts[ids[each["id"]]] = each["text"]
    return world

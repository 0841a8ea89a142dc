"""Files into a store and out again: nothing twice, nothing lost, whatever happens in between."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundzero.errors import InputError, StorageError
from groundzero.graph.copying import copy_graph
from groundzero.graph.derived import entity_label, relation_label
from groundzero.graph.exporting import export_file, format_of
from groundzero.graph.formats.options import ImportOptions
from groundzero.graph.importing import import_file, import_names
from groundzero.graph.nouns import Literal
from groundzero.graph.opening import open_store
from groundzero.graph.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "graph.db", create=True)
    yield opened
    opened.close()


def write(tmp_path: Path, text: str, name: str = "facts.tsv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def triples(store: Store, at: int | None = None) -> set[tuple[Any, ...]]:
    def end(statement: Any) -> Any:
        return statement.literal or store.entity(statement.object).key

    return {
        (store.entity(each.subject).key, store.relation(each.relation).key, end(each))
        for each in store.statements(at=at)
    }


def test_a_file_is_read_once(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, "Peru\tcapital\tLima\nPeru\tpopulation\t33000000\nbad row\n")
    report = import_file(store, path)
    assert report.added == {"triples": 2, "entities": 2, "relations": 2, "sources": 1, "quarantined": 0}
    assert report.read.skipped == {"fewer than 3 columns": 1}
    transaction = store.transaction()
    assert import_file(store, path).already
    assert import_file(store, path.rename(tmp_path / "moved.tsv")).already
    assert store.transaction() == transaction


def test_every_store_takes_files_and_gives_them_back(new_location: Callable[[], str], tmp_path: Path) -> None:
    first, second = (open_store(new_location(), create=True) for _ in range(2))
    path = write(tmp_path, "Q419\tP36\tQ2868\nQ419\tP31\tQ6256\nQ419\tpopulation\t33000000\n")
    assert import_file(first, path).added["triples"] == 3
    import_names(first, write(tmp_path, "Q419\tPeru\nQ6256\tcountry\n", "labels"), "label")
    assert import_file(first, path).already
    assert first.entity(first.find_entity("Q419") or 0).types == ("country",)
    export_file(first, tmp_path / "first.jsonl")
    import_file(second, tmp_path / "first.jsonl")
    export_file(second, tmp_path / "second.jsonl")
    exports = [
        (tmp_path / name).read_text(encoding="utf-8").splitlines()[1:] for name in ("first.jsonl", "second.jsonl")
    ]
    assert sorted(exports[0]) == sorted(exports[1])
    first.close()
    second.close()


def test_the_source_is_the_file_with_its_digest(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, "Peru\tcapital\tLima\n")
    import_file(store, path)
    (source,) = store.sources()
    assert (source.key, source.title, len(source.digest)) == (path.resolve().as_posix(), "facts.tsv", 64)
    (statement,) = store.statements()
    assert statement.source == source.id


def test_a_changed_file_is_another_source(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "Peru\tcapital\tLima\n"))
    report = import_file(store, write(tmp_path, "Peru\tcapital\tCusco\n"))
    assert report.source.startswith((tmp_path / "facts.tsv").resolve().as_posix() + "@")
    assert len({statement.source for statement in store.statements()}) == 2


def test_an_import_that_fails_half_way_is_completed_by_the_next(store: Store, tmp_path: Path) -> None:
    rows = "".join(f"a{i}\tr\tb{i * 7919 % 5000}\n" for i in range(20_000)).encode()
    path = tmp_path / "facts.tsv.gz"
    whole = gzip.compress(rows)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        import_file(store, path, ImportOptions(batch_rows=1000))
    kept = store.counts().triples
    assert 0 < kept < 20_000
    path.write_bytes(whole)
    assert import_file(store, path).added["triples"] == 20_000 - kept
    assert store.counts().triples == 20_000


def test_an_interrupted_import_keeps_its_batches_and_the_next_completes_it(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f"a{i}\tr\tb{i % 50}\n" for i in range(25_000)))

    def interrupt(done: int, total: int, remark: str) -> None:
        if remark == "20,000 rows":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_file(store, path, ImportOptions(batch_rows=3000), progress=interrupt)
    assert store.counts().triples == 18_000
    assert import_file(store, path).added["triples"] == 7000
    assert [entity.key for entity in store.entities()][:4] == ["a0", "b0", "a1", "b1"]


VICTIM = """
    import sys, pathlib
    from groundzero.graph.formats.options import ImportOptions
    from groundzero.graph.importing import import_file
    from groundzero.graph.opening import open_store
    store = open_store(sys.argv[1], create=True)
    print("ready", flush=True)
    import_file(store, pathlib.Path(sys.argv[2]), ImportOptions(batch_rows=int(sys.argv[3])))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_import_is_consistent_and_completed_by_the_next(tmp_path: Path) -> None:
    text = "".join(f"Thing {i}\tr{i % 7}\tThing {i * 31 % 3000}\n" for i in range(15_000))
    path = write(tmp_path, text + "a\tsize\t5\n")
    graph = tmp_path / "killed.db"
    chance = random.Random(7)
    for _ in range(3):
        arguments = [sys.executable, "-c", textwrap.dedent(VICTIM), str(graph), str(path), "500"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.25))
            victim.send_signal(signal.SIGKILL)
    store = open_store(graph)
    before = store.counts()
    assert before.triples % 500 in (0, 1) or before.triples == 15_001
    import_file(store, path)
    assert store.counts().triples == 15_001
    whole = open_store(tmp_path / "whole.db", create=True)
    import_file(whole, path)
    assert triples(store) == triples(whole)
    assert [entity.label for entity in store.entities()] == [entity.label for entity in whole.entities()]
    store.close()
    whole.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    text = "".join(f"Thing {i}\tr{i % 7}\tThing {i * 31 % 3000}\n" for i in range(15_000))
    path, graph = write(tmp_path, text), tmp_path / "full.db"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
    limit += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    arguments = [sys.executable, "-c", limit + textwrap.dedent(VICTIM), str(graph), str(path), "500"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "StorageError" in done.stderr
    store = open_store(graph)
    kept = store.counts().triples
    assert kept % 500 == 0
    assert 0 < kept < 15_000
    import_file(store, path)
    assert store.counts().triples == 15_000
    store.close()


def test_names_come_from_keys_until_somebody_gives_them(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "Watford_FC\tplays_in\tthe_league\nQ42\tP31\tQ5\n"))
    labels = {entity.key: entity.label for entity in store.entities()}
    assert labels == {"Watford_FC": "Watford FC", "the_league": "the league", "Q42": "Q42", "Q5": "Q5"}
    report = import_names(
        store, write(tmp_path, "Watford_FC\tWatford F.C.\nQ42\tDouglas\nQ5\thuman\nQ9\tnobody\n"), "label"
    )
    assert report.added == {"names": 3}
    assert report.read.notes == {"label names for what is not in the graph": 1}
    watford, douglas = (store.entity(store.find_entity(key) or 0) for key in ("Watford_FC", "Q42"))
    assert (watford.label, watford.aliases) == ("Watford F.C.", ())
    assert (douglas.label, douglas.types) == ("Douglas", ("human",))


def test_types_given_as_keys_are_called_by_their_labels(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "Q42\tP106\tQ36180\n"))
    import_names(store, write(tmp_path, '{"Q5": {"label": "human"}}', "labels.json"), "label", everyone=True)
    import_names(store, write(tmp_path, '{"Q42": ["Q5", "Q99", "person"]}', "types.json"), "type")
    assert store.entity(store.find_entity("Q42") or 0).types == ("human", "Q99", "person")


def test_names_for_everyone_make_entities(store: Store, tmp_path: Path) -> None:
    import_names(store, write(tmp_path, "Q9\tsomebody\n"), "label", everyone=True)
    assert [entity.label for entity in store.entities()] == ["somebody"]


@pytest.mark.parametrize(
    ("key", "entity", "relation"),
    [
        ("place_of_birth", "place of birth", "place of birth"),
        ("birthPlace", "birthPlace", "birth place"),
        ("http://dbpedia.org/resource/Douglas_Adams", "Douglas Adams", "Douglas Adams"),
        ("http://dbpedia.org/ontology/birthPlace", "birthPlace", "birth place"),
        ("http://www.wikidata.org/entity/Q42", "", ""),
        ("/location/country/capital", "/location/country/capital", "capital"),
        ("/m/027rn", "", ""),
        ("Q42", "", ""),
        ("P31", "", ""),
        ("_:b0", "", ""),
        ("00003356", "", ""),
        ("Lima", "Lima", "Lima"),
        ("AC/DC", "AC/DC", "DC"),
        ("R2-D2 unit", "R2-D2 unit", "R2-D2 unit"),
    ],
)
def test_labels_read_off_keys(key: str, entity: str, relation: str) -> None:
    assert (entity_label(key), relation_label(key)) == (entity, relation)


def test_relations_described_as_things_get_their_names(store: Store, tmp_path: Path) -> None:
    text = '<urn:s> <urn:p9> <urn:o> .\n<urn:p9> <http://www.w3.org/2000/01/rdf-schema#label> "capital"@en .\n'
    import_file(store, write(tmp_path, text, "f.nt"))
    (relation,) = store.relations()
    assert relation.label == "capital"


def fill(store: Store, facts: list[dict[str, Any]]) -> None:
    with store.writer() as writer:
        for fact in facts:
            subject, relation = writer.add_entity(fact["subject"]), writer.add_relation(fact["relation"])
            object_ = fact["object"]
            value = object_ if isinstance(object_, Literal) else writer.add_entity(object_)
            source = (
                None if fact["source"] is None else writer.add_source(fact["source"], title="A title", licence="CC0")
            )
            writer.add_statement(
                subject, relation, value, source=source, start=fact["span"], end=None if fact["span"] is None else 9,
                confidence=fact["confidence"], valid_from=fact["valid_from"], status=fact["status"],
            )  # fmt: skip
            writer.name_entity(subject, fact["name"], fact["kind"], language=fact["language"])
            writer.name_relation(relation, fact["name"], "label")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8).filter(
    str.strip
)
literals = st.builds(Literal, texts, st.sampled_from(["string", "integer", "date"]))
rows = st.lists(
    st.fixed_dictionaries(
        {
            "subject": texts, "relation": texts, "object": texts | literals, "source": st.none() | texts,
            "span": st.none() | st.integers(0, 5), "confidence": st.floats(0, 1),
            "valid_from": st.sampled_from(["", "2001"]), "language": st.sampled_from(["", "en", "es"]),
            "status": st.sampled_from(["accepted", "quarantined"]), "name": texts,
            "kind": st.sampled_from(["label", "alias", "description", "type"]),
        }
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows)
def test_json_lines_lose_nothing(tmp_path: Path, facts: list[dict[str, Any]]) -> None:
    folder = tmp_path / str(time.monotonic_ns())
    folder.mkdir()
    first, second = (open_store(folder / name, create=True) for name in ("a.db", "b.db"))
    fill(first, facts)
    export_file(first, folder / "a.jsonl")
    report = import_file(second, folder / "a.jsonl")
    export_file(second, folder / "b.jsonl")
    exports = [(folder / name).read_text(encoding="utf-8").split("\n")[1:] for name in ("a.jsonl", "b.jsonl")]
    assert sorted(exports[0]) == sorted(exports[1])
    assert not report.read.skipped
    first.close()
    second.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.sampled_from(["nq", "nt", "ttl", "tsv", "csv"]))
def test_accepted_statements_survive_every_format(tmp_path: Path, facts: list[dict[str, Any]], suffix: str) -> None:
    folder = tmp_path / str(time.monotonic_ns())
    folder.mkdir()
    first, second = (open_store(folder / name, create=True) for name in ("a.db", "b.db"))
    fill(first, [fact | {"status": "accepted"} for fact in facts])
    export_file(first, folder / f"a.{suffix}")
    import_file(second, folder / f"a.{suffix}", ImportOptions(derive_labels=False))
    assert without_returns(triples(second)) == without_returns(triples(first))
    if suffix in ("nq", "tsv", "csv"):
        kept = {source.key for source in first.sources()}
        found = {second.source(each.source).key for each in second.statements() if each.source is not None}
        assert without_returns({(key,) for key in kept}) - without_returns({(key,) for key in found}) == set()
    first.close()
    second.close()


def without_returns(rows: set[tuple[Any, ...]]) -> set[str]:
    """A carriage return at the end of a line of CSV is part of the line's end."""
    return {repr(row).replace("\\r", "") for row in rows}


def test_exports_show_the_graph_as_it_was(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "Peru\tcapital\tLima\n"))
    then = store.transaction()
    (old,) = store.statements()
    with store.writer() as writer:
        writer.retire(old.id)
        writer.add_statement(old.subject, old.relation, writer.add_entity("Cusco"))
    for at, capital in ((then, "Lima"), (None, "Cusco")):
        export_file(store, tmp_path / "out.tsv", at=at, plain=True)
        assert (tmp_path / "out.tsv").read_text(encoding="utf-8") == f"Peru\tcapital\t{capital}\n"
        copy_graph(store, tmp_path / f"{capital}.db", at=at)
        copy = open_store(tmp_path / f"{capital}.db", read_only=True)
        assert {row[2] for row in triples(copy)} == {capital}
        copy.close()
    with pytest.raises(InputError, match="No transaction 99"):
        export_file(store, tmp_path / "out.tsv", at=99)
    with pytest.raises(InputError, match="There is a file"):
        copy_graph(store, tmp_path / "Lima.db")


def test_what_a_format_has_no_place_for_is_said(store: Store, tmp_path: Path) -> None:
    common = {"subject": "a", "relation": "r", "valid_from": "", "name": "A", "kind": "label", "language": ""}
    passage = {"object": Literal("5", "integer"), "source": "s", "span": 1, "confidence": 0.5, "status": "accepted"}
    suspect = {"object": "b", "source": None, "span": None, "confidence": 1.0, "status": "quarantined"}
    fill(store, [common | passage, common | suspect])
    plain = export_file(store, tmp_path / "a.tsv", plain=True)
    assert (plain.statements, sum(plain.left_out.skipped.values())) == (0, 2)
    quads = export_file(store, tmp_path / "a.nq")
    assert (quads.statements, len(quads.left_out.notes), dict(quads.left_out.skipped)) == (
        1, 1, {"quarantined, which RDF cannot say": 1},
    )  # fmt: skip


def test_an_export_appears_whole_or_not_at_all(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_file(store, write(tmp_path, "Peru\tcapital\tLima\n"))
    out = write(tmp_path, "what was there", "out.jsonl")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        export_file(store, out)
    assert out.read_text(encoding="utf-8") == "what was there"
    assert not list(tmp_path.glob(".*part"))


def test_packed_exports_are_the_same_each_time(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "Peru\tcapital\tLima\n"))
    for name in ("a.nt.gz", "a.csv.bz2"):
        export_file(store, tmp_path / name)
        once = (tmp_path / name).read_bytes()
        export_file(store, tmp_path / name)
        assert (tmp_path / name).read_bytes() == once
    with pytest.raises(InputError, match="does not say which format"):
        format_of(Path("facts.xyz"))


def test_cycles_and_loops_are_only_facts(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path, "a\tpart of\tb\nb\tpart of\ta\na\tpart of\ta\n"))
    assert store.counts().triples == 3


def test_kinds_that_are_kinds_of_each_other_end(store: Store, tmp_path: Path) -> None:
    """Types take their labels from one another, and relations from the things that they are."""
    text = "Q1\tP31\tQ2\nQ2\tP31\tQ3\nQ3\tP31\tQ1\nQ1\tP31\tQ1\nP31\tP31\tP31\n"
    import_file(store, write(tmp_path, text))
    import_names(store, write(tmp_path, "Q1\tone\nQ2\ttwo\nQ3\tthree\nP31\tinstance of\n", "labels.tsv"), "label")
    import_file(store, write(tmp_path, "Q4\tP31\tQ1\n", "more.tsv"))
    found = {entity.label: entity.types for entity in store.entities()}
    assert set(found["one"]) == {"two", "one"}
    assert (found["two"], found["three"], found["Q4"]) == (("three",), ("one",), ("one",))
    relation = store.find_relation("P31")
    assert relation is not None
    assert store.relation(relation).label == "instance of"


def test_mixed_encodings_and_huge_literals_reach_the_graph_and_come_back(
    new_location: Callable[[], str], tmp_path: Path
) -> None:
    huge = "ö, or so " * 400_000
    lines = ["\ufeffPerú\tcapital\tLima\n".encode(), "Chile\tcapital\tÑuñoa\n".encode("cp1252"),
             "日本\tcapital\t東京\n".encode(), b"nul\0\tcapital\tx\n"]  # fmt: skip
    (tmp_path / "mixed.tsv").write_bytes(b"".join(lines))
    (tmp_path / "wide.tsv").write_bytes("Perú\tcapital\tCusco\n".encode("utf-16"))
    row = {"subject": "Peru", "relation": "anthem", "object": {"value": huge, "language": "sv"}}
    (tmp_path / "long.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    store, back = open_store(new_location(), create=True), open_store(new_location(), create=True)
    report = import_file(store, tmp_path / "mixed.tsv")
    assert report.read.notes == {"lines that are not UTF-8, read as Windows-1252": 1}
    assert report.read.skipped == {"a NUL character": 1}
    import_file(store, tmp_path / "wide.tsv")
    import_file(store, tmp_path / "long.jsonl")
    found = triples(store)
    assert {(s, r, o) for s, r, o in found if r == "capital"} == {
        ("Perú", "capital", "Lima"), ("Perú", "capital", "Cusco"), ("Chile", "capital", "Ñuñoa"),
        ("日本", "capital", "東京"),
    }  # fmt: skip
    assert [(s, o) for s, r, o in found if r == "anthem"] == [("Peru", Literal(huge, language="sv"))]
    export_file(store, tmp_path / "all.jsonl.gz")
    import_file(back, tmp_path / "all.jsonl.gz")
    assert triples(back) == found
    store.close()
    back.close()


def test_texts_that_no_store_keeps_cost_their_row(store: Store, tmp_path: Path) -> None:
    huge = "x" * (17 * 2**20)
    lines = ['{"subject": "a", "relation": "r", "object": {"value": "' + huge + '"}}',
             '{"subject": "a", "relation": "r", "object": {"value": "nul \\u0000"}}',
             '{"subject": "a", "relation": "r", "object": "b"}']  # fmt: skip
    report = import_file(store, write(tmp_path, "\n".join(lines), "f.jsonl"))
    assert triples(store) == {("a", "r", "b")}
    assert [(one.line, one.reason.split()[0:4]) for one in report.read.examples] == [
        (1, ["a", "text", "of", "more"]), (2, ["a", "NUL,", "or", "half"]),
    ]  # fmt: skip


def test_progress_ends_at_the_end(store: Store, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = write(tmp_path, "".join(f"a{i}\tr\tb\n" for i in range(25_000)))
    import_file(store, path, progress=lambda done, total, _: seen.append((done, total)))
    assert len(seen) == 3
    assert seen[-1] == (path.stat().st_size,) * 2

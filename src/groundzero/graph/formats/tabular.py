"""Tables: TSV, CSV and their kin, with or without a header; one statement a row.

Without a header the columns are subject, relation, object, as in nearly every published knowledge graph. A header may
name them in any order and add the columns of `COLUMNS`. Tables that `write_table` wrote read back without loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import IO

from groundzero.errors import InputError
from groundzero.graph.formats.delimited import join_record, quoted_records
from groundzero.graph.formats.literals import from_cell
from groundzero.graph.formats.report import ReadReport
from groundzero.graph.formats.rows import THIS_FILE, Fact, Row, Triple
from groundzero.graph.nouns import Literal

COLUMNS = (
    "subject", "relation", "object", "datatype", "language", "source", "start", "end", "confidence", "valid_from",
    "valid_to", "status",
)  # fmt: skip
ENTITY = "entity"
"""In the column `datatype`: the object is no literal."""

_SYNONYMS = {
    "subject": "subject", "head": "subject", "h": "subject", "s": "subject", "subj": "subject", "from": "subject",
    "relation": "relation", "predicate": "relation", "property": "relation", "rel": "relation", "r": "relation",
    "p": "relation", "edge": "relation",
    "object": "object", "tail": "object", "t": "object", "o": "object", "obj": "object", "value": "object",
    "to": "object", "target": "object",
    "datatype": "datatype", "language": "language", "lang": "language", "source": "source",
    "start": "start", "end": "end", "confidence": "confidence", "score": "confidence", "valid_from": "valid_from",
    "valid_to": "valid_to", "status": "status",
}  # fmt: skip
_TSV_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def read_table(
    lines: Iterable[str],
    report: ReadReport,
    *,
    delimiter: str = "\t",
    quoted: bool = False,
    columns: Sequence[str] = (),
    literals: bool = True,
) -> Iterator[Row]:
    """Statements of a table.

    Args:
        quoted: cells may stand in double quotes, as in CSV (RFC 4180).
        columns: what the columns are, where there is no header; empty to look at the first row.
        literals: take numbers, dates and quoted cells in the object column for literals.
    """
    records = quoted_records(lines, report, delimiter) if quoted else (line.split(delimiter) for line in lines)
    first = next(records, None)
    if first is None:
        return
    header = tuple(columns) or _header(first)
    if not columns and header:
        clean = _foreign if header != COLUMNS else str if quoted else _unescape
        yield from _wide_rows(records, report, header, clean, literals=literals)
        return
    if header and header[:3] != COLUMNS[:3]:
        yield from _wide_rows(_chain(first, records), report, header, _foreign, literals=literals)
        return
    yield from _plain_rows(_chain(first, records), report, literals)


def bare_iri(cell: str) -> str:
    """`<http://...>` without its brackets."""
    return cell[1:-1] if cell[:1] == "<" and cell[-1:] == ">" and ":" in cell and " " not in cell else cell


def write_table(
    facts: Iterable[Fact], stream: IO[str], *, delimiter: str = "\t", plain: bool = False, report: ReadReport
) -> int:
    """Write statements as a table and return how many.

    Args:
        plain: three columns without a header, as benchmarks of others want them, and only statements between
            entities whose names fit into a cell.
    """
    quoted = delimiter != "\t"
    if not plain:
        stream.write(delimiter.join(COLUMNS) + "\n")
    count = 0
    for fact in facts:
        if plain and (why := _not_plain(fact, quoted)):
            report.skip(why)
            continue
        cells = [fact.subject, fact.relation, str(fact.object)] if plain else _cells(fact)
        if quoted:
            stream.write(join_record(cells, delimiter) + "\n")
        else:
            stream.write("\t".join(cells if plain else (cell.translate(_TSV_ESCAPES) for cell in cells)) + "\n")
        count += 1
    return count


def _plain_rows(records: Iterable[Sequence[str]], report: ReadReport, literals: bool) -> Iterator[Row]:
    make = partial(tuple.__new__, Triple)  # a third faster than calling the class
    for cells in records:
        if len(cells) < 3:
            if any(cell.strip() for cell in cells):
                report.skip("fewer than 3 columns", "\t".join(cells))
            continue
        subject, relation, object_ = cells[0].strip(), cells[1].strip(), cells[2].strip()
        if not (subject and relation and object_):
            report.skip("an empty subject, relation or object", "\t".join(cells))
            continue
        if subject[0] == "<" or object_[0] == "<":  # IRIs as SPARQL's results have them
            subject, relation, object_ = bare_iri(subject), bare_iri(relation), bare_iri(object_)
        if len(cells) > 3 and any(cells[3:]):
            report.note("columns beyond the third, left out because no header names them")
        if "\0" in subject or "\0" in relation or "\0" in object_:
            report.skip("a NUL character", "\t".join(cells).replace("\0", "␀"))
            continue
        literal = from_cell(object_, subject) if literals and object_[0] in '"+-0123456789' else None
        yield make((subject, relation, object_)) if literal is None else Fact(subject, relation, literal)


def _wide_rows(
    records: Iterable[Sequence[str]],
    report: ReadReport,
    header: tuple[str, ...],
    clean: Callable[[str], str],
    *,
    literals: bool,
) -> Iterator[Row]:
    missing = [name for name in ("subject", "relation", "object") if name not in header]
    if missing:
        raise InputError(
            f"The columns {', '.join(header)} lack {' and '.join(missing)}.",
            remedy="Name them with --columns, for example --columns subject,object,relation.",
        )
    for cells in records:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(header):
            report.skip(f"fewer than {len(header)} columns", "\t".join(cells))
            continue
        row = dict(zip(header, map(clean, cells), strict=False))
        if "\0" in row["subject"] or "\0" in row["relation"]:
            report.skip("a NUL character", "\t".join(cells).replace("\0", "␀"))
            continue
        fact = _fact(row, report, literals)
        if fact is not None:
            yield fact


def _fact(row: dict[str, str], report: ReadReport, literals: bool) -> Row | None:
    subject, relation, text = row["subject"], row["relation"], row["object"]
    datatype, language = row.get("datatype", ""), row.get("language", "")
    if not (subject and relation) or not (text or datatype):
        report.skip("an empty subject, relation or object", "\t".join(row.values()))
        return None
    object_: str | Literal = text
    if datatype and datatype != ENTITY:
        object_ = Literal(text, datatype, language)
    elif not datatype and literals:
        object_ = from_cell(text, subject) or text
    try:
        return Fact(
            subject,
            relation,
            object_,
            source=_source(row),
            start=_whole(row.get("start")),
            end=_whole(row.get("end")),
            confidence=_probability(row.get("confidence")),
            valid_from=row.get("valid_from", ""),
            valid_to=row.get("valid_to", ""),
            status="quarantined" if row.get("status") == "quarantined" else "accepted",
        )
    except ValueError as error:
        report.skip(str(error), "\t".join(row.values()))
        return None


def _cells(fact: Fact) -> list[str]:
    literal = fact.object if isinstance(fact.object, Literal) else None
    return [
        fact.subject,
        fact.relation,
        literal.value if literal else str(fact.object),
        literal.datatype if literal else ENTITY,
        literal.language if literal else "",
        fact.source or "",
        "" if fact.start is None else str(fact.start),
        "" if fact.end is None else str(fact.end),
        repr(fact.confidence),
        fact.valid_from,
        fact.valid_to,
        fact.status,
    ]


def _not_plain(fact: Fact, quoted: bool) -> str:
    """Why a statement is no plain row; empty where it is."""
    if isinstance(fact.object, Literal):
        return "literals, for which three columns have no place"
    if fact.status != "accepted":
        return "quarantined"
    if not quoted and any(mark in part for mark in "\t\n\r" for part in (fact.subject, fact.relation, fact.object)):
        return "names with tabs or line ends"
    return ""


def _header(cells: Sequence[str]) -> tuple[str, ...]:
    """The columns that a first row names; empty where it is no header. Unknown columns keep their own name."""
    named = [_SYNONYMS.get(cell.strip().strip('"?').lower(), "") for cell in cells]
    if "source" in named and "subject" not in named:  # a list of edges: source, target, relation
        named[named.index("source")] = "subject"
    if not {"subject", "relation", "object"} <= set(named):
        return ()
    return tuple(name or f"({cell.strip()})" for name, cell in zip(named, cells, strict=True))


def _source(row: dict[str, str]) -> str | None:
    if "source" not in row:
        return THIS_FILE
    return row["source"] or None


def _whole(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError("start or end that is no whole number")
    return int(text)


def _probability(text: str | None) -> float:
    if not text:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        raise ValueError("confidence that is no number") from None
    if not 0 <= value <= 1:
        raise ValueError("confidence outside 0 to 1")
    return value


def _foreign(cell: str) -> str:
    return bare_iri(cell.strip())


def _unescape(cell: str) -> str:
    if "\\" not in cell:
        return cell
    parts = cell.split("\\\\")
    return "\\".join(part.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r") for part in parts)


def _chain(first: Sequence[str], rest: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    yield first
    yield from rest

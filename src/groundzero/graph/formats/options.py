"""How a file of facts is to be read, where the file itself does not say."""

from __future__ import annotations

from typing import Literal as OneOf

from pydantic import Field, field_validator

from groundzero.graph.formats.tabular import COLUMNS
from groundzero.settings import Settings

Format = OneOf[
    "auto", "tsv", "csv", "jsonl", "ntriples", "nquads", "turtle", "trig", "rdfxml", "wikidata"
]  # fmt: skip
RDF = ("ntriples", "nquads", "turtle", "trig", "rdfxml")


class ImportOptions(Settings):
    """Options of one import."""

    format: Format = "auto"
    """What the file holds; auto looks at its name and its first bytes."""
    source: str = ""
    """Key of the source its statements are cited from; empty for the path of the file."""
    encoding: str = "auto"
    """Codec of the text; auto is UTF-8, with UTF-16 told by its mark and stray Windows-1252 lines survived."""
    delimiter: str = ""
    """Of a table; empty to tell by name and first line."""
    columns: tuple[str, ...] = ()
    """Of a table without a header; empty for subject, relation, object."""
    literals: bool = True
    """Take numbers, dates and quoted cells of a table for literals."""
    languages: tuple[str, ...] = ("en",)
    """Languages of names kept from Wikidata, the best first."""
    all_languages: bool = False
    """Keep names in every language."""
    base: str = "file:///"
    """What relative IRIs of RDF are relative to."""
    derive_labels: bool = True
    """Name what nobody named by its key, where the key reads like a name: `place_of_birth` as place of birth."""
    batch_rows: int = Field(default=100_000, ge=1)
    """Rows of one transaction: what a killed import loses at most."""

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in columns if name not in (*COLUMNS, "-")]
        if unknown:
            raise ValueError(
                f"no column is called {unknown[0]!r}; there are {', '.join(COLUMNS)}, and - to leave one out"
            )
        return columns

"""The embedded default: a few thousand true facts written for this project, and prose that says them.

    entities.tsv, facts/*.tsv, relations.toml     what is true: triples over typed, named entities
    prose/*.toml, prose/forms.tsv                 how it is said: templates, frames and word forms, apart from the facts
    tables.py                                     reads the facts
    phrases.py, sentences.py                      one fact or several -> a sentence
    documents.py                                  sentences -> short texts and dialogues

The facts leave out what changes from year to year (populations, records, people in office) and what is in dispute.
"""

from __future__ import annotations

from groundzero.data.embedded.documents import documents
from groundzero.data.embedded.tables import Entity, Fact, Relation, entities, facts, relations

__all__ = ["Entity", "Fact", "Relation", "documents", "entities", "facts", "relations"]

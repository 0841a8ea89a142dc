# ruff: noqa: S608 - the version is ours
"""The tables of a graph in PostgreSQL: as in SQLite, but for what its indexes can and cannot hold.

Keys and names may be longer than a B-tree entry (2,700 bytes), so they are found by hash; the one writer sees to it
that keys are unique. Words of names are an array with an inverted index.
"""

from __future__ import annotations

VERSION = 1

_KEYED = "id bigint PRIMARY KEY, key text NOT NULL"
_NAME = (
    "id bigint PRIMARY KEY, owner bigint NOT NULL, kind smallint NOT NULL, text text NOT NULL, language text NOT NULL,"
    " added bigint NOT NULL, retired bigint"
)
SCHEMA = (
    "CREATE TABLE version (version integer NOT NULL)",
    f"INSERT INTO version VALUES ({VERSION})",
    "CREATE TABLE transaction_log (id bigint PRIMARY KEY, committed text NOT NULL, first_statement bigint NOT NULL,"
    " first_name bigint NOT NULL, first_entity bigint NOT NULL)",
    f"CREATE TABLE entity ({_KEYED}, added bigint NOT NULL)",
    "CREATE INDEX entity_key ON entity USING hash (key)",
    f"CREATE TABLE relation ({_KEYED}, added bigint NOT NULL)",
    f"CREATE TABLE source ({_KEYED}, title text NOT NULL, revision text NOT NULL, licence text NOT NULL,"
    " digest text NOT NULL, added bigint NOT NULL)",
    "CREATE INDEX source_key ON source USING hash (key)",
    f"CREATE TABLE entity_name ({_NAME}, words text[])",
    "CREATE INDEX entity_name_owner ON entity_name (owner)",
    "CREATE INDEX entity_name_text ON entity_name USING hash (text) WHERE kind < 2",
    "CREATE INDEX entity_name_retired ON entity_name (retired) WHERE retired IS NOT NULL",
    "CREATE INDEX entity_name_words ON entity_name USING gin (words)",
    f"CREATE TABLE relation_name ({_NAME})",
    "CREATE INDEX relation_name_owner ON relation_name (owner)",
    "CREATE TABLE statement (id bigint PRIMARY KEY, subject bigint NOT NULL, relation bigint NOT NULL,"
    " object bigint NOT NULL, value text, datatype text, language text, source bigint, span_start bigint,"
    " span_end bigint, confidence double precision NOT NULL, valid_from text NOT NULL, valid_to text NOT NULL,"
    " status smallint NOT NULL, added bigint NOT NULL, retired bigint)",
    "CREATE INDEX statement_subject ON statement (subject, relation, object)",
    "CREATE INDEX statement_object ON statement (object, relation) WHERE object > 0",
    "CREATE INDEX statement_source ON statement (source) WHERE source IS NOT NULL",
    "CREATE INDEX statement_retired ON statement (retired) WHERE retired IS NOT NULL",
)

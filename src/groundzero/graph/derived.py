"""Names that nobody gave but the key already says: `place_of_birth`, `http://dbpedia.org/resource/Douglas_Adams`."""

from __future__ import annotations

import re
from urllib.parse import unquote

_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//)?\S*\Z")
# Q42, P31, L1-F2, 00123, n02084071, /m/027rn, 3f2a...-uuid: names for machines.
_ID = re.compile(r"([A-Za-z]{0,3}[-_]?\d+([-.][A-Za-z]?\d+)*|/[a-z]/[0-9a-z_]+|[0-9a-fA-F]{8}[0-9a-fA-F-]{8,})\Z")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def entity_label(key: str) -> str:
    """What an entity with this key may be called; empty where the key is a name for machines."""
    return _readable(key)


def relation_label(key: str) -> str:
    """As `entity_label`, with `birthPlace` taken apart and only the end of a path kept."""
    if _ID.match(key):
        return ""
    text = _readable(key)
    if " " not in text:
        text = _CAMEL.sub(" ", text).lower() if _CAMEL.search(text) else text
    if "/" in key and not text:
        text = _spaced(key.rsplit("/", 1)[1])
    elif "/" in text and " " not in key:
        text = text.rsplit("/", 1)[1]
    return "" if _ID.match(text) else text.strip()


def _readable(key: str) -> str:
    if key.startswith("_:") or _ID.match(key):
        return ""
    if _IRI.match(key) and (":" in key and ("/" in key or "#" in key or key.startswith("urn:"))):
        local = re.split(r"[/#:]", key.rstrip("/#"))[-1]
        try:
            local = unquote(local, errors="strict")
        except UnicodeDecodeError:
            return ""
        return "" if _ID.match(local) else _spaced(local)
    return _spaced(key)


def _spaced(text: str) -> str:
    text = text.strip()
    return text if any(char.isspace() for char in text) else text.replace("_", " ").strip()

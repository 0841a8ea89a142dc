"""Words for an entity, and a template with its slots filled.

A slot is `{name}` (the phrase, with its article where it has one), `{name.a}` (with a or an), `{name.s}` (plural) or
`{name.n}` (bare label). Several entities in one slot are joined: "Chile, Peru and Bolivia".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from groundzero.data.embedded.tables import entities, folder, read_table

SLOT = re.compile(r"\{(\w+)(?:\.(\w))?\}")

# Written with a vowel, spoken with a consonant: "a ukulele", "a eucalyptus".
CONSONANT_SOUND = re.compile(r"(?:uni|uk|use|eu|one\b|ut)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Words:
    """The forms of one entity or literal."""

    label: str
    phrase: str
    plural: str
    pronoun: str = "it"

    def form(self, kind: str | None) -> str:
        """The form that a slot asks for."""
        match kind:
            case None:
                return self.phrase
            case "a":
                return with_article(self.label)
            case "s":
                assert self.plural, f"{self.label!r} needs a plural in prose/forms.tsv"
                return self.plural
            case "n":
                return self.label
            case _:
                raise AssertionError(f"no such form: {kind!r}")


def words(key: str) -> Words:
    """The forms of an entity; a key that is none is a literal and reads as it is written."""
    return _entity_words().get(key) or Words(key, key, "")


@cache
def _entity_words() -> dict[str, Words]:
    rows = read_table(folder() / "prose" / "forms.tsv", ("entity", "phrase", "plural", "pronoun"))
    forms = {key: rest for key, *rest in rows}
    known = {}
    for key, entity in entities().items():
        phrase, plural, pronoun = forms.get(key, ("", "", ""))
        pronoun = pronoun or ("he" if entity.type in ("person", "Greek god") else "it")
        known[key] = Words(entity.label, phrase or entity.label, plural, pronoun)
    return known


def with_article(noun: str) -> str:
    """The noun after a or an, by sound."""
    vowel = noun[0].lower() in "aeiou" and not CONSONANT_SOUND.match(noun)
    return f"{'an' if vowel else 'a'} {noun}"


def join(parts: Sequence[str]) -> str:
    """A list as it is spoken."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def fill(template: str, slots: Mapping[str, Sequence[Words] | str]) -> str:
    """The template with every slot filled; it keeps its small first letter."""

    def value(match: re.Match[str]) -> str:
        name, kind = match.groups()
        found = slots[name]
        return found if isinstance(found, str) else join([word.form(kind) for word in found])

    return SLOT.sub(value, template)


def sentence(text: str) -> str:
    """The text with a capital at its start, and one full stop where an abbreviation brings its own."""
    return text[0].upper() + (text[1:-1] if text.endswith("..") else text[1:])

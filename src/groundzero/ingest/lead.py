"""What the first sentence of an encyclopaedia article says: what kind of thing its subject is, and when it lived."""

from __future__ import annotations

import re
from dataclasses import dataclass

from groundzero.graph.nouns import Literal
from groundzero.ingest.dates import DATE, read_date
from groundzero.ingest.documents import Document, Link
from groundzero.ingest.words import Sentence, sentences, words

_COPULA = re.compile(r"\b(?:is|was|are|were)\s+(?:(?:a|an|the|one of the|any of the|both an?)\s+)?")
_KIND_END = re.compile(
    r"\s*(?:[,;:.(]|\b(?:of|in|from|that|who|whose|which|with|for|at|on|by|near|about|set|known|located|based|situated|"
    r"born|found|where|when|used|written|directed|released|published|between|to|as|made|produced|created|founded|"
    r"consisting|native|whom|during|since|under|within|along|than|being|but|over|beneath|above|below|such|across|"
    r"throughout|after|before|according|around|into|against|without|until|through|"
    r"(?!build|paint|king|ring|string|wing|spring|offspring|meeting|wedding)[a-z]{3,}ing)\b)"
)
_DOER = re.compile(r"(?:er|or|ist|ian|man|ess|eer|ant|ent|ic|et|ur|ef|er-\w+)$")
_JOINT = re.compile(r"(?:^|\s)\s*(?:and|or)\s+(?:an?\s+|the\s+)?")
_LIST = re.compile(r"\s*(?:,\s*(?:and|or)?|\band\b|\bor\b|/)\s*")
_DESCRIBES = re.compile(
    r"(?:ed|ly|ible|able|ful|ous)$|"
    r"^(?:native|given|complex|difficult|unique|own|or|and|often|also|not|largest|smallest|highest|fastest|longest|oldest)$"
)
"""Words that end a noun phrase without being its noun: `record label owned`, `instrument usually`."""
_EMPTY = {"form", "type", "kind", "sort", "term", "name", "one", "category", "designation", "idea", "example", "case",
          "part", "member", "use", "word", "method", "way", "collection", "number", "set", "some", "any", "most",
          "first", "last", "second", "only", "best", "person", "area", "thing", "level", "group", "entity", "range",
          "variety", "title", "branches", "branch", "concept"}  # fmt: skip
"""Nouns that say nothing without what follows them."""
_LONGEST_KIND = 4
_LIFE = re.compile(rf"({DATE})[^–—()-]{{0,60}}?\s*[–—-]\s*(?:c\.\s*)?({DATE})", re.IGNORECASE)
_BORN = re.compile(rf"\bborn\s+(?:[^()]{{0,60}}?\b(?:on\s+)?)?({DATE})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A noun phrase that says what the subject is. Places are characters of the document's text."""

    text: str
    start: int
    end: int
    target: str
    """The page it links to, where it does."""


@dataclass(frozen=True, slots=True)
class Life:
    """A date of birth or death."""

    date: Literal
    start: int
    end: int
    born: bool


@dataclass(frozen=True, slots=True)
class Lead:
    """The first sentence, read."""

    kinds: tuple[Kind, ...]
    dates: tuple[Life, ...]
    description: str

    @property
    def is_person(self) -> bool:
        """Only people are said to be born."""
        return any(each.born for each in self.dates)


def read_lead(document: Document) -> Lead:
    """Read the first sentence that speaks of the title; empty where there is none."""
    for sentence in sentences(document.text[:4000])[:6]:
        text = document.text[sentence.start : sentence.end]
        if not _names_title(sentence, text, document):
            continue
        dates = _dates(text, sentence.start)
        plain = _without_brackets(text)
        match = _COPULA.search(plain)
        if match is None:
            return Lead((), dates, "")
        kinds = _kinds(document, plain, match.end(), sentence.start)
        if not any(each.born for each in dates):
            # Of things the words before the last are mostly adjectives: `a small, nocturnal mammal`.
            unlinked = [each for each in kinds if not each.target]
            kinds = tuple(each for each in kinds if each.target or each is unlinked[-1])
        return Lead(kinds, dates, " ".join(text[match.end() :].split()).rstrip(" .")[:200])
    return Lead((), (), "")


def _names_title(sentence: Sentence, text: str, document: Document) -> bool:
    """Whether a word of the title comes before the verb, or soon: `Kenneth Edmonds, known as Babyface, is a singer`."""
    if len(sentence.words) < 4 or _COPULA.search(text) is None:
        return False
    verb = next((i for i, word in enumerate(sentence.words) if word in ("is", "was", "are", "were")), 0)
    return bool(set(words(document.title.partition(" (")[0])) & set(sentence.words[: max(verb, 12)]))


def _without_brackets(text: str) -> str:
    """The text with what stands in brackets blanked, so that places stay."""
    out, depth = [], 0
    for char in text:
        depth += char in "(["
        out.append(" " if depth else char)
        depth -= char in ")]" and depth > 0
    return "".join(out)


def _kinds(document: Document, plain: str, begin: int, offset: int) -> tuple[Kind, ...]:
    """Of `was an American actor, singer and poet` the three trades: the last words of each noun phrase."""
    kinds: list[Kind] = []
    at = begin
    while at < len(plain) and len(kinds) < 8:
        end_match = _KIND_END.search(plain, at)
        end = end_match.start() if end_match else len(plain)
        joints = [(at + each.start(), at + each.end()) for each in _JOINT.finditer(plain[at:end])]
        starts, ends = [at, *(after for _, after in joints)], [*(before for before, _ in joints), end]
        for i, (start, stop) in enumerate(zip(starts, ends, strict=True)):
            alone = len(plain[start:stop].split()) == 1
            more = i + 1 < len(starts) and len(plain[starts[i + 1] : ends[i + 1]].split()) > 1
            if alone and more and not _DOER.search(plain[start:stop].strip()):
                continue  # `film and television actor`: the first word shares the other's noun
            kind = _kind(document, plain, start, stop, offset)
            if kind is not None:
                kinds.append(kind)
        follow = _LIST.match(plain, end)
        if follow is None or not re.match(r"[a-z]", plain[follow.end() : follow.end() + 1] or "."):
            break
        if re.match(
            r"(?:who|which|that|whose|where|and is|and was|best|but|born|also|then|now|with)\b", plain[follow.end() :]
        ):
            break
        at = follow.end()
        article = re.match(r"(?:a|an|the|and|or|and an?)\s+", plain[at:])
        at += article.end() if article else 0
    return tuple(kinds)


def _kind(document: Document, plain: str, start: int, end: int, offset: int) -> Kind | None:
    """A noun phrase without the adjectives before its last linked or small words."""
    while start < end and not plain[start].isalnum():
        start += 1
    while end > start and not plain[end - 1].isalnum():
        end -= 1
    if end - start < 3 or end - start > 80:
        return None
    link = _last_link(document.links, start + offset, end + offset)
    if link is not None and link.end >= end + offset - 1:
        return Kind(document.text[link.start : link.end], link.start, link.end, link.target)
    places = [(each.start() + start, each.end() + start) for each in re.finditer(r"[\w'-]+", plain[start:end])]
    while places and _DESCRIBES.search(plain[slice(*places[-1])]):
        places.pop()
    run: list[tuple[int, int]] = []
    while places and plain[places[-1][0]].islower() and len(run) < _LONGEST_KIND:
        run.insert(0, places.pop())
    if not run or plain[slice(*run[-1])] in _EMPTY:
        return None
    first, last = run[0][0], run[-1][1]
    return Kind(" ".join(plain[first:last].split()), first + offset, last + offset, "")


def _last_link(links: tuple[Link, ...], start: int, end: int) -> Link | None:
    inside = [link for link in links if start <= link.start and link.end <= end]
    return inside[-1] if inside else None


def _dates(text: str, offset: int) -> tuple[Life, ...]:
    """Dates of birth and death from the first brackets."""
    found = []
    if match := _LIFE.search(text):
        places = [(match.start(1), match.end(1), True), (match.start(2), match.end(2), False)]
    elif match := _BORN.search(text):
        places = [(match.start(1), match.end(1), True)]
    else:
        return ()
    for start, end, born in places:
        date = read_date(text[start:end])
        if date is not None:
            found.append(Life(date, start + offset, end + offset, born))
    return tuple(found)

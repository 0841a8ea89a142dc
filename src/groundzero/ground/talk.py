"""Small talk: what nobody needs a graph for. The model answers it, and may name nothing that a graph would speak of.

A text is small talk where it

    greets, thanks, wishes, takes leave, or asks who one speaks with     every telling word is one of courtesy
    tells something of who writes it, and asks nothing                    "I like cats.", with no name and no relation

Everything else is a question to the graph, and what the graph cannot answer is refused: better a cold answer to a joke
than a made-up one to a question.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from groundzero.graph.graph import Graph
from groundzero.ground.answer import Answer, GraphState, Seconds
from groundzero.ground.claims import is_refusal
from groundzero.ground.reason import Reasoner
from groundzero.ground.refusal import EVIDENCE
from groundzero.ground.speech import Speaker
from groundzero.ground.words import SILENT, Word, read_words

_COURTEOUS_TEXT = """
hello hi hey hiya howdy greetings welcome good morning afternoon evening night day thanks thank cheers grateful
appreciate please sorry excuse bye goodbye farewell see later soon today tomorrow weekend yes no ok okay sure well
alright right fine great nice cool lovely awesome wonderful perfect excellent brilliant amazing very really much lot
help helps helped helpful glad pleased happy meet meeting talk chat fun again back go going feel feeling
"""
_COURTEOUS = frozenset(_COURTEOUS_TEXT.split())
_THANKS = frozenset({"thanks", "thank", "cheers", "grateful", "appreciate"})
_LEAVE = frozenset({"bye", "goodbye", "farewell", "later", "night"})
_YOU = frozenset({"you", "your", "yourself"})
_I = frozenset({"i", "me", "my", "mine", "we", "us", "our"})
_WANTING = frozenset({"want", "wonder", "know", "tell", "look", "find", "search", "ask", "need", "question", "curiou"})
"""Stems that turn what one tells of oneself into a question."""


def is_talk(text: str, reasoner: Reasoner) -> bool:
    """Whether a text asks the graph nothing."""
    words = read_words(text)
    telling = [word for word in words if word.text not in SILENT and word.stem not in SILENT]
    said = {word.text for word in words}
    if all(word.text in _COURTEOUS for word in telling):
        return bool(telling) or bool(said & _YOU)
    asks = "?" in text or any(word.stem in _WANTING for word in words)
    return bool(said & _I) and not asks and not _is_about_the_graph(text, words, reasoner)


def talk(text: str, speaker: Speaker, graph: Graph, reasoner: Reasoner) -> Answer:
    """What the model says to small talk; by rule, where it says nothing, refuses, or names something of the graph."""
    started = time.perf_counter()
    said = speaker.say(text, ())
    reply = said.text.strip()
    fitting = said.ended and reply and not is_refusal(said) and not _names_something(reply, reasoner)
    return Answer(
        question=text,
        text=reply if fitting else _by_rule(text),
        status="unknown",
        reason="talk",
        probability=0.0,
        citations=(),
        path=(),
        query=None,
        candidates=(),
        graph=GraphState(graph.location, graph.transaction),
        tokens_generated=said.tokens if fitting else 0,
        seconds=Seconds(generate=time.perf_counter() - started),
    )


def _is_about_the_graph(text: str, words: Sequence[Word], reasoner: Reasoner) -> bool:
    reasoner.refresh()
    if any(link.exact for link in reasoner.linker.link(text, words)):
        return True
    asked = [place for place, word in enumerate(words) if word.text not in SILENT]
    return bool((reasoner.scorer.match(words)[asked] >= EVIDENCE).any())


def _names_something(text: str, reasoner: Reasoner) -> bool:
    """Whether a reply holds a name of the graph, written as one."""
    words = read_words(text)
    return any(
        link.exact
        and text[words[link.first].start].isupper()
        and not all(words[place].text in _COURTEOUS | SILENT for place in link.words)
        for link in reasoner.linker.link(text, words)
    )


def _by_rule(text: str) -> str:
    said = {word.text for word in read_words(text)}
    if said & _THANKS:
        return "You are welcome."
    if said & _LEAVE:
        return "Goodbye!"
    return "Hello! Ask me about anything in the graph."

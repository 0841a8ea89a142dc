"""The report card: one page that loads nothing, on which whatever comes from outside is text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from groundzero.evaluate.grounding.card import card
from groundzero.evaluate.grounding.measures import Measure, Section, median, share

HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "&lt;b&gt;", "'; --", "\x1b[31mred",
    "\u202egnp.exe", "{{7*7}}", "https://evil.example/x.js",
)  # fmt: skip


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def found(text: str = "Lima", **changes: Any) -> dict[str, Any]:
    """An exam's JSON with `text` wherever text comes from outside."""
    sample = {"row": text, "question": text, "answer": text, "right": [text], "is_right": False, "withheld": True}
    answers = Section(
        "answers",
        "Answers",
        (
            share("One hop, unseen facts · fallback on", 97, 100, aim=0.97),
            share("One hop, unseen facts · model alone", 1, 100, aim=0.9),
            share(f"{text} · model alone", 0, 0),
            median("From edit to answer", [12.0, 40.0, 14.5], "ms", aim=100),
            share("Plain", 1, 3, note=text),
            Measure("Never", float("nan"), 0, "ms"),
        ),
        1.0,
        {"samples": [sample, {**sample, "is_right": True}]},
    )
    return {
        "run": f"runs/{text}", "graph": text, "transaction": 3, "seed": 1, "questions": 2000, "parameters": 3_000_000,
        "seconds": 200.0, "interrupted": False, "aims": {"reached": 2, "of": 3}, "version": "1",
        "sections": {"answers": answers.as_json()}, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_comes_from_outside_is_text(text: str) -> None:
    tame, page = Page(card(found())), Page(card(found(text)))
    assert page.tags[0] == ("html", {"lang": "en"})
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in tame.tags], "no element more or less"
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href", "srcset"}
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    assert shown in page.text
    assert "\x1b" not in "".join(page.text)
    assert "\u202e" not in "".join(page.text)


def test_it_loads_and_runs_nothing() -> None:
    source = card(found())
    page = Page(source)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert "url(" not in source
    assert "@import" not in source
    assert "http" not in source.replace('http-equiv="Content-Security-Policy"', "")
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_figures_have_their_interval_and_aim() -> None:
    source = card(found(), made="2030-01-01")
    assert "97.0<small>%</small>" in source, "the headline"
    assert "width:97.00%" in source
    assert "left:97.00%" in source, "the aim"
    assert "2/3" in source
    assert "14.5 ms" in source
    assert "aim at most 100 ms" in source
    assert "33.3 %" in source
    assert "nothing to count" in source
    assert "2030-01-01" in source
    assert "--questions 2000" in source


def test_it_can_be_made_without_a_single_section() -> None:
    page = card(found(sections={}, aims={"reached": 0, "of": 0}, interrupted=True))
    assert "Interrupted" in page
    assert 'class="ring"' not in page

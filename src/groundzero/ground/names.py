"""Names that nobody has: for lessons in which only the evidence can know the answer.

A model that is taught with true names learns them by heart, and then answers from memory where it should read. With
names made up for one lesson there is nothing to remember; what is left to learn is how to use evidence (delexicalised
training). The shapes are those of real names: one to three words, titles, years, numbers.
"""

from __future__ import annotations

import random

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr kh kl kr ph pr qu sh sl st str th tr vl".split()  # noqa: SIM905 - a table to be read
_VOWELS = "a e i o u a e i o ai au ea ee ia io ou".split()  # noqa: SIM905 - a table to be read
_CODAS = ["", "", "", *["n", "r", "l", "s", "t", "m", "k", "d", "nd", "rn", "st", "lt", "x", "ck", "th", "sk"]]
_TITLES = ("Saint", "New", "Mount", "Lake", "University of", "Republic of", "North", "Old", "Grand", "Order of", "The")
_KINDS = ("Prize", "Party", "Records", "Island", "City", "Institute", "Company", "River", "Union", "League", "County")


def made_up(rng: random.Random) -> str:
    """A name of one to three words."""
    words = [_word(rng) for _ in range(rng.choice((1, 1, 2, 2, 2, 3)))]
    shape = rng.random()
    if shape < 0.12:
        words = [rng.choice(_TITLES), words[0]]
    elif shape < 0.24:
        words = [words[0], rng.choice(_KINDS)]
    elif shape < 0.30:
        words.append(str(rng.randint(1, 2100)))
    return " ".join(words)


def made_up_value(text: str, rng: random.Random) -> str:
    """A literal of the same form: each digit another digit (never a leading zero), anything else as it is."""
    out = []
    for place, character in enumerate(text):
        if character.isdigit():
            first = place == 0 or not text[place - 1].isdigit()
            out.append(str(rng.randint(1 if first and character != "0" else 0, 9)))
        else:
            out.append(character)
    return "".join(out)


def _word(rng: random.Random) -> str:
    syllables = rng.choice((1, 2, 2, 2, 3))
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)) + rng.choice(_CODAS)
    return word.capitalize()

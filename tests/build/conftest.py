"""Something small to build from: a text, a table of facts, and settings that make every stage a second or less."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundzero.build.order import Order

COUNTRIES = (
    "Peru", "Chile", "Bolivia", "Ecuador", "Colombia", "Brazil", "Paraguay", "Uruguay", "Argentina", "Guyana",
    "Suriname", "Venezuela", "Panama", "Honduras", "Cuba", "Mexico",
)  # fmt: skip
SMALL = (
    "model.d_model=32", "model.n_layer=1", "model.n_head=2", "tokenizer.vocab_size=512",
    "train.steps=4", "train.batch_size=2", "train.precision=float32", "train.sample_tokens=0",
    "train.evaluate_tokens=256", "train.checkpoint_every=2", "train.keep_checkpoints=9",
    "tuning.steps=4", "tuning.batch_size=4", "tuning.precision=float32", "tuning.sample_tokens=0",
    "tuning.checkpoint_every=2", "tuning.keep_checkpoints=9", "ground.validation_lessons=8",
    "embed.epochs=2", "embed.dim=8", "exam.questions=2", 'exam.sections=["answers"]',
)  # fmt: skip


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of text of the user's own."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "one.txt").write_text("The river runs to the sea. The cat sat on the mat.\n" * 40, encoding="utf-8")
    (folder / "two.md").write_text("# Notes\n\nWhat is known is known.\n" * 40, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Facts: a capital with its mayor, a currency, a population and a neighbour for each country."""
    rows = ["subject\trelation\tobject"]
    for place, country in enumerate(COUNTRIES):
        rows += [
            f"{country}\tcapital\t{country} City",
            f"{country} City\tmayor\tAna {chr(65 + place)}ando",
            f"{country}\tcurrency\tCoin{place % 5}",
            f"{country}\tpopulation\t{1000 + 37 * place}",
            f"{country}\tshares border with\t{COUNTRIES[(place + 1) % len(COUNTRIES)]}",
        ]
    path = tmp_path_factory.mktemp("facts") / "world.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def order(text: Path, table: Path) -> Order:
    """Both, small."""
    return Order(text=str(text), graph=str(table), minutes=30.0, overrides=SMALL, device="cpu")

"""`python -m groundzero.reference`: the modules in the order of learning."""

from __future__ import annotations

import groundzero.reference


def main() -> None:
    """Print what there is to learn, and how to begin."""
    print(groundzero.reference.__doc__)
    print("Begin with: python -m groundzero.reference.tokenizer")


if __name__ == "__main__":
    main()

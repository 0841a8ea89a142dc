"""`python -m benchmarks NAME [--json] [options]`: run one benchmark and print its table."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.table import print_rows

_HELPERS = {"table", "__init__", "__main__"}


def main() -> int:
    """Find the module of that name, let it add its options, measure, print."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in _HELPERS)
    first = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, add_help=False)
    first.add_argument("name", nargs="?", choices=[name for name in names if not name.startswith("_")])
    name = first.parse_known_args()[0].name
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=[name for name in names if not name.startswith("_")])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    module = importlib.import_module(f"benchmarks.{name}") if name else None
    if module is not None and hasattr(module, "add_options"):
        module.add_options(parser)
    options = parser.parse_args()
    assert module is not None
    print_rows(options.name, module.measure(options), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

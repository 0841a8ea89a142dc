"""`make mutation`: sow each bug of `bugs.py` into a copy of the package, and see that a test notices.

    python -m tests.mutation                    all of them, as many at a time as there are cores
    python -m tests.mutation YaRN "off by"      those with one of these words in them
    python -m tests.mutation --markdown         the table for docs/results.md

First the tests must pass on a copy without a bug. Ends with "N of N", and 1 where a bug was not noticed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutation.bugs import BUGS
from tests.mutation.sowing import PACKAGE, PASSED, Copies, judge, quiet_workers, sow, used

HERE = "tests/reference"
LADDER = (f"{HERE}/test_choice.py", f"{HERE}/test_ladder.py")
"""Twin against twin: what must notice a bug in PyTorch."""
TWIN = (f"{HERE}/test_judges.py", f"{HERE}/test_properties.py", *LADDER)
KNOWLEDGE, ISLANDS = "tests/model/test_knowledge_parity.py", "tests/model/test_islands.py"
OWN = {
    "reference/knowledge.py": (f"{HERE}/test_judges.py", KNOWLEDGE),
    "model/knowledge.py": (KNOWLEDGE,),
    "model/copying.py": (KNOWLEDGE,),
    "reference/islands.py": (ISLANDS,),
    "model/islands.py": (ISLANDS,),
    "reference/quantize.py": (f"{HERE}/test_reference_quantize.py",),
    "reference/tokenizer.py": (f"{HERE}/test_reference_tokenizer.py",),
    "reference/utils.py": (f"{HERE}/test_reference_utils.py",),
}
"""Files that the ladder does not climb on, and their tests."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all bugs, or those that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only bugs with one of these in their description")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documents")
    options = parser.parse_args(arguments)
    bugs = [bug for bug in BUGS if not options.words or any(word in bug.what for word in options.words)]
    suites = {bug: OWN.get(bug.file, TWIN if bug.file.startswith("reference/") else LADDER) for bug in bugs}
    for bug in bugs:
        sow(bug, (PACKAGE / bug.file).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, quiet_workers(), ThreadPoolExecutor(options.jobs) as pool:
        copies = Copies(Path(folder), options.jobs)
        if elsewhere := used(copies):
            print(f"The tests would import {elsewhere}, and not a copy.", file=sys.stderr)
            return 1
        sound = [pool.submit(judge, None, copies, suite) for suite in dict.fromkeys(suites.values())]
        verdicts = [pool.submit(judge, bug, copies, suites[bug]) for bug in bugs]
        for future in sound:
            if future.result().by != PASSED:
                print(f"Without a bug: {future.result().by}", file=sys.stderr)
                pool.shutdown(cancel_futures=True)
                return 1
        if options.markdown:
            print("| bug | file | first noticed by |\n|---|---|---|")
        width = max((len(bug.what) for bug in bugs), default=0)
        noticed = 0
        for bug, future in zip(bugs, verdicts, strict=True):
            verdict = future.result()
            noticed += verdict.noticed
            by = verdict.by if verdict.noticed else f"NOT NOTICED: {verdict.by}"
            print(
                f"| {bug.what} | {bug.file} | {by} |" if options.markdown else f"{bug.what:{width}}  {by}", flush=True
            )
    print(f"\n{noticed} of {len(bugs)}")
    return 0 if bugs and noticed == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main())

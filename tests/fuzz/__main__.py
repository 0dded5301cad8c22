"""Hand changed inputs to what reads them: python -m tests.fuzz checkpoint --seconds 60 [--seed 0] [--first 0] [--count N]

Prints the number of inputs and the distinct outcomes. Exit code 1 at the first input that is neither answered nor refused, whose
number repeats it: --first NUMBER --count 1, with --keep FOLDER for the files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz.outcome import Surprise
from tests.fuzz.targets import TARGETS, fuzz, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for target in TARGETS if given.target == "all" else [given.target]:
            folder = (given.keep or Path(scratch)).resolve() / target
            try:
                seen = fuzz(target, folder, seed=given.seed, first=given.first, count=given.count, seconds=given.seconds)
            except Surprise as surprise:
                traceback.print_exception(surprise.__cause__)
                print(f"FAILED {surprise}", file=sys.stderr)
                return 1
            print(told(target, seen), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Kill commands and see that nothing is lost: python -m tests.recovery --kills 200 [--seed 0] [--seconds S] [--only train ...]

Prints how often each command ended in which way. Exit code 1 where a stored thing was lost or the end is not that of a command
that was never disturbed; the files are then kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before anything imports NumPy


def say(recovery) -> None:
    for (command, way, became), count in sorted(recovery.seen.items()):
        print(f"{command:<8} {way:<12} {became:<60} {count:>4}", flush=True)


def main() -> int:
    import torch

    from tests.recovery.deaths import cluster
    from tests.recovery.histories import Recovery, many
    from tests.recovery.worlds import WORLDS, package

    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="+", choices=[*WORLDS], default=[*WORLDS])
    parser.add_argument("--no-cluster", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp(prefix="recovery-"))
    copied = package(scratch / "package")
    began = time.monotonic()
    with contextlib.nullcontext("") if given.no_cluster else cluster(copied) as address:
        recovery = Recovery(scratch, copied, address, tuple(given.only))
        try:
            done = many(recovery, given.kills, given.seed, began + given.seconds)
        except AssertionError as error:
            say(recovery)
            print(f"FAILED {error}\nfiles: {scratch}", file=sys.stderr)
            return 1
    say(recovery)
    took_s = time.monotonic() - began
    shutil.rmtree(scratch)
    print(f"{done} kills in {took_s:.0f} s, {took_s / max(done, 1):.1f} s each; every end is that of a command never disturbed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

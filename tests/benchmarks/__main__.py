"""Run every benchmark of this folder, or those named: python -m tests.benchmarks [belief_propagation tables ...]

A benchmark is a file bench_<name>.py with a function main() that prints its figures and returns 0, or 1 if a check failed.
One thread, unless OMP_NUM_THREADS and its like are set.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before the first benchmark imports NumPy


def run(path: Path) -> int:
    """Import one benchmark file and run its main()."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module.main()


def main(names: list[str]) -> int:
    """Run the named benchmarks (all when none is named), print a line of verdicts, return 1 if any failed."""
    available = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    unknown = [name for name in names if name not in available]
    if unknown:
        print(f"benchmarks: no {', '.join(unknown)}; there are {', '.join(available)}.", file=sys.stderr)
        return 2
    verdicts = {}
    for name in names or available:
        print(f"== {name} " + "=" * (100 - len(name)), flush=True)
        start = time.perf_counter()
        failed = run(available[name])
        verdicts[name] = f"{'FAILED' if failed else 'ok'} ({time.perf_counter() - start:.1f} s)"
    print("== " + " · ".join(f"{name}: {verdict}" for name, verdict in verdicts.items()))
    return int(any(verdict.startswith("FAILED") for verdict in verdicts.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

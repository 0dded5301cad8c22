"""Plant faults that a tool chose, and say how many the tests find: python -m tests.mutation [--faults 240] [--seed 0] [--jobs 2]

Outcomes are kept line by line in tests/mutation/outcomes.jsonl, so that a run that was stopped goes on; a fault of a file that
was changed since is tried again. --show prints the score of what is recorded and every fault that was missed, with its reason
from survivors.toml. Exit code 1 where the score is below what is asked, or a survivor has no reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from faults import Fault, drawn, faults_of  # noqa: E402
from trial import MISSED, copy_of, outcome  # noqa: E402

OUTCOMES, SURVIVORS = HERE / "outcomes.jsonl", HERE / "survivors.toml"
ASKED = 0.95
"""Share of faults that must be found."""
LIMIT_S = 600.0


def main() -> int:
    """Plant, or show what is recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--areas", help="processes, methods, theory, llc, checkpoint or verdicts, comma-separated; all by default"
    )
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time, each in a copy of its own")
    parser.add_argument("--again", action="store_true", help="try those again that were missed")
    parser.add_argument("--show", action="store_true", help="only print what is recorded")
    asked = parser.parse_args()
    areas = tomllib.loads((HERE / "areas.toml").read_text(encoding="utf-8"))
    if not asked.show:
        wanted = {name for name in areas if not asked.areas or name.split(".")[0] in asked.areas.split(",")}
        plant({name: area for name, area in areas.items() if name in wanted}, asked.faults, asked.seed, asked.again, asked.jobs)
    return show()


def plant(areas: dict[str, dict[str, list[str]]], n: int, seed: int, again: bool, jobs: int) -> None:
    """Try every fault of the draw that has no outcome yet."""
    known = {area: _all_faults(area, told["sources"]) for area, told in areas.items()}
    print(
        f"{sum(map(len, known.values())):,} faults possible: {', '.join(f'{a} {len(f):,}' for a, f in known.items())}", flush=True
    )
    done = {(line["key"], line["source"]): line["outcome"] for line in recorded()}
    left = []
    for fault in drawn(known, n, seed):
        before = done.get((fault.key, _digest(fault.path)))
        if before is None or (again and before == MISSED):
            left.append(fault)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            (Path(folder) / str(number)).mkdir()
            copies.put(copy_of(ROOT, Path(folder) / str(number)))

        def tried(fault: Fault) -> str:
            copy = copies.get()
            try:
                return outcome(copy, fault, areas[fault.area]["tests"], LIMIT_S)
            finally:
                copies.put(copy)

        trials = {pool.submit(tried, fault): fault for fault in left}
        for number, trial in enumerate(as_completed(trials), 1):
            fault = trials[trial]
            line = {"key": fault.key, "outcome": trial.result(), "source": _digest(fault.path), **fault.to_dict()}
            with OUTCOMES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{number}/{len(left)} {line['outcome']}: {fault.key}", flush=True)


def show() -> int:
    """Print the score and every survivor; return 1 where either is not as asked."""
    last = {line["key"]: line for line in recorded()}
    reasons = tomllib.loads(SURVIVORS.read_text(encoding="utf-8")) if SURVIVORS.exists() else {}
    survivors = [line for line in last.values() if line["outcome"] == MISSED]
    by_area = Counter(line["area"].split(".")[0] for line in last.values())
    missed = Counter(line["area"].split(".")[0] for line in survivors)
    for area, n in sorted(by_area.items()):
        print(f"{area:<12} {n - missed[area]:>4} of {n:>4} found")
    if not last:
        print("nothing recorded yet")
        return 1
    share = 1 - len(survivors) / len(last)
    changed = sum(line["source"] != _digest(line["path"]) for line in last.values())
    if changed:
        print(f"{changed} of them in files that were changed since")
    print(f"{'all':<12} {len(last) - len(survivors):>4} of {len(last):>4} found: {share:.1%}, asked {ASKED:.0%}")
    for line in survivors:
        print(f"missed: {line['key']}: {reasons.get(line['key'], 'NO REASON GIVEN')}")
    return int(share < ASKED or any(line["key"] not in reasons for line in survivors))


def recorded() -> list[dict[str, str]]:
    """Return the outcomes so far, oldest first."""
    return [json.loads(line) for line in OUTCOMES.read_text(encoding="utf-8").splitlines()] if OUTCOMES.exists() else []


def _digest(path: str) -> str:
    file = ROOT / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12] if file.exists() else "gone"


def _all_faults(area: str, patterns: list[str]) -> list[Fault]:
    paths = sorted({str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)})
    return [fault for path in paths for fault in faults_of(area, ROOT, path)]


if __name__ == "__main__":
    raise SystemExit(main())

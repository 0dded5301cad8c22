"""Plant faults that a tool chose, and say how many the tests find: python -m tests.mutation [--faults 240] [--seed 0] [--jobs 2]

Outcomes are kept line by line in tests/mutation/outcomes.jsonl, so that a run that was stopped goes on; a fault of a file that
was changed since counts no longer. --again tries what was missed and has no reason, whatever draw it is of. --show prints the
score of what is recorded of the files as they are, and every fault that was missed, with its reason from survivors.toml. Exit
code 1 where the score is below what is asked, or a survivor has no reason.
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
SAME = "the same:"
"""How the reason of a fault begins that leaves what the program does as it is."""
LIMIT_S = 900.0


def main() -> int:
    """Plant, or show what is recorded."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--areas", help="processes, methods, theory, llc, checkpoint or verdicts, comma-separated; all by default"
    )
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time, each in a copy of its own")
    parser.add_argument("--again", action="store_true", help="draw none: try those that were missed")
    parser.add_argument("--show", action="store_true", help="only print what is recorded")
    asked = parser.parse_args()
    areas = tomllib.loads((HERE / "areas.toml").read_text(encoding="utf-8"))
    if not asked.show:
        wanted = {name for name in areas if not asked.areas or name.split(".")[0] in asked.areas.split(",")}
        chosen = {name: area for name, area in areas.items() if name in wanted}
        known = {area: _all_faults(area, told["sources"]) for area, told in chosen.items()}
        plant(chosen, missed_before(known) if asked.again else not_tried(known, asked.faults, asked.seed), asked.jobs)
    return show()


def not_tried(known: dict[str, list[Fault]], n: int, seed: int) -> list[Fault]:
    """Return the faults of a draw that have no outcome yet."""
    print(
        f"{sum(map(len, known.values())):,} faults possible: {', '.join(f'{a} {len(f):,}' for a, f in known.items())}", flush=True
    )
    done = {(line["key"], line["source"]) for line in recorded()}
    return [fault for fault in drawn(known, n, seed) if (fault.key, _digest(fault.path)) not in done]


def missed_before(known: dict[str, list[Fault]]) -> list[Fault]:
    """Return the faults that were missed, and that nothing says why."""
    keys = {line["key"] for line in recorded() if line["outcome"] == MISSED}
    found = {line["key"] for line in of_now() if line["outcome"] != MISSED}
    wanted = keys - found - reasons().keys()
    return [fault for faults in known.values() for fault in faults if fault.key in wanted]


def plant(areas: dict[str, dict[str, list[str]]], left: list[Fault], jobs: int) -> None:
    """Try every fault, and keep its outcome with the digest of the file that it was planted in."""
    digests = {fault.path: _digest(fault.path) for fault in left}
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
            line = {"key": fault.key, "outcome": trial.result(), "source": digests[fault.path], **fault.to_dict()}
            with OUTCOMES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{number}/{len(left)} {line['outcome']}: {fault.key}", flush=True)


def show() -> int:
    """Print the score and every survivor; return 1 where either is not as asked."""
    now = of_now()
    survivors = [line for line in now if line["outcome"] == MISSED]
    by_area = Counter(line["area"].split(".")[0] for line in now)
    missed = Counter(line["area"].split(".")[0] for line in survivors)
    for area, n in sorted(by_area.items()):
        print(f"{area:<12} {n - missed[area]:>4} of {n:>4} found")
    if not now:
        print("nothing recorded yet")
        return 1
    share = 1 - len(survivors) / len(now)
    if changed := len({line["key"] for line in recorded()} - {line["key"] for line in now}):
        print(f"left out: {changed} of files that were changed since")
    print(f"{'all':<12} {len(now) - len(survivors):>4} of {len(now):>4} found: {share:.1%}, asked {ASKED:.0%}")
    why = reasons()
    same = sum(why.get(line["key"], "").startswith(SAME) for line in survivors)
    rest = (len(now) - len(survivors)) / (len(now) - same)
    print(f"{same} of the {len(survivors)} that were missed change nothing that could be found: {rest:.1%} of the rest")
    for line in survivors:
        print(f"missed: {line['key']}: {why.get(line['key'], 'NO REASON GIVEN')}")
    return int(share < ASKED or any(line["key"] not in why for line in survivors))


def of_now() -> list[dict[str, str]]:
    """Return the last outcome of every fault whose file is as it was."""
    digests = {path: _digest(path) for path in {line["path"] for line in recorded()}}
    return list({line["key"]: line for line in recorded() if line["source"] == digests[line["path"]]}.values())


def reasons() -> dict[str, str]:
    """Return why faults that no test finds need none, by key."""
    return tomllib.loads(SURVIVORS.read_text(encoding="utf-8"))


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

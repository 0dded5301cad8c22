"""Time every page with --quick, in a process of its own, beside the seconds that its recorded full run took.

Recorded seconds are those of the machine and settings that the page names in its provenance; only --quick is measured here.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mechbp.study import page_names

ROOT = Path(__file__).parents[2]


def quick(page: str, out: Path) -> tuple[float, float, int]:
    """Return CPU and wall seconds of one page with --quick, and its exit code; 1 says that a claim failed, not that it broke."""
    code = "from mechbp.cli import main; main()"
    command = [sys.executable, "-c", code, "report", page, "--quick", "--out", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), cwd=ROOT)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1) or not list(out.rglob(f"{page}.json")):
        print(done.stderr[-400:], file=sys.stderr)
        return 0.0, wall_s, 2
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s, done.returncode


def recorded_s(page: str) -> float | None:
    """Wall seconds of the recorded full run; None for a page without one."""
    source = ROOT / "reports" / f"{page}.json"
    return json.loads(source.read_text())["provenance"]["wall_s"] if source.is_file() else None


def main() -> int:
    """Print a row per page and their sum; return 1 if a page did not finish."""
    rows = []
    print(f"{'page':22s} {'--quick, CPU s':>15s} {'--quick, wall s':>16s} {'recorded full run, wall s':>26s}")
    for page in page_names():
        with tempfile.TemporaryDirectory() as out:
            cpu_s, wall_s, code = quick(page, Path(out))
        full = recorded_s(page)
        rows.append((cpu_s, wall_s, full or 0.0, code))
        print(
            f"{page:22s} {cpu_s:15.1f} {wall_s:16.1f} {'-' if full is None else f'{full:.1f}':>26s}"
            + (code > 1) * "  DID NOT FINISH",
            flush=True,
        )
    cpu_s, wall_s, full_s, codes = zip(*rows, strict=True)
    print(f"{'sum':22s} {sum(cpu_s):15.1f} {sum(wall_s):16.1f} {sum(full_s):26.1f}")
    return int(max(codes) > 1)


if __name__ == "__main__":
    raise SystemExit(main())

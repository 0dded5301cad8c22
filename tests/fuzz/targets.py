"""The targets, and how one of them is run: input number i of a seed is always the same."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from mechbp.randomness import rng
from tests.fuzz import checkpoints, commands, pages, recipes
from tests.fuzz.outcome import Surprise

TARGETS = {"checkpoint": checkpoints.one, "recipe": recipes.one, "page": pages.one, "command": commands.one}


def fuzz(target: str, folder: Path, *, seed: int = 0, first: int = 0, count: int | None = None, seconds: float | None = None):
    """Hand `count` inputs to a target, or as many as `seconds` allow; return how often each outcome was seen.

    Raises Surprise, which names the input, at the first that is neither answered nor refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: Counter[str] = Counter()
    ends = None if seconds is None else time.monotonic() + seconds
    number = first
    while (count is None or number < first + count) and (ends is None or time.monotonic() < ends):
        try:
            seen[TARGETS[target](rng(seed, "fuzz", target, number), folder)] += 1
        except Surprise as surprise:
            raise Surprise(f"{target}, seed {seed}, input {number}: {surprise}") from surprise.__cause__
        number += 1
    return seen


def told(target: str, seen: Counter[str], most: int = 12) -> str:
    """How many inputs had which outcome, the frequent ones first."""
    head = f"{target}: {seen.total():,} inputs, {len(seen)} distinct outcomes, {seen['answer']:,} plain answers"
    return "\n".join([head, *(f"  {count:>7,}  {outcome}" for outcome, count in seen.most_common(most))])

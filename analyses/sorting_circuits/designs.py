"""Which runs may be compared: those of one recipe but for the seed, and sweeps in which lists change and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from analyses.shared.sorter import Sorter

WINDOWS, VALUES, LEAST_GAPS = "windows", "number of values", "least gap"
SWEPT = {WINDOWS: "window", VALUES: "vocab_size", LEAST_GAPS: "gap"}
"""Sweep -> the field of the recipe that differs in it."""
HOME = ((51, 10), (32, 6))
"""Numbers of values and lengths of the designs that most runs have."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of one sweep, by rising mean gap."""

    name: str
    sorters: tuple[Sorter, ...]

    def setting(self, sorter: Sorter) -> str:
        """Return in a few words where in the sweep a run stands."""
        value = sorter.process.width if self.name == WINDOWS else getattr(sorter.process, SWEPT[self.name])
        return {WINDOWS: "window {}", VALUES: "{} values", LEAST_GAPS: "gaps from {}"}[self.name].format(value)


def recipe_but_seed(sorter: Sorter) -> tuple[Any, ...]:
    """Return what runs that differ in their seed alone have in common."""
    config = sorter.run.config
    return config.process, config.model, config.objective, replace(config.training, seed=0)


def sweep(sorters: Sequence[Sorter], name: str) -> Runs:
    """Return the largest group of runs that differ in the swept field and the seed alone; none where nothing is swept.

    Runs without windows and without a least gap are an end of either sweep: the window that holds all values, the gap of 1.
    """
    field = SWEPT[name]
    groups: dict[tuple[Any, ...], list[Sorter]] = {}
    for sorter in sorters:
        process, *rest = recipe_but_seed(sorter)
        others = {key: value for key, value in asdict(process).items() if key != field}
        groups.setdefault((*sorted(others.items()), *rest), []).append(sorter)
    swept = [group for group in groups.values() if len({getattr(one.process, field) for one in group}) > 1]
    largest = max(swept, key=len, default=[])
    return Runs(name, tuple(sorted(largest, key=lambda one: one.mean_gap)))


def is_variant(sorter: Sorter) -> bool:
    """Return whether a run tests robustness: other heads, no layer norm, repeats, or uniform lists of another size."""
    process = sorter.process
    if process.width != process.vocab_size or process.gap != 1:
        return False
    return not sorter.ordinary or (process.vocab_size, process.length) not in HOME

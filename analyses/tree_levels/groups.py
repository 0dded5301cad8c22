"""Runs that differ in filter level only: one task, one grammar, one depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree

TASKS = {"masked": "masked leaf", "root": "root"}


@dataclass(frozen=True, eq=False)
class Family:
    """Runs on one grammar and task, in the order of their filter levels."""

    slug: str
    """Names the family in ids of figures and claims, and in streams of randomness."""
    task: str
    runs: tuple[Run, ...]

    @property
    def trees(self) -> list[FilteredTree]:
        """The data of every filter level."""
        process = self.runs[0].process
        return [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]

    @property
    def depth(self) -> int:
        return self.runs[0].process.depth

    @property
    def question(self) -> str:
        return TASKS[self.task]

    @property
    def heading(self) -> str:
        return self.question.capitalize()

    @property
    def labels(self) -> list[str]:
        """One per run: its filter level, a word where it was trained on posteriors, its name where two runs share all that."""
        labels = []
        for run in self.runs:
            taught = ", posteriors" if run.config.objective.targets == "posteriors" else ""
            labels.append(f"k = {run.config.process.filter_level}{taught}")
        return [label if labels.count(label) == 1 else run.name for label, run in zip(labels, self.runs, strict=True)]


def families(runs: Sequence[Run]) -> list[Family]:
    """Group masked and root runs by task and by everything in their process but the filter level."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.config.objective.task in TASKS:
            found.setdefault((run.config.objective.task, replace(run.config.process, filter_level=0)), []).append(run)
    tasks = [task for task, _ in found]
    return [
        Family(
            task if tasks.count(task) == 1 else f"{task}-{tasks[:i].count(task) + 1}",
            task,
            tuple(sorted(members, key=lambda run: run.config.process.filter_level)),
        )
        for i, ((task, _), members) in enumerate(found.items())
    ]

"""Runs that are asked the same of the same data, so that their measurements can be paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mechbp.models.runs import Run

QUESTIONS = {"masked": "masked", "root": "root", "root-all": "root"}
"""Task -> what is asked, whether at a ROOT token or of all leaves at once."""


@dataclass(frozen=True, eq=False)
class Group:
    """Runs on one process that are asked one question."""

    slug: str
    """Names the group in ids of figures, and in streams of randomness: all its runs see the same sequences."""
    question: str
    runs: tuple[Run, ...]

    @property
    def heading(self) -> str:
        return {"masked": "Masked leaf", "root": "Root"}[self.question]


def groups(runs: Sequence[Run]) -> list[Group]:
    """Group the runs that are asked for a masked leaf or the root, in the order in which they come."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.config.objective.task in QUESTIONS:
            found.setdefault((QUESTIONS[run.config.objective.task], run.config.process), []).append(run)
    made: list[Group] = []
    for question, process in found:
        name = f"{question}-k{process.filter_level}"
        taken = sum(group.slug.startswith(name) for group in made)
        made.append(Group(f"{name}-{taken + 1}" if taken else name, question, tuple(found[question, process])))
    return made

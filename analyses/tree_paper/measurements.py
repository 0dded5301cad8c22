"""Everything that the page measures of one run, and the pairs of runs that it compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analyses.shared.tree_probes import message_grid, writing_blocks
from analyses.tree_paper.answers import Answers, answer
from analyses.tree_paper.groups import Group
from analyses.tree_paper.looking import Looking, look
from analyses.tree_paper.messages import DepthTest, tested_messages
from mechbp.errors import TooFewSequences
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.models.runs import Run
from mechbp.study import Study


@dataclass(frozen=True, eq=False)
class Measured:
    """One run; messages and probes only of data that is not filtered, where the construction is at home."""

    run: Run
    answers: Answers
    looking: Looking
    messages: tuple[DepthTest, ...]
    probes: ProbeGrid | None

    @property
    def post_norm(self) -> bool:
        """Whether it is built as the paper's models are."""
        return self.run.config.model.kind == "post-norm"

    @property
    def written(self) -> dict[int, tuple[int, float, float]]:
        """Levels above the leaf -> the block that raises the probes' R² most, and R² before and after; empty without probes."""
        return {} if self.probes is None else writing_blocks(self.run, self.probes)

    def at_depth(self, depth: int) -> DepthTest | None:
        """Return the tests of one depth, if there were enough pairs."""
        return next((test for test in self.messages if test.depth == depth), None)


def measure(study: Study, group: Group, run: Run) -> Measured:
    """Measure one run of a group."""
    unfiltered = run.config.process.filter_level == 0
    messages: Sequence[DepthTest] = tested_messages(study, group, run) if unfiltered else ()
    try:
        probes = message_grid(study, run, study.size(2000, 700)) if unfiltered else None
    except TooFewSequences:
        probes = None
    return Measured(run, answer(study, run), look(study, group, run), tuple(messages), probes)


def twins(measured: Sequence[Measured]) -> tuple[Measured, Measured] | None:
    """Return the run without a ROOT token and the one that has it and is the same in every other part of its recipe."""
    for one in measured:
        for other in measured:
            mine, theirs = one.run.config, other.run.config
            tasks = (mine.objective.task, theirs.objective.task)
            alike = mine.model == theirs.model and mine.process == theirs.process and mine.training == theirs.training
            if tasks == ("root-all", "root") and alike and mine.objective.targets == theirs.objective.targets:
                return one, other
    return None

"""Every test of one kind of message in a run, and the shares, differences and rivals that claims and figures read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from analyses.shared.residual_stream import between_blocks
from mechbp.methods.interchange.interchange import NOTHING, MessageTest
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.methods.statistics.refits import over_refits
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import Message, MessagePairs

ROTATION, MEANS, PROBE, LEACE, PLACEBO = "learned rotation", "conditional means", "ridge probe", "LEACE", ", placebo"
MISMATCHED, RANDOM_INIT = "rotation learnt from mismatched answers", "rotation learnt on random weights"


def stages(run: Run) -> list[str]:
    """Return the hooks between blocks: what the first block reads, then every block's output."""
    return list(between_blocks(run.config.model.n_layers).values())


def writing_stage(run: Run, depth: int) -> int:
    """Return the stage at which the construction has the upward message of `depth`: after as many blocks as it is levels up."""
    return min(run.process.depth - depth, run.config.model.n_layers)


Cell = tuple[int, int]
"""(stage, depth)."""


@dataclass(frozen=True)
class Refit:
    """One learnt subspace and a control at the writing stage, tested on the same held-out pairs."""

    learnt: MessageTest
    mismatched: MessageTest
    """Learnt from the exact answers of other pairs."""


@dataclass(frozen=True, eq=False)
class MessageGrid:
    """Every test of one kind of message."""

    run: Run
    message: Message
    pairs: Mapping[int, MessagePairs]
    """By depth; depths without enough pairs are missing everywhere."""
    present: Interval
    """R² [stage, depth] of ridge probes of each leaf's own ancestor's message, held out."""
    present_control: Interval
    """The same on random weights."""
    written: Mapping[Cell, MessageTest]
    erased: Mapping[Cell, MessageTest]
    refits: Mapping[int, Sequence[Refit]]
    """By depth, at the writing stage; the first learnt subspace is that of `written`."""
    random_init: Mapping[int, MessageTest]
    """By depth, at the writing stage: a rotation learnt on random weights; empty where it was not asked for."""
    chosen: Mapping[int, int]
    """Depth -> the stage at which the message is judged: the construction's for upward messages, else chosen on other pairs."""
    _known: dict[tuple[str, Cell], dict[str, Interval]] = field(default_factory=dict, init=False, repr=False)
    """Intervals found so far: kind and cell -> edit -> interval."""

    @property
    def depths(self) -> list[int]:
        """Depths tested, from the root down."""
        return list(self.pairs)

    def at(self, depth: int) -> MessageTest:
        """Return the test of writing at the stage where the message of `depth` is judged."""
        return self.written[self.chosen[depth], depth]

    def explained(self, study: Study, edit: str) -> Interval:
        """Return the share explained by one edit, [stage, depth]; NaN where it was not made."""
        tests = self.erased if edit.startswith(LEACE) else self.written
        kind = "erased" if edit.startswith(LEACE) else "written"
        return self._table(lambda cell: self._shares(study, kind, cell, tests[cell]).get(edit) if cell in tests else None)

    def side_effect(self, study: Study, edit: str) -> Interval:
        """Return the rise of KL at the bystander, nats, [stage, depth]; NaN where there is no bystander."""

        def rise(cell: Cell) -> Interval | None:
            if self.pairs[cell[1]].bystander is None or cell not in self.written:
                return None
            if ("side effects", cell) not in self._known:
                self._known["side effects", cell] = self.written[cell].all_side_effects(self._rng(study, cell))
            return self._known["side effects", cell].get(edit)

        return self._table(rise)

    def deletion(self, study: Study, depth: int) -> Interval:
        """Return the share explained by the exact answer without the message: what is gained by destroying the base's own."""
        unedited = self.at(depth).target_kl_nats[NOTHING]
        return bootstrap_ratio(unedited - self.pairs[depth].deletion_kl_nats, unedited, self._rng(study, self._cell(depth)))

    def beyond_deletion(self, study: Study, depth: int, edit: str) -> Interval:
        """Return (share - deletion) / (1 - deletion) of writing by `edit`, paired, where the message is judged; over refits."""
        tests = [refit.learnt for refit in self.refits[depth]] if edit == ROTATION and depth in self.refits else [self.at(depth)]
        rival = self.pairs[depth].deletion_kl_nats
        return over_refits([test.beyond(edit, rival, self._rng(study, self._cell(depth))) for test in tests])

    def beyond(self, study: Study, depth: int, edit: str, rival: str) -> Interval:
        """Return how far one way of writing the message is beyond another, paired, where the message is judged."""
        test = self.at(depth)
        return test.beyond(edit, test.target_kl_nats[rival], self._rng(study, self._cell(depth)))

    def above_controls(self, study: Study, depth: int) -> dict[str, Interval]:
        """Return how far the learnt subspace is beyond its placebo and beyond one learnt from mismatched answers, over refits."""
        rng = self._rng(study, self._cell(depth))
        tests = self.refits.get(depth, ())
        placebo = [self.at(depth)] if not tests else [refit.learnt for refit in tests]
        found = {"placebo": over_refits([t.beyond(ROTATION, t.target_kl_nats[ROTATION + PLACEBO], rng) for t in placebo])}
        if tests:
            kl = [refit.mismatched.target_kl_nats[MISMATCHED] for refit in tests]
            found[MISMATCHED] = over_refits([t.learnt.beyond(ROTATION, k, rng) for t, k in zip(tests, kl, strict=True)])
        return found

    def necessary(self, study: Study, depth: int) -> tuple[str, Interval]:
        """Return how far the answer of the erased run is beyond the rival that comes nearest, and that rival's name.

        Rivals: the unedited run, a placebo of the same norm, and the exact answers with another message or without evidence.
        """
        test = self.erased[self.chosen[depth], depth]
        rivals = {
            "unedited": test.target_kl_nats[NOTHING],
            "placebo": test.target_kl_nats[LEACE + PLACEBO],
            **self.pairs[depth].erasure_rivals_kl_nats,
        }
        found = {name: test.beyond(LEACE, kl, self._rng(study, self._cell(depth))) for name, kl in rivals.items()}
        nearest = min(found, key=lambda name: float(found[name].low))
        return nearest, found[nearest]

    def learnt_side_effect(self, study: Study, depth: int) -> Interval:
        """Return the rise of KL at the bystander by the learnt subspace, nats, over refits."""
        rng = self._rng(study, self._cell(depth))
        return over_refits([refit.learnt.side_effect(ROTATION, rng) for refit in self.refits[depth]])

    def control(self, study: Study, depth: int, name: str) -> Interval:
        """Return the share explained by a control where the message is judged; over refits where there are several."""
        if name == RANDOM_INIT:
            return self._shares(study, name, self._cell(depth), self.random_init[depth])[name]
        rng = self._rng(study, self._cell(depth))
        return over_refits([refit.mismatched.explained(name, rng) for refit in self.refits[depth]])

    def _cell(self, depth: int) -> Cell:
        return self.chosen[depth], depth

    def _shares(self, study: Study, kind: str, cell: Cell, test: MessageTest) -> dict[str, Interval]:
        """Shares explained by all edits of one test; figures and claims read them many times."""
        if (kind, cell) not in self._known:
            self._known[kind, cell] = test.all_explained(self._rng(study, cell))
        return self._known[kind, cell]

    def _rng(self, study: Study, cell: Cell) -> np.random.Generator:
        return study.rng(self.run.name, "message interval", self.message, *cell)

    def _table(self, value: Callable[[Cell], Interval | None]) -> Interval:
        columns = []
        for depth in self.depths:
            nan = np.array(np.nan)
            nothing = Interval(nan, nan, nan, len(self.pairs[depth]))
            found = [value((stage, depth)) for stage in range(len(stages(self.run)))]
            columns.append(Interval.stack([nothing if cell is None else cell for cell in found], axis=0))
        return Interval.stack(columns, axis=1)

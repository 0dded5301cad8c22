"""A run along its stored steps: how its heads share the values, how large its weights are, and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from analyses.shared import sorter as shared
from analyses.shared.sorter import Sorter
from mechbp.methods.circuits.modes import Modes
from mechbp.models.llc_records import LLCRecord, read_llc
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.sorting.first_stage import FirstStage, first_stage

LEAST_STEPS = 4
"""Stored steps after the first that a trajectory needs."""
NO_RECORDS = "the learning coefficient has not been measured: mechbp measure RUN, with a table [llc] in its recipe"
SIZES = {
    "W_E": ("W_E",),
    "W_pos": ("W_pos",),
    "W_Q, W_K": ("W_Q", "W_K"),
    "W_V, W_O": ("W_V", "W_O"),
    "W_U": ("W_U",),
}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A stored step."""

    step: int
    modes: Modes
    ov: Float64[np.ndarray, "head value output"]
    qk: Float64[np.ndarray, "head query value"]
    sizes: dict[str, float]
    """Root mean square of the weights of each kind."""

    @property
    def diagonals(self) -> Float64[np.ndarray, "head value"]:
        """OV of every value for itself, of rows with mean 0."""
        centred = self.ov - self.ov.mean(axis=2, keepdims=True)
        return np.diagonal(centred, axis1=1, axis2=2)

    def score(self, name: str) -> float:
        """Return a score of the pair of heads that stands for the layer; NaN for one head, or where it is undefined."""
        return float(getattr(self.modes.best, name)) if self.modes.best is not None else float("nan")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A run at all its stored steps."""

    run: Run
    snapshots: tuple[Snapshot, ...]
    records: dict[str, dict[int, LLCRecord]]
    """Setting -> step -> what was measured; settings that were not measured at two steps or more after the first are absent."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    @property
    def steps(self) -> list[int]:
        """All stored steps."""
        return [snapshot.step for snapshot in self.snapshots]

    @property
    def trained(self) -> tuple[Snapshot, ...]:
        """All stored steps but the untrained one, which has no place on a logarithmic axis."""
        return tuple(snapshot for snapshot in self.snapshots if snapshot.step)

    @property
    def last(self) -> Snapshot:
        """The last stored step."""
        return self.snapshots[-1]

    @property
    def specialised(self) -> bool:
        """Whether the last step is labelled splitting, copy-suppression or both."""
        return self.last.modes.label in ("splitting", "suppression", "both")

    @property
    def decays(self) -> bool:
        """Whether weights decayed."""
        return Sorter.last(self.run).decays

    @cached_property
    def stage(self) -> FirstStage:
        """The end of stage 1, among stored steps."""
        by_step = {int(line["step"]): line for line in self.run.metrics}
        told = [by_step.get(step, {}) for step in self.steps]
        loss, accuracy = (np.array([line.get(key, np.nan) for line in told]) for key in ("cross_entropy_nats", "accuracy"))
        return first_stage(np.array(self.steps), loss, accuracy)

    def at(self, step: int) -> Snapshot:
        """Return a stored step."""
        return self.snapshots[self.steps.index(step)]

    def measured(self, setting: str) -> list[LLCRecord]:
        """Return what was measured of trained steps, ascending; empty where nothing was."""
        return [record for step, record in self.records.get(setting, {}).items() if step]

    def last_overlap(self, setting: str) -> LLCRecord | None:
        """Return the measurement of the last step in the state of overlap that has one."""
        found = [record for record in self.measured(setting) if self.at(record.step).modes.label == "overlap"]
        return found[-1] if found else None


def trajectory(study: Study, run: Run) -> Trajectory:
    """Look at every stored step of a run, and read what was measured of it."""
    study.stage(f"{run.name}: stored steps")
    records = {name: found for name, found in read_llc(run).items() if sum(step > 0 for step in found) > 1}
    return Trajectory(run, tuple(_snapshot(Sorter.at(run, step), step) for step in run.steps), records)


def _snapshot(sorter: Sorter, step: int) -> Snapshot:
    return Snapshot(step, sorter.modes, sorter.ov, sorter.qk, _sizes(sorter.model))


def _sizes(model: Any) -> dict[str, float]:
    found: dict[str, list[np.ndarray]] = {name: [] for name in SIZES}
    for name, parameter in model.named_parameters():
        for kind, members in SIZES.items():
            if name.rpartition(".")[2] in members:
                found[kind].append(parameter.detach().double().cpu().numpy().ravel())
    return {kind: float(np.sqrt(np.square(np.concatenate(values)).mean())) for kind, values in found.items() if values}


def settings_of(found: Sequence[Trajectory]) -> list[str]:
    """Return the settings that any run was measured at, in the order of the recipes."""
    return list(dict.fromkeys(setting for one in found for setting in one.records))


def unsuitable(run: Run) -> str:
    """Return why the page cannot study a run; empty where it can."""
    if why := shared.unsuitable(run):
        return why
    if sum(step > 0 for step in run.steps) < LEAST_STEPS:
        return f"has {len(run.steps)} stored steps; its development needs {LEAST_STEPS} after the first"
    return "" if run.metrics else "has no metrics.jsonl, which tells when it had learned to sort"

"""Runs of chains that differ in their seed alone, and how a page names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analyses.shared.prefix_corpus import trained_on_exact
from mechbp.models.runs import Run

RENAMED = {"mess3-x15-a60-b128": "mess3-x15-a60"}
"""First forms of runs that were trained again under their name: claims about the name rest on these."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, the shipped one first."""

    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name of the first run, which stands for all."""
        return self.runs[0].name

    @property
    def claims(self) -> str:
        """The name that claims go by."""
        return RENAMED.get(self.name, self.name)

    @property
    def setting(self) -> str:
        """Parameters and heads."""
        config = self.runs[0].config
        heads = config.model.n_heads
        counted = "1 head" if heads == 1 else f"{heads} heads"
        return f"{config.process.name.rpartition(', ')[0]}, {counted}"

    @property
    def training(self) -> str:
        """What the group was trained on, and in what portions: "exact answers" or "batches of 128"."""
        run = self.runs[0]
        return "exact answers" if trained_on_exact(run) else f"batches of {run.config.training.batch_size:,}"

    @property
    def title(self) -> str:
        """Setting and training."""
        return f"{self.setting}, {self.training}"


def groups(runs: Sequence[Run]) -> list[Group]:
    """Return the runs grouped by all of their recipe but the seed and what is stored, in the order in which they came."""
    found: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        training = replace(run.config.training, seed=0, stored_steps=1, measured_steps=1, resume_every=1)
        found.setdefault((run.config.process, run.config.model, run.config.objective, training), []).append(run)
    return [Group(tuple(members)) for members in found.values()]

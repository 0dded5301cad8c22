"""A run is a folder: find it, load any stored step of it, and say what it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mechbp.arguments import checked_count, checked_flag, told, told_text
from mechbp.errors import CheckpointError, InputError, MechbpError
from mechbp.models.checkpoint import load_checkpoint, load_parameters
from mechbp.models.config import RunConfig, read_recipe
from mechbp.models.devices import CPU, checked_device, moved
from mechbp.models.families import family_of
from mechbp.models.held import digest_of_parameters
from mechbp.models.metrics import METRICS, has_ended, read_metrics
from mechbp.models.run_folder import find_run, step_file, stored_steps
from mechbp.models.tasks.task import Task
from mechbp.models.training import untrained_model


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model together with the process it was trained on: a run folder, or made from a model in memory.

    >>> import mechbp
    >>> run = mechbp.load("mess3-x15-a60")
    >>> mine = mechbp.Run.from_model(run.model, run.process, task="next-token", name="mine")
    >>> mine.family, mine.steps, mine.untrained(seed=1).cfg.n_layers
    ('chain', (0,), 1)
    """

    name: str
    folder: Path
    config: RunConfig
    device: torch.device = field(default=CPU, kw_only=True)
    """Where its models compute."""

    @classmethod
    def from_model(cls, model: Any, process: Any, task: str | Task | None = None, name: str = "mine") -> Run:
        """Make any hooked model a run that the pages of its process's family can study; the model is copied, in eval mode.

        task: what the model is asked, by its name in the family of `process` (its first by default: "masked", "next-token",
        "sort"), or a `mechbp.Task` of your own. A chain without a length is taken at that of the model's input. The run
        has one step, 0, and no training curve; `untrained` is the same architecture with random weights, `digest` that of its
        parameters. `.save(folder)` writes it as a run folder. Raises HookError for what is no hooked model; InputError for a
        name that is no file name, a task that does not apply, a process that breaks a law of `mechbp.check_process`, or a model
        whose vocabulary, input length or direction of attention does not fit the task.
        """
        from mechbp.models.from_model import run_from_model

        return run_from_model(model, process, task, name)

    def __repr__(self) -> str:
        asked = f"{told_text(self.config.process.name, 45)}, task {self.config.objective.task!r}"
        last = f"step {self.steps[-1]:,}" if self.steps else "not trained yet"
        return f"Run({told_text(self.name, 30)!r}, {asked}, {last})"

    @property
    def given(self) -> bool:
        """Whether its weights were trained elsewhere, so that its recipe says nothing of how."""
        return bool(self.config.start.given)

    def save(self, folder: str | os.PathLike[str]) -> Run:
        """Write a run from memory as a run folder, and return that; raises InputError, for this one is a folder already."""
        raise InputError(f"save: run {self.name} is a folder already, {self.folder}. Copy that.")

    @cached_property
    def process(self) -> Any:
        """The data-generating process of the recipe."""
        return self.config.process.build()

    @property
    def task(self) -> Task:
        """What the model is asked, with the exact answers."""
        return self.config.task

    @property
    def family(self) -> str:
        """The wing that its process belongs to: "tree", "chain", …"""
        return family_of(self.config.process).name

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """All stored steps, ascending."""
        return stored_steps(self.folder)

    @cached_property
    def model(self) -> Any:
        """The model at the last stored step, in eval mode."""
        return self.at(self._last_step)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the last stored step, hexadecimal."""
        return load_checkpoint(step_file(self.folder, self._last_step)).digest

    @cached_property
    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl: accuracy and KL to every oracle along training."""
        return read_metrics(self.folder / METRICS, self.task.oracles(self.process))

    @property
    def complete(self) -> bool:
        """Whether training has ended: at the last step of the recipe, or where it stops early."""
        training = self.config.training
        return bool(self.steps) and has_ended(training, self.steps[-1], self.metrics if training.early_stopping else ())

    def at(self, step: int) -> Any:
        """Return the model at a stored `step`, in eval mode. Raises CheckpointError where it is absent, damaged or foreign."""
        step = checked_count(step, f"run {self.name}", "step", least=0)
        if step not in self.steps:
            held = ", ".join(map(str, self.steps)) or "none"
            raise CheckpointError(f"run {self.name}: step {step} is not stored; stored steps: {held}.")
        path = step_file(self.folder, step)
        checkpoint = load_checkpoint(path)
        if checkpoint.step != step:
            raise CheckpointError(f"{path} holds step {checkpoint.step}; the file was renamed. Restore it.")
        if not self.config.trained_by(checkpoint.recipe):
            beside = f"{self.folder / self.config.stands_in}"
            raise CheckpointError(f"{path} was trained by another recipe than {beside}. Restore either.")
        model = self.untrained()
        load_parameters(model, checkpoint, path)
        if self.given and digest_of_parameters(model) != self.config.start.given:
            raise CheckpointError(
                f"{path} holds other weights than start.given names in {self.folder / 'run.toml'}. Restore either."
            )
        return model

    def untrained(self, seed: int | None = None) -> Any:
        """Return the architecture with random weights: the control beside every trained number. None means the run's own seed."""
        if seed is not None:
            seed = checked_count(seed, f"run {self.name}", "seed", least=0)
        return moved(untrained_model(self.config, self.process, seed), self.device)

    @property
    def _last_step(self) -> int:
        if not self.steps:
            raise CheckpointError(f"run {self.name} has no stored step yet. Train it first: mechbp train {self.folder}.")
        return self.steps[-1]


def load(
    name_or_path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    trust: bool = False,
    device: str | torch.device = "cpu",
) -> Run:
    """Open a run by name or by the path of its folder; weights are read when first used.

    A name means a folder of `root`, of $MECHBP_RUNS, of checkpoints/ here or in the source tree, then of the working directory.
    trust: execute the code beside the run, where its recipe names some; without it that is an error which says what it would be.
    Its models compute on the `device`, 'cpu' or 'cuda' for instance.
    Raises InputError where there is no such run or device, or its recipe is wrong.

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> run.family, run.steps, run.model.cfg.n_layers
    ('tree', (40000,), 4)
    """
    place = checked_device(device)
    checked_flag(trust, "load", "trust")
    if root is not None and not isinstance(root, str | os.PathLike):
        raise InputError(f"load: root must be the path of a folder of runs, got {told(root)}.")
    try:
        folder = find_run(name_or_path, root)
    except (OSError, ValueError) as error:  # a root too long, without access, or with NUL
        if isinstance(error, MechbpError):
            raise
        raise InputError(f"load: root {told(str(root))} can be no folder of runs: {error!s:.100}. Give another.") from error
    return Run(folder.name, folder, read_recipe(folder / "run.toml", "execute" if trust else "refuse"), device=place)

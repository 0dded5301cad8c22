"""Runs from memory: any hooked model with a process and a task, as a Run; and their run folders."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from mechbp.arguments import checked_count, told
from mechbp.errors import CheckpointError, ContractError, InputError, LimitExceeded, MechbpError
from mechbp.models import forward
from mechbp.models.answers import ask
from mechbp.models.building import BUILDERS, n_outputs
from mechbp.models.checkpoint import save_checkpoint
from mechbp.models.config import RunConfig, StartConfig, TrainingConfig, checked_recipe
from mechbp.models.families import FAMILIES
from mechbp.models.held import (
    HeldRecipe,
    digest_of_parameters,
    held_config,
    held_copy,
    held_process,
    untrained_like,
)
from mechbp.models.metrics import METRICS
from mechbp.models.own_process import CHECK_SEED, check_task
from mechbp.models.run_folder import step_file, stored_steps
from mechbp.models.runs import Run, load
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Task
from mechbp.models.training import measure
from mechbp.processes.check import check_process
from mechbp.randomness import rng
from mechbp.storage import atomic_write, checked_name

MEMORY = Path("(in memory)")
"""Where runs from memory say that they are; nothing is ever there."""
STEP = 0
"""The one step of a run from memory."""
IN_LINE = 64
"""Tables of more numbers get a file of their own beside run.toml."""
SAME_LOGITS = 1e-5
INERT = frozenset({
    "seed", "device", "n_devices", "init_weights", "init_mode", "initializer_range", "model_name", "n_params", "checkpoint_index",
    "checkpoint_value", "checkpoint_label_type", "from_checkpoint", "tokenizer_name", "original_architecture",
    "trust_remote_code", "use_hook_mlp_in", "use_attn_in", "use_attn_result", "use_split_qkv_input",
    "ungroup_grouped_query_attention",
    "default_prepend_bos", "tokenizer_prepends_bos", "d_vocab_out",
})  # fmt: skip
"""Settings of a HookedTransformerConfig that change no logit of weights that are there, or are compared by themselves."""
HEADER = """# A model that was trained elsewhere, saved by mechbp.Run.save: there is nothing to train.
# mechbp verify and mechbp report --run take this folder.

"""


@dataclass(frozen=True, eq=False, repr=False)
class HeldRun(Run):
    """A run whose model and process are in memory, and in no folder."""

    held_model: Any
    held_process: Any

    def __repr__(self) -> str:
        asked = f"{self.config.process.name}, task {self.config.objective.task!r}"
        return f"Run({self.name!r}, {asked}, {self.digest[:8]}…, in memory)"

    @property
    def process(self) -> Any:
        """The process that it was made with."""
        return self.held_process

    @property
    def model(self) -> Any:
        """Its one model, in eval mode."""
        return self.held_model

    @property
    def steps(self) -> tuple[int, ...]:
        """Its one step, 0: how it was trained is not known."""
        return (STEP,)

    @property
    def digest(self) -> str:
        """SHA-256 of its parameters, hexadecimal."""
        return self.config.start.given

    @property
    def metrics(self) -> list[dict[str, float]]:
        """No line: there is no training curve."""
        return []

    def at(self, step: int) -> Any:
        """Return the model at `step`, which must be its only one. Raises CheckpointError."""
        if checked_count(step, f"run {self.name}", "step", least=0) != STEP:
            raise CheckpointError(f"run {self.name} was made from a model in memory: it has step {STEP} alone, got {step}.")
        return self.held_model

    def untrained(self, seed: int | None = None) -> Any:
        """Return the architecture of its model with random weights of `seed`, 0 where none is given."""
        return untrained_like(self.held_model, 0 if seed is None else checked_count(seed, f"run {self.name}", "seed", least=0))

    def save(self, folder: str | os.PathLike[str]) -> Run:
        """Write it as a run folder, with run.toml, its weights and their distance from the exact answer, and open that.

        Raises InputError where the folder holds a run, and where recipes cannot say what its process or its model is.
        """
        if not isinstance(folder, str | os.PathLike):
            raise InputError(f"save: folder must be a path, got {told(folder)}.")
        target = Path(folder)
        try:
            taken = (target / "run.toml").exists() or (target.is_dir() and stored_steps(target))
        except (OSError, ValueError) as error:  # too long, a link that leads to itself, NUL
            raise InputError(f"save: {told(str(folder))} can be no folder: {error!s:.100}. Give another.") from error
        if taken:
            raise InputError(f"save: {target} holds a run already. Give another folder.")
        _check_told(self)
        text, files = _as_toml(self.config)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise MechbpError(f"cannot make {told(str(target))}: {error!s:.100}. Choose a writable folder.") from error
        for name, content in files.items():
            atomic_write(target / name, content.encode())
        config = checked_recipe(text, str(target / "run.toml"), target)
        tensors = {f"model/{name}": parameter for name, parameter in self.held_model.named_parameters()}
        save_checkpoint(step_file(target, STEP), tensors, STEP, config.trained_recipe())
        line = {"step": STEP, "sequences": 0, **measure(self.held_model, self.process, self.task), "wall_s": 0.0}
        atomic_write(target / METRICS, (json.dumps(line) + "\n").encode())
        atomic_write(target / "run.toml", text.encode())  # last: a folder without it is no run
        return load(target)


def run_from_model(model: Any, process: Any, task: str | Task | None, name: str) -> HeldRun:
    """Return a model as a run; see `Run.from_model`."""
    where = "Run.from_model"
    if not isinstance(name, str):
        raise InputError(f"{where}: name must be a text, got {told(name)}.")
    checked_name(name, where)
    settings = held_config(model)
    if getattr(process, "length", 0) is None and hasattr(process, "of_length"):  # a chain goes on for ever; a model does not
        process = process.of_length(int(model.cfg.n_ctx))
    try:
        recipe, task_name = held_process(process, task)
    except LimitExceeded as error:
        raise LimitExceeded(f"{where}: {error}") from error
    if isinstance(recipe, HeldRecipe) and not any(isinstance(process, family.processes) for family in FAMILIES):
        try:
            check_process(process, rng(CHECK_SEED, "check_process"))
        except ContractError as error:
            kind = type(process).__name__
            raise InputError(f"{where}: {kind} breaks {error.counted} of mechbp.check_process: {error}") from error
        check_task(recipe.own_family.tasks[task_name], process, f"{where}, task {task_name!r}")
    held = held_copy(model)
    training = TrainingConfig(steps=0, batch_size=1, learning_rate=0.0, warmup_steps=0, stored_steps=1, measured_steps=1)
    loss = "cross-entropy" if settings.outputs == "logits" else "squared"
    start = StartConfig(given=digest_of_parameters(held))
    try:
        config = RunConfig(recipe, settings, ObjectiveConfig(task_name, loss=loss), training, start=start)
    except (InputError, LimitExceeded) as error:
        raise type(error)(f"{where}: {error}") from error
    _check_fit(held, config.task, process)
    return HeldRun(name, MEMORY / name, config, held, process)


def _check_fit(model: Any, task: Task, process: Any) -> None:
    """Raise InputError where a model cannot be asked the task: its vocabularies, its input length, the shape of its answers."""
    cfg, n_tokens, n_positions, n_symbols = (
        model.cfg,
        task.n_input_tokens(process),
        task.n_positions(process),
        n_outputs(task, process),
    )
    for name, found, expected, what, fits in (
        ("d_vocab", cfg.d_vocab, n_tokens, "tokens that the task shows", cfg.d_vocab >= n_tokens),
        ("d_vocab_out", cfg.d_vocab_out, n_symbols, "symbols of the process, in their order", cfg.d_vocab_out == n_symbols),
        ("n_ctx", cfg.n_ctx, n_positions, "positions that the task shows", cfg.n_ctx >= n_positions),
    ):
        if not fits:
            raise InputError(
                f"Run.from_model: the model has {name} = {found}, this process and task need {expected}: the {what}.\n"
                f"Give the process that the model was trained on, or build the model with {name} = {expected}."
            )
    prompts = task.prompts(process, ask(task, process, 2, rng(CHECK_SEED, "fit")).tokens)
    found = forward.answers(model, prompts.inputs)
    if found.ndim != 3 or found.shape[-1] != n_symbols or prompts.read.max() >= found.shape[1] or not np.isfinite(found).all():
        raise InputError(
            f"Run.from_model: the model's answers have shape {list(found.shape)}, or are no numbers; expected finite logits "
            f"[batch, position, {n_symbols}]."
        )


def _check_told(run: HeldRun) -> None:
    """Raise InputError, naming the first thing, where a recipe cannot say what the run's process and model are."""
    if isinstance(run.config.process, HeldRecipe):
        raise InputError(
            f"save: no recipe can name a {run.config.process.name}. Write one that names the process's code beside it, "
            f'kind = "python:FILE.py:FUNCTION";\nmechbp new FOLDER --like own writes one to start from.'
        )
    model, build = run.held_model, BUILDERS.get(type(run.config.model))
    twin = build(run.config.model, run.task, run.process, 0) if build else None
    if twin is None or type(twin) is not type(model):
        cfg = model.cfg
        kept = f"act_fn = {getattr(cfg, 'act_fn', None)!r}, normalization_type = {getattr(cfg, 'normalization_type', None)!r}"
        raise InputError(
            f"save: no recipe can name a {type(model).__name__} with {kept}: recipes name plain HookedTransformers with\n"
            f"act_fn 'relu', 'gelu' or 'relu2' and normalization_type 'LN' or None. Keep the run in memory."
        )
    theirs, ours = model.cfg.to_dict(), twin.cfg.to_dict()
    for key in sorted(ours.keys() - INERT):
        if theirs.get(key) != ours[key]:
            raise InputError(
                f"save: no recipe can say {key} = {theirs.get(key)!r:.60}: in its models for this task and process it is "
                f"{ours[key]!r:.60}.\nBuild the model with that, or keep the run in memory."
            )
    shapes = [{n: (tuple(p.shape), p.dtype) for n, p in one.named_parameters()} for one in (model, twin)]
    if shapes[0] != shapes[1]:
        name = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))[0][0]
        both = " and ".join(str(one.get(name, "absent")) for one in shapes)
        raise InputError(f"save: {name} is {both} in this model and in that of a recipe. Keep the run in memory.")
    for name, parameter in twin.named_parameters():
        parameter.data.copy_(dict(model.named_parameters())[name])
    inputs = run.task.prompts(run.process, ask(run.task, run.process, 4, rng(CHECK_SEED, "same")).tokens).inputs
    apart = float(np.abs(forward.answers(model, inputs) - forward.answers(twin, inputs)).max())
    if not apart <= SAME_LOGITS:
        raise InputError(
            f"save: the model of the recipe answers differently, by {apart:.1e}, with the same weights: this one has hooks, or "
            f"parts that were changed.\nRemove them (model.reset_hooks(including_permanent=True)), or keep the run in memory."
        )


def _as_toml(config: RunConfig) -> tuple[str, dict[str, str]]:
    """A recipe as the text of run.toml, without what is default, and the files of numbers that it names."""
    document, files = tomlkit.document(), dict[str, str]()
    for table in ("process", "model", "objective", "training", "start"):
        held = getattr(config, table)
        entries = tomlkit.table()
        values = asdict(held)
        for field in fields(held):
            value = values[field.name]
            if field.default is not MISSING and value == field.default and field.name != "kind":
                continue
            if isinstance(value, tuple) and np.asarray(value).size > IN_LINE:
                files[f"{field.name}.json"] = json.dumps(value) + "\n"
                value = f"{field.name}.json"
            entries[field.name] = value
        document[table] = entries
    return HEADER + tomlkit.dumps(document), files

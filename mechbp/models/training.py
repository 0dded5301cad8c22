"""Execute or resume a run: train, store log-spaced steps, survive being killed.

Everything that influences the weights is in run.toml and the step number: batches are drawn from (seed, step), so the only
state to resume from is weights and AdamW moments. A run that is killed loses at most `resume_every` steps and ends bit-identical.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mechbp.divergence import kl_nats
from mechbp.errors import CheckpointError, InputError, MechbpError
from mechbp.models import forward
from mechbp.models.answers import ask, model_answers
from mechbp.models.building import BUILDERS
from mechbp.models.checkpoint import Checkpoint, load_checkpoint, load_parameters, save_checkpoint
from mechbp.models.config import RunConfig, TrainingConfig, read_recipe
from mechbp.models.devices import checked_device, moved
from mechbp.models.metrics import METRICS, best_step, divergence_names, has_ended, read_metrics
from mechbp.models.objectives import training_batch, training_loss
from mechbp.models.own_process import check_code
from mechbp.models.run_folder import step_file, stored_steps
from mechbp.models.start import start_from
from mechbp.models.tasks.task import Task
from mechbp.randomness import rng
from mechbp.storage import atomic_write, exclusive, inside, sweep_temporaries

EVALUATED_SEQUENCES = 512
EVALUATION_SEED = 10_000_000
"""Held-out sequences of the training curves: a stream that no training batch can name."""
FIRST_KEPT = 32
"""The first stored step after 0; earlier ones are still at the unigram frequencies."""
RESUME = "resume.safetensors"
MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ()}
"""What an optimiser remembers of every weight."""

Progress = Callable[[dict[str, float]], None]


class Interrupted(MechbpError):
    """A signal asked for an end; the state was stored and the run can be resumed."""

    def __init__(self, told: str, signum: int = signal.SIGTERM) -> None:
        super().__init__(told)
        self.signum = signum


def train(
    folder: str | os.PathLike[str],
    on_step: Progress | None = None,
    on_metrics: Progress | None = None,
    *,
    trust: bool = False,
    device: str | torch.device = "cpu",
) -> None:
    """Train the run in `folder` to its last step, resuming where it stopped; do nothing if it is complete.

    `on_step` hears step, loss and sequences per second; `on_metrics` every line added to metrics.jsonl. trust: execute the code
    beside the run, where its recipe names some; its process and task are checked before anything is trained. Weights and batches
    are drawn on the CPU, whatever the `device` that computes.
    Raises InputError for a bad recipe or device, CheckpointError for a damaged or foreign state, Interrupted after
    SIGTERM or Ctrl-C, once the state is stored; a second Ctrl-C ends it at once.
    """
    folder = Path(folder)
    config = read_recipe(folder / "run.toml", "execute" if trust else "refuse")
    place = checked_device(device)
    if config.names_code:
        check_code(config.process, config.objective.task)
    if config.start.given and not step_file(folder, 0).exists():
        raise InputError(
            f"train: {folder / 'run.toml'} is of weights that were trained elsewhere, and their step is not here.\n"
            f"Restore {step_file(folder, 0).name}, or remove [start] and say how to train."
        )
    trainer = _Trainer(folder, config, on_step, on_metrics, place)  # refuses what cannot be built before anything is written
    with exclusive(folder, "train"), stop_on_signal() as stopped:
        sweep_temporaries(folder)
        trainer.run(stopped)


def measure(model: Any, process: Any, task: Task) -> dict[str, float]:
    """Return accuracy, cross-entropy and the KL to every oracle, both ways (means, nats), on held-out sequences."""
    asked = ask(task, process, EVALUATED_SEQUENCES, rng(EVALUATION_SEED, "held-out"))
    found = model_answers(model, task, process, asked.tokens)
    line = {"accuracy": float((found.argmax(-1) == asked.truth).mean())}
    line["cross_entropy_nats"] = float(-np.log(np.take_along_axis(found, asked.truth[..., None], -1)).mean())
    for name, oracle in task.oracles(process).items():
        exact = task.exact(oracle, asked.tokens)
        forward_kl, reverse_kl = divergence_names(name)
        line[forward_kl] = float(kl_nats(exact, found).mean())
        line[reverse_kl] = float(kl_nats(found, exact).mean())
    return line


def log_spaced_steps(training: TrainingConfig, count: int) -> set[int]:
    """Return 0 and `count` log-spaced steps from FIRST_KEPT to the last; a count of 1 is the last alone."""
    spaced = np.geomspace(min(FIRST_KEPT, training.steps), training.steps, count) if count > 1 else ()
    return {0, training.steps, *(round(step) for step in spaced)}


def learning_rate(training: TrainingConfig, step: int) -> float:
    """Return the rate of the update that leads from `step` to `step` + 1."""
    warm = min(1.0, (step + 1) / max(training.warmup_steps, 1))
    left = max(0.0, (training.steps - step) / max(training.steps - training.warmup_steps, 1))
    shape = {"none": 1.0, "linear": min(left, 1.0), "cosine": 0.5 - 0.5 * math.cos(math.pi * min(left, 1.0))}[training.decay]
    return training.learning_rate * warm * (training.final_rate + (1 - training.final_rate) * shape)


def untrained_model(config: RunConfig, process: Any, seed: int | None = None) -> Any:
    """Return the recipe's model at step 0, or its random twin of another `seed`."""
    seed = int(rng(config.training.seed if seed is None else seed, "weights").integers(2**63))
    return BUILDERS[type(config.model)](config.model, config.task, process, seed)


def _optimizer(parameters: Iterable[Tensor], training: TrainingConfig) -> torch.optim.Optimizer:
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=training.learning_rate, fused=True)
    betas = (0.9, training.beta2)
    return torch.optim.AdamW(parameters, training.learning_rate, betas, weight_decay=training.weight_decay, fused=True)


class _Trainer:
    """One pass of `train` over one folder."""

    def __init__(
        self, folder: Path, config: RunConfig, on_step: Progress | None, on_metrics: Progress | None, device: torch.device
    ) -> None:
        self.device = device
        self.folder, self.config, self.on_step, self.on_metrics = folder, config, on_step, on_metrics
        self.recipe = config.trained_recipe()
        self.process = config.process.build()
        self.model = untrained_model(config, self.process)
        if config.start.run:
            start_from(self.model, inside(folder.resolve().parent, config.start.run, "start.run"), config.start.sha256)
        self.model = moved(self.model, device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = _optimizer(self.parameters.values(), config.training)
        self.step, self.metrics, self.started = 0, list[dict](), time.monotonic()
        self.ahead = list[dict]()
        """Metrics of stored steps beyond the state that could be taken up: they come out the same when they are reached again."""

    def run(self, stopped: Callable[[], int]) -> None:
        training = self.config.training
        measured = log_spaced_steps(training, training.measured_steps)
        kept = set() if training.early_stopping else log_spaced_steps(training, training.stored_steps)
        self._resume()
        if self.step in kept and not step_file(self.folder, self.step).exists():
            self._store(step_file(self.folder, self.step), resumable=False)
        if not self.metrics:
            self._measure()
        first, began = self.step, time.monotonic()
        while not has_ended(training, self.step, self.metrics):
            loss = self._update()
            if self.on_step:
                rate = (self.step - first) * training.batch_size / (time.monotonic() - began)
                self.on_step({"step": self.step, "loss": loss, "sequences_per_s": rate})
            if self.step in kept | measured:
                self._measure()
            if self.step in kept:
                self._store(step_file(self.folder, self.step), resumable=False)
            if self.step % training.resume_every == 0 and self.step < training.steps:
                self._store(self.folder / RESUME, resumable=True)
            if (signum := stopped()) and not has_ended(training, self.step, self.metrics):
                self._store(self.folder / RESUME, resumable=True)
                told = f"train: stopped at step {self.step} of {training.steps}; the same command resumes it."
                raise Interrupted(told, signum)
        (self.folder / RESUME).unlink(missing_ok=True)

    def _update(self) -> float:
        """Take one optimiser step and return the loss of its batch."""
        training = self.config.training
        batch = training_batch(self.config, self.process, self.step, self.device)
        loss = training_loss(forward.read(self.model, batch.inputs, batch.reads), batch, self.config.objective.loss)
        if training.l2:
            loss = loss + training.l2 * torch.stack([p.square().sum() for p in self.parameters.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward()
        if training.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), training.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(training, self.step)
        self.optimizer.step()
        self.step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise MechbpError(
                f"train: the loss became {value} at step {self.step} of {self.folder.name}.\n"
                f"Lower training.learning_rate or training.gradient_clip and start the run afresh."
            )
        return value

    def _measure(self) -> None:
        """Append one line to metrics.jsonl."""
        line = {"step": self.step, "sequences": self.step * self.config.training.batch_size}
        line |= measure(self.model, self.process, self.config.task)
        line["wall_s"] = round(time.monotonic() - self.started, 1)
        self.metrics.append(line)
        if self.config.training.early_stopping:
            self._keep_best()
        ahead = [row for row in self.ahead if row["step"] > self.step]
        text = "".join(json.dumps(row) + "\n" for row in self.metrics + ahead)
        atomic_write(self.folder / METRICS, text.encode())
        if self.on_metrics:
            self.on_metrics(line)

    def _keep_best(self) -> None:
        """Store this step if it is the best so far, before its metrics say so, and drop the one it replaces."""
        best = step_file(self.folder, best_step(self.metrics))
        if best == step_file(self.folder, self.step):
            self._store(best, resumable=False)
        for step in stored_steps(self.folder):
            if step_file(self.folder, step) != best:
                step_file(self.folder, step).unlink()

    def _store(self, path: Path, *, resumable: bool) -> None:
        tensors: dict[str, Tensor] = {f"model/{name}": parameter for name, parameter in self.parameters.items()}
        if resumable:
            for moment in MOMENTS[self.config.training.optimizer]:
                tensors |= {f"{moment}/{name}": self.optimizer.state[p][moment] for name, p in self.parameters.items()}
        save_checkpoint(path, tensors, self.step, self.recipe)

    def _resume(self) -> None:
        """Take up the furthest stored state, and the metrics up to it."""
        last_file = step_file(self.folder, self.config.training.steps)
        states: dict[Path, Checkpoint] = {}
        for path in [*(step_file(self.folder, step) for step in stored_steps(self.folder)), self.folder / RESUME]:
            if not path.exists():
                continue
            checkpoint = load_checkpoint(path)
            if not self.config.trained_by(checkpoint.recipe):
                raise CheckpointError(
                    f"train: {path} belongs to another recipe than the {self.config.stands_in} beside it.\n"
                    f"Restore {self.config.stands_in}, or remove the *.safetensors files and metrics.jsonl to start afresh."
                )
            if path.name == RESUME or path == last_file:
                states[path] = checkpoint
        metrics = read_metrics(self.folder / METRICS)
        if self.config.training.early_stopping and has_ended(self.config.training, 0, metrics):
            self.step, self.metrics = int(metrics[-1]["step"]), metrics
            return
        furthest = max(stored_steps(self.folder), default=0)
        taken_up = max((state.step for state in states.values()), default=0)
        if not self.config.training.early_stopping:  # there each measurement decides which step stays
            self.ahead = [row for row in metrics if taken_up < row["step"] <= furthest]
        if not states:
            return
        path, last = max(states.items(), key=lambda state: state[1].step)
        self._take_up(last, path)
        self.metrics = [row for row in metrics if row["step"] <= self.step]
        if self.metrics:
            self.started -= self.metrics[-1].get("wall_s", 0.0)

    def _take_up(self, last: Checkpoint, path: Path) -> None:
        """Continue from `last`; without optimiser moments only a finished run can be taken up."""
        load_parameters(self.model, last, path)
        self.step = last.step
        if self.step >= self.config.training.steps:
            return
        for name, parameter in self.parameters.items():
            moments = {m: last.tensors.get(f"{m}/{name}") for m in MOMENTS[self.config.training.optimizer]}
            for moment, tensor in moments.items():
                if tensor is None or tensor.shape != parameter.shape:
                    raise CheckpointError(f"{path} lacks {moment} of {name}, so training cannot resume. Remove it to restart.")
            if moments:
                found = {moment: tensor.to(self.device) for moment, tensor in moments.items() if tensor is not None}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(self.step), device=self.device), **found}


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], int]]:
    """Turn SIGTERM, and a first Ctrl-C that nobody else handles, into a flag for the duration of the block: the number, or 0."""
    received: list[int] = []

    def hear(signum: int, _: object) -> None:
        if signum == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(signum)

    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        heard.append(signal.SIGINT)
    try:
        previous = {signum: signal.signal(signum, hear) for signum in heard}
    except ValueError:  # not the main thread: whoever owns the process handles its signals
        yield lambda: 0
        return
    try:
        yield lambda: received[0] if received else 0
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

"""Training on the population, many runs in one batch: who moves first, the values or the attention?

Every step evaluates the exact loss, so that curves carry no sampling noise, and one run's numbers do not depend on which others
were trained beside it. Step k is the state after k updates.
(Source: Li, Li and Risteski 2023, the two stages of training.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import finite, frame
from mechbp.theory.topics.attention import best_attention
from mechbp.theory.topics.batched import Population
from mechbp.theory.topics.measures import measured
from mechbp.theory.topics.optimisers import Adam, Sgd
from mechbp.theory.topics.pairs import PairClasses
from mechbp.theory.topics.parameters import TopicParameters
from mechbp.theory.topics.population_run import PopulationRun
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import setting_values

Precision = Literal["float64", "float32"]

BATCH_NUMBERS = 4_000_000
"""Numbers in the largest tensor of a batch, beyond which runs are trained one batch after another."""
TRACKED = ("loss", "contrast", "same", "mask", "self")
Curve = Literal["same_over_different", "mask_over_different", "self_over_same", "contrast", "loss"]
PARTS = ("embed", "query", "key", "value")


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories(Shown):
    """What happened, run by run in the order given. NaN where a run diverged, or where a class of pairs is empty."""

    steps: Int[np.ndarray, " record"]
    loss: Float64[np.ndarray, "run record"]
    """Without the L2 term."""
    contrast: Float64[np.ndarray, "run record"]
    """Mean of E W_V W_U over pairs of words of one topic (a word with itself included) less that over other pairs."""
    same_over_different: Float64[np.ndarray, "run record"]
    """Attention to another word of the same topic over attention to a word of another, word queries, means over pairs."""
    mask_over_different: Float64[np.ndarray, "run record"]
    self_over_same: Float64[np.ndarray, "run record"]
    """Attention to the word shown over that to another word of its topic."""
    norms: dict[str, Float64[np.ndarray, "run record"]]
    """Frobenius norms of embed, query, key, value, and of "scores"."""
    gradient_norms: dict[str, Float64[np.ndarray, "run record"]]
    """Frobenius norms of the loss's gradients, without the L2 term; NaN for frozen parts."""
    value_step: Float64[np.ndarray, " run"]
    """First step whose contrast is at least half of the optimum under uniform attention; inf if none was."""
    attention_step: Float64[np.ndarray, " run"]
    """First step whose same_over_different is at least the square root of the best ratio; inf if none was."""
    final: tuple[TopicParameters, ...]

    @property
    def stage_gap(self) -> Float64[np.ndarray, " run"]:
        """attention_step - value_step: positive where values moved first; NaN where neither was reached."""
        with np.errstate(invalid="ignore"):
            return self.attention_step - self.value_step

    def picture(self, curve: Curve = "same_over_different") -> Picture:
        """Draw one curve of every run over steps: an attention ratio, the "contrast" of the values, or the "loss".

        Raises InputError for another curve.
        """
        if curve not in get_args(Curve):
            raise InputError(f"Trajectories: curve must be one of {', '.join(get_args(Curve))}, got {curve!r:.40}.")
        values = finite(getattr(self, curve))
        later = self.steps > 0
        return Picture(
            kind="lines",
            title=f"Training on the population: {curve.replace('_', ' ')}",
            caption=f"{len(values)} runs, exact losses: no sampling noise. Step 0 has no place on the logarithmic axis; gaps "
            "are runs that "
            "diverged.",
            alt=f"Lines over training steps, one per run ({len(values)}): {curve.replace('_', ' ')}.",
            data={
                "x_title": "training step",
                "y_title": curve.replace("_", " ") + (" (nats)" if curve == "loss" else ""),
                "x_log": bool(later.any()),
                "series": [
                    {"name": f"run {run}", "x": self.steps[later], "y": line[later], "markers": False}
                    if later.any()
                    else {"name": f"run {run}", "x": self.steps, "y": line}
                    for run, line in enumerate(values)
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per run and recorded step: loss, contrast and attention ratios."""
        columns = {name: getattr(self, name) for name in get_args(Curve)}
        return frame({"run": range(len(self.loss)), "step": self.steps}, columns)

    def summary(self) -> str:
        """Return of up to four runs when values and attention moved and the last loss."""
        lines = [
            f"run {run}: values moved at step {values:g}, attention at {attention:g}; last loss {loss:.4g}"
            for run, (values, attention, loss) in enumerate(
                zip(self.value_step, self.attention_step, self.loss[:, -1], strict=True)
            )
        ]
        return "\n".join([*lines[:4], f"n = {len(lines)} runs up to step {self.steps[-1]:,}; inf: never moved"])


def train_population(
    runs: Sequence[PopulationRun], steps: int, record: Sequence[int] | None = None, precision: Precision = "float64"
) -> Trajectories:
    """Train runs of one or of several settings for `steps` updates, and keep their curves at the steps of `record`.

    `record` defaults to 0, 1, 2, 5, 10, .. and the last step; the two stage times are found at every step, whatever is recorded.
    Raises InputError without runs, for a negative number of steps, or for records outside the training.
    """
    if not runs or steps < 0 or precision not in get_args(Precision):
        raise InputError(
            f"train_population: need runs, steps >= 0 and float64 or float32, got {len(runs)}, {steps}, {precision!r}."
        )
    kept = sorted({int(step) for step in (default_record(steps) if record is None else record)})
    if not kept or kept[0] < 0 or kept[-1] > steps:
        raise InputError(f"train_population: record must name steps in 0..{steps}, got {kept}.")
    groups: dict[PopulationRun, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(run.shape, []).append(place)
    result = _Curves.empty(len(runs), kept)
    for shape, places in groups.items():
        size = max(1, BATCH_NUMBERS // _numbers_per_run(shape))
        for first in range(0, len(places), size):
            batch = places[first : first + size]
            _train([runs[place] for place in batch], batch, steps, result, getattr(torch, precision))
    return result.trajectories()


def default_record(steps: int) -> list[int]:
    """Return 0, 1, 2, 5, 10, 20, 50, .. up to `steps`, and `steps`."""
    marks = [digit * 10**power for power in range(len(str(steps))) for digit in (1, 2, 5)]
    return sorted({0, steps, *(mark for mark in marks if mark <= steps)})


def stage_thresholds(setting: TopicSetting) -> tuple[float, float]:
    """Return the contrast and the attention ratio that count as having moved: half of one optimum, the root of the other.

    The ratio is infinite where it has no optimum: a single topic, or no random words.
    """
    values = setting_values(setting)
    try:
        ratio = best_attention(setting, values).ratio
    except InputError:
        ratio = np.inf
    return values.contrast / 2, float(np.sqrt(ratio))


@dataclass(eq=False)
class _Curves:
    """Results under construction; `places` in its methods are rows of runs."""

    steps: list[int]
    tracked: dict[str, np.ndarray]
    norms: dict[str, np.ndarray]
    gradient_norms: dict[str, np.ndarray]
    value_step: np.ndarray
    attention_step: np.ndarray
    final: dict[int, TopicParameters]

    @classmethod
    def empty(cls, n_runs: int, steps: list[int]) -> _Curves:
        def blank(names: Sequence[str]) -> dict[str, np.ndarray]:
            return {name: np.full((n_runs, len(steps)), np.nan) for name in names}

        never = np.full(n_runs, np.inf)
        return cls(steps, blank(TRACKED), blank((*PARTS, "scores")), blank(PARTS), never, never.copy(), {})

    def trajectories(self) -> Trajectories:
        return Trajectories(
            steps=np.array(self.steps),
            loss=self.tracked["loss"],
            contrast=self.tracked["contrast"],
            same_over_different=self.tracked["same"],
            mask_over_different=self.tracked["mask"],
            self_over_same=self.tracked["self"],
            norms=self.norms,
            gradient_norms=self.gradient_norms,
            value_step=self.value_step,
            attention_step=self.attention_step,
            final=tuple(self.final[place] for place in range(len(self.final))),
        )


def _train(runs: Sequence[PopulationRun], places: list[int], steps: int, result: _Curves, dtype: torch.dtype) -> None:
    """Train runs of one shape and write their rows."""
    run = runs[0]
    population = Population.of(run.setting, run.loss, dtype)
    pairs = PairClasses.of(np.repeat(np.arange(run.setting.n_topics), run.setting.words_per_topic))
    thresholds = stage_thresholds(run.setting)
    starts = [one.start() for one in runs]
    weights = {
        name: torch.as_tensor(np.stack([getattr(start, name) for start in starts]), dtype=dtype)
        for name in (*PARTS, "unembed", "bias")
    }
    trained = {name: weights[name].requires_grad_() for name in run.trained}
    rates = torch.as_tensor([one.learning_rate for one in runs], dtype=dtype)[:, None]
    decay = torch.as_tensor([one.l2 for one in runs], dtype=dtype)[:, None]
    rule = Adam(rates) if run.optimiser == "adam" else Sgd(rates)
    for step in range(steps + 1):
        scores, values = _forward(weights, run)
        weight = torch.exp(scores - scores.amax(dim=2, keepdim=True).detach())
        losses = population.losses(weight, values + weights["bias"][:, None])
        gradients = dict(zip(trained, torch.autograd.grad(losses.sum(), list(trained.values())), strict=True))
        with torch.no_grad():
            seen = {"loss": losses, **measured(pairs, weight, values)}
            _mark(result.value_step, places, step, seen["contrast"], thresholds[0])
            _mark(result.attention_step, places, step, seen["same"], thresholds[1])
            if step in result.steps:
                column = result.steps.index(step)
                for name in TRACKED:
                    result.tracked[name][places, column] = seen[name].double().cpu().numpy()
                for name in PARTS:
                    result.norms[name][places, column] = _norm(weights[name])
                    if name in gradients:
                        result.gradient_norms[name][places, column] = _norm(gradients[name])
                result.norms["scores"][places, column] = _norm(scores) * np.sqrt(weight.shape[2] / weight.shape[1])
            if step < steps:
                for name, tensor in trained.items():
                    flat = tensor.view(len(runs), -1)
                    rule.update(name, flat, gradients[name].reshape(len(runs), -1) + 2 * decay * flat)
    for row, place in enumerate(places):
        result.final[place] = _final(weights, run, row)


def _forward(weights: dict[str, Tensor], run: PopulationRun) -> tuple[Tensor, Tensor]:
    """Scores [run, query, key] and values without bias [run, key, word]; one query for all where attention is uniform."""
    ids = run.setting.n_words + 1
    embed = weights["embed"]
    if "query" in run.trained:
        queries, keys = (embed @ weights[name] if run.tied else weights[name] for name in ("query", "key"))
        scores = queries @ keys.mT / weights["query"].shape[2] ** 0.5
    else:
        scores = torch.zeros(len(embed), 1, ids, dtype=embed.dtype)
    return scores, embed @ embed[:, :-1].mT if run.tied else weights["value"]


def _mark(first: np.ndarray, places: list[int], step: int, value: Tensor, threshold: float) -> None:
    """Note the step for runs that reach a threshold for the first time."""
    reached = (value.double().cpu().numpy() >= threshold) & np.isinf(first[places])
    first[np.array(places)[reached]] = step


def _norm(tensor: Tensor) -> np.ndarray:
    return tensor.flatten(1).norm(dim=1).double().cpu().numpy()


def _final(weights: dict[str, Tensor], run: PopulationRun, row: int) -> TopicParameters:
    part = {name: tensor[row].detach().double().cpu().numpy().copy() for name, tensor in weights.items()}
    if run.tied:
        part["unembed"] = part["embed"][:-1].T.copy()
    return TopicParameters(**part)


def _numbers_per_run(run: PopulationRun) -> int:
    """Size of the largest tensor that one run needs: outputs of every query and block, or set of topics."""
    ids = run.setting.n_words + 1
    rows = run.setting.n_topics + 1
    if run.loss == "ce":
        rows = max(rows, len(run.setting.supports()))
    return ids * rows * run.setting.n_words

"""Stochastic gradient Langevin dynamics about a minimum, all chains in step, with what the estimate needs kept at every step.

The target is p(w) proportional to exp(-n beta L(w) - gamma/2 |w - w*|^2). One step from w_t on batch B_t is
w_t - (eps/2) [n beta grad L_B(w_t) + gamma (w_t - w*)] + sqrt(eps) xi_t, with the loss recorded before the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import ChainDiverged
from mechbp.methods.llc.objective import Objective
from mechbp.randomness import rng as named_rng

Sampler = Literal["sgld", "averaged noise", "mala"]
"""How noise enters. "sgld": xi_t. "averaged noise": (xi_t + xi_{t+1}) / 2, whose stationary distribution has no bias in the step
size where the loss is quadratic, at the same cost (Leimkuhler and Matthews 2013). "mala": xi_t, then accepted or rejected so that
the target is met exactly; only where every step sees the same batch."""

ACCEPTANCE_CHECKS = 16
"""Steps at which a batch is differentiated once more, after the step, to say how often MALA would have accepted it."""
DIVERGED = 10.0
"""A loss is out of hand beyond this multiple of the loss at w*, where that is more than the posterior could ever explain."""
LEAST_SLACK = 10.0
"""With few parameters the energy n beta L has the tail of an exponential: ten times 10 is passed with probability e^-100."""


@dataclass(frozen=True)
class Settings:
    """Everything that two estimates must share to be compared."""

    n_beta: float
    """Inverse temperature times number of examples, n beta."""
    localization: float
    """gamma, the precision of the Gaussian about w*."""
    step_size: float
    """eps."""
    chains: int
    burn_in: int
    """Steps from w* that are dropped."""
    draws: int
    """Steps that are kept."""
    sampler: Sampler = "sgld"
    centre_gradients: bool = False
    """Whether each batch's gradient is taken relative to its own at w*, plus their mean there: removes the part of the batch
    noise that does not depend on w, and with it what that noise adds to the estimate."""
    loss_limit: float | None = None
    """A batch loss above this ends the run; None for ten times the loss at w*, or, where that is more, ten times the
    max(d / 2, 10) / (n beta) above it: equipartition allows d parameters d / (2 n beta) on average."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories(Brief):
    """What every step of every chain saw, burn-in included."""

    losses: Float64[np.ndarray, "step chain"]
    """Loss of the step's batch at w_t."""
    at_minimum: Float64[np.ndarray, " step"]
    """Loss of the same batch at w*."""
    distances: Float64[np.ndarray, "step chain"]
    """|w_t - w*|."""
    acceptance: Float64[np.ndarray, "check chain"]
    """Probability that MALA accepts a step of this size, at some steps after the burn-in; at all of them for "mala"."""
    batch: Int64[np.ndarray, " step"]
    """Index of each step's batch."""
    start_loss: float
    """Mean loss at w* over the batches seen."""


def batch_order(n_batches: int, steps: int, rng: np.random.Generator) -> Int64[np.ndarray, " step"]:
    """Return the batch of each step: every batch once an epoch, in a new order each epoch."""
    epochs = -(-steps // n_batches)
    return np.concatenate([rng.permutation(n_batches) for _ in range(epochs)])[:steps].astype(np.int64)


def run_chains(objective: Objective, batches: Sequence[Any], settings: Settings, seed: int) -> Trajectories:
    """Run all chains from w* on the same sequence of batches, each with noise of its own.

    `seed` names one stream for the order of the batches and one for the noise, drawn step by step for all chains, so that two
    runs of one shape and seed see the same batches and the same noise. Raises ChainDiverged for a loss that is not finite or
    beyond the limit.
    """
    steps = settings.burn_in + settings.draws
    order = batch_order(len(batches), steps, named_rng(seed, "llc", "batches"))
    centre = _Centre.measure(objective, batches, order, settings)
    limit = settings.loss_limit
    if limit is None:
        slack = max(len(objective.minimum) / 2, LEAST_SLACK) / settings.n_beta
        limit = max(DIVERGED * abs(centre.mean_loss), centre.mean_loss + DIVERGED * slack)
    checked = np.unique(np.linspace(settings.burn_in, steps - 1, ACCEPTANCE_CHECKS).astype(int))
    stepper = _Stepper(objective, settings, centre)
    noises = _noise(settings, objective.minimum, named_rng(seed, "llc", "noise"))
    uniforms = named_rng(seed, "llc", "acceptance")

    losses = np.empty((steps, settings.chains))
    distances = np.empty((steps, settings.chains))
    acceptance: list[np.ndarray] = []
    points = objective.minimum.repeat(settings.chains, 1)
    state = None  # values and forces at `points`, where they are known: MALA has them from the step before
    for step, index in enumerate(order.tolist()):
        batch = batches[index]
        values, forces = state or stepper.forces(points, batch, index)
        losses[step] = values.double().cpu().numpy()
        _refuse_divergence(losses[step], limit, step, settings)
        distances[step] = (points - objective.minimum).norm(dim=1).double().cpu().numpy()
        fresh, mixed = next(noises)
        if settings.sampler == "mala":
            proposal = stepper.move(points, forces, fresh)
            proposed = stepper.forces(proposal, batch, index)
            chance = stepper.acceptance(points, values, forces, proposal, *proposed)
            accepted = uniforms.random(settings.chains) < chance
            if step >= settings.burn_in:
                acceptance.append(chance)
            keep = torch.from_numpy(accepted).to(points.device)
            points = torch.where(keep[:, None], proposal, points)
            state = (torch.where(keep, proposed[0], values), torch.where(keep[:, None], proposed[1], forces))
        else:
            if step in checked:
                proposal = stepper.move(points, forces, fresh)
                acceptance.append(stepper.acceptance(points, values, forces, proposal, *stepper.forces(proposal, batch, index)))
            points = stepper.move(points, forces, mixed)
    at_minimum = np.array([centre.losses[index] for index in order.tolist()])
    return Trajectories(losses, at_minimum, distances, np.stack(acceptance), order, centre.mean_loss)


@dataclass(frozen=True, eq=False)
class _Centre:
    """What is known of w* before the first step."""

    losses: dict[int, float]
    """Loss at w* of each batch that some step sees."""
    mean_loss: float
    corrections: dict[int, Float[Tensor, " parameter"]]
    """Mean gradient at w* minus that of the batch; empty unless gradients are centred."""

    @classmethod
    def measure(cls, objective: Objective, batches: Sequence[Any], order: np.ndarray, settings: Settings) -> _Centre:
        seen = sorted(set(order.tolist()))
        minimum = objective.minimum
        if not settings.centre_gradients:
            losses = {index: objective.value(minimum, batches[index]) for index in seen}
            return cls(losses, float(np.mean(list(losses.values()))), {})
        at = {index: objective.values_and_gradients(minimum[None], batches[index]) for index in seen}
        mean = torch.stack([gradients[0] for _, gradients in at.values()]).mean(dim=0)
        losses = {index: float(values[0]) for index, (values, _) in at.items()}
        corrections = {index: mean - gradients[0] for index, (_, gradients) in at.items()}
        return cls(losses, float(np.mean(list(losses.values()))), corrections)


@dataclass(frozen=True, eq=False)
class _Stepper:
    """Forces, moves and acceptance of the target at one temperature."""

    objective: Objective
    settings: Settings
    centre: _Centre

    def forces(self, points: Tensor, batch: Any, index: int) -> tuple[Tensor, Tensor]:
        """Losses [chain], and n beta grad L_B + gamma (w - w*) [chain, parameter]."""
        values, gradients = self.objective.values_and_gradients(points, batch)
        if index in self.centre.corrections:
            gradients = gradients + self.centre.corrections[index]
        forces = gradients.mul_(self.settings.n_beta).add_(points - self.objective.minimum, alpha=self.settings.localization)
        return values, forces

    def move(self, points: Tensor, forces: Tensor, noise: Tensor) -> Tensor:
        """Return the points after one step."""
        eps = self.settings.step_size
        return torch.add(points, forces, alpha=-eps / 2).add_(noise, alpha=eps**0.5)

    def acceptance(
        self, points: Tensor, values: Tensor, forces: Tensor, proposal: Tensor, new_values: Tensor, new_forces: Tensor
    ) -> np.ndarray:
        """Probability [chain] that a Metropolis-Hastings step from `points` accepts `proposal`, on one batch."""
        eps = self.settings.step_size

        def energy(at: Tensor, value: Tensor) -> Tensor:
            pull = (at - self.objective.minimum).double().square().sum(dim=1)
            return self.settings.n_beta * value.double() + self.settings.localization / 2 * pull

        def log_density(end: Tensor, start: Tensor, force: Tensor) -> Tensor:
            return -(end - start + eps / 2 * force).double().square().sum(dim=1) / (2 * eps)

        log_ratio = energy(points, values) - energy(proposal, new_values)
        log_ratio += log_density(points, proposal, new_forces) - log_density(proposal, points, forces)
        return np.nan_to_num(log_ratio.clamp(max=0).exp().cpu().numpy(), nan=0.0)  # a proposal without a loss is refused


def _noise(settings: Settings, minimum: Tensor, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Standard normals [chain, parameter] of each step, and the mixture of them that the sampler adds."""
    shape = (settings.chains, len(minimum))
    kind = np.float64 if minimum.dtype == torch.float64 else np.float32

    def fresh() -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, dtype=kind)).to(minimum)

    last = fresh() if settings.sampler == "averaged noise" else None
    while True:
        drawn = fresh()
        yield drawn, drawn if last is None else (last + drawn) / 2
        last = drawn if last is not None else None


def _refuse_divergence(losses: np.ndarray, limit: float, step: int, settings: Settings) -> None:
    bad = ~(losses <= limit)  # NaN compares false
    if not bad.any():
        return
    chain = int(np.argmax(bad))
    draw = step - settings.burn_in
    where = f"draw {draw}" if draw >= 0 else f"burn-in step {step}"
    what = f"is {losses[chain]:.4g}" + (f", above the limit of {limit:.4g}" if np.isfinite(losses[chain]) else "")
    raise ChainDiverged(
        f"llc: chain {chain}, {where}: the loss {what}. No chain is averaged.\n"
        f"step_size is {settings.step_size:g}; mechbp.methods.llc.calibration.calibrate proposes one.",
        chain=chain,
        draw=draw,
    )

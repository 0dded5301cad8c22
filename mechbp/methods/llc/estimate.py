"""The local learning coefficient of a minimum: how fast the volume of parameters that are nearly as good shrinks with the loss.

lambda = n beta (E L(w) - L(w*)), where w is drawn from the posterior at inverse temperature n beta, held near w* by a Gaussian
(Lau, Furman, Wang, Murfet and Wei 2023). It is d / 2 for a regular minimum of d parameters, and less where the loss is flat to
higher order. The loss of every batch is compared with that of the same batch at w*, which removes the noise that batches share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from torch import Tensor

from mechbp.arguments import check_memory, checked_choice, checked_count, checked_flag, checked_number
from mechbp.errors import InputError
from mechbp.methods.llc.calibration import UNSTABLE, Calibration, top_curvature
from mechbp.methods.llc.diagnostics import LEAST_DRAWS
from mechbp.methods.llc.objective import Loss, Objective
from mechbp.methods.llc.result import LLCEstimate
from mechbp.methods.llc.sgld import Sampler, Settings, run_chains
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as named_rng

CURVATURE_BATCHES = 2
"""Batches whose mean loss is asked for its curvature where none is given."""


def llc(
    loss: Loss,
    parameters: Mapping[str, Tensor],
    batches: Sequence[Any],
    *,
    n_beta: float = 82.0,
    localization: float = 1.0,
    step_size: float = 1e-4,
    chains: int = 8,
    burn_in: int = 300,
    draws: int = 700,
    rng: np.random.Generator,
    sampler: Sampler = "sgld",
    centre_gradients: bool = False,
    curvature: float | None = None,
    loss_limit: float | None = None,
    vectorise: bool | None = None,
) -> LLCEstimate:
    """Estimate the local learning coefficient at `parameters` by stochastic gradient Langevin dynamics.

    `loss` maps a dictionary of parameters and a batch to the mean loss over the batch, a scalar: for a model,
    `lambda p, b: mean_loss(torch.func.functional_call(model, p, (b.inputs,)), b.targets)`. `batches` are used in an order that
    `rng` fixes, each once an epoch and the same for all chains; [None] is for a loss without data. The arithmetic is in the
    dtype of the parameters, on their device; the parameters stay as they are.
    Two estimates from equal `rng` share batches and noise, so that their difference is less noisy than either.
    `sampler` "averaged noise" bears steps ten times as large without bias in the step size where the loss is quadratic, "mala"
    accepts or rejects steps (one batch only); `centre_gradients` removes batch noise from the gradients, for the memory of
    one gradient per batch. `curvature` is the largest eigenvalue of the Hessian at w*; None measures it on two batches.
    `vectorise` says whether gradients of all chains come from one call; None decides by size.
    Costs chains x (burn_in + draws) gradients, 16 more per chain for the acceptance, and the forward pass of each batch at w*.
    Raises InputError for arguments that do not fit, among them a step from which on SGLD diverges; ChainDiverged, naming chain
    and draw, for a loss that is not finite or out of hand (see `Settings.loss_limit`).

    >>> import mechbp, torch
    >>> parameters = {"w": torch.zeros(4, dtype=torch.float64)}
    >>> found = mechbp.llc(
    ...     lambda p, _: (p["w"] ** 2).sum(),
    ...     parameters,
    ...     [None],
    ...     n_beta=100.0,
    ...     localization=1.0,
    ...     step_size=1e-3,
    ...     chains=4,
    ...     burn_in=100,
    ...     draws=200,
    ...     rng=mechbp.rng(0, "llc"),
    ... )
    >>> bool(abs(found.estimate - 2.0) < 0.5), len(found.per_chain)
    (True, 4)
    """
    checked_generator(rng, "llc")
    settings = Settings(n_beta, localization, step_size, chains, burn_in, draws, sampler, centre_gradients, loss_limit)
    _check(settings, batches)
    if curvature is not None:
        curvature = checked_number(curvature, "llc", "curvature, if given,")
    if vectorise is not None:
        checked_flag(vectorise, "llc", "vectorise, if given,")
    objective = Objective.of(loss, parameters, batches[0], vectorise)
    _check_room(settings, objective)
    seed = int(rng.integers(2**63))
    if curvature is None:
        curvature = top_curvature(objective, batches[:CURVATURE_BATCHES], named_rng(seed, "llc", "curvature"))
    calibration = Calibration(float(curvature), n_beta, localization)
    if step_size * calibration.precision >= UNSTABLE:
        raise InputError(
            f"llc: step_size {step_size:g} x (n_beta h_max + localization) is {step_size * calibration.precision:.3g}, and the "
            f"chain diverges from {UNSTABLE:g} on: the largest curvature h_max is {curvature:.4g}.\n"
            f"Take step_size <= {calibration.step_size:.2g}."
        )
    found = run_chains(objective, batches, settings, seed)
    return LLCEstimate(
        settings=settings,
        calibration=calibration,
        losses=found.losses,
        at_minimum=found.at_minimum,
        start_loss=found.start_loss,
        distances=found.distances,
        acceptance_checks=found.acceptance,
        n_parameters=len(objective.minimum),
        vectorised=objective.vectorised,
    )


def _check(settings: Settings, batches: Sequence[Any]) -> None:
    """Raise InputError for settings without meaning."""
    if not isinstance(batches, Sequence) or not len(batches):
        raise InputError(
            f"llc: batches must be a sequence of at least one batch, got {type(batches).__name__}.\n"
            f"Pass list(loader), or [None] for a loss without data."
        )
    checked_number(settings.n_beta, "llc", "n_beta", above=0)
    checked_number(settings.step_size, "llc", "step_size", above=0)
    checked_number(settings.localization, "llc", "localization", least=0)
    if settings.loss_limit is not None:
        checked_number(settings.loss_limit, "llc", "loss_limit")
    checked_flag(settings.centre_gradients, "llc", "centre_gradients")
    for name, least, why in (
        ("chains", 2, "the standard error is the spread over chains"),
        ("burn_in", 1, "the first draw is w* itself and would pull the estimate to 0"),
        ("draws", LEAST_DRAWS, "fewer say nothing of the autocorrelation"),
    ):
        checked_count(getattr(settings, name), "llc", name, least=least, why=why)
    checked_choice(settings.sampler, "llc", "sampler", get_args(Sampler))
    if settings.sampler == "mala" and len(batches) > 1:
        raise InputError(
            f"llc: sampler 'mala' needs one batch, since it accepts by the loss of all data; got {len(batches)} batches.\n"
            f"Pass all data as one batch, or take sampler='averaged noise'."
        )


def _check_room(settings: Settings, objective: Objective) -> None:
    """Raise LimitExceeded for more chains or steps than memory holds: two numbers per step, a few vectors per chain."""
    steps = settings.burn_in + settings.draws
    vectors = 6.0 * len(objective.minimum) * objective.minimum.element_size()
    what = f"{settings.chains:,} chains of {steps:,} steps, {len(objective.minimum):,} parameters each"
    check_memory(settings.chains * (32.0 * steps + vectors), "llc", what, "Take fewer chains, or draws.")

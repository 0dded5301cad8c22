"""Measure a model that is no stored step: a control whose weights were changed, by the settings of the run's own steps."""

from __future__ import annotations

from typing import Any

from mechbp.measuring.plan import Plan
from mechbp.methods.llc.calibration import calibrate
from mechbp.methods.llc.coordinates import in_units, tensor_units
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.result import LLCEstimate
from mechbp.models.lesson_loss import lesson_batches, lesson_loss
from mechbp.models.llc_config import LLCConfig
from mechbp.models.runs import Run
from mechbp.randomness import rng

CURVATURE_BATCHES = 1
STEP = 0
"""What the one model is called in its plan."""


def measure_changed(run: Run, model: Any, setting: LLCConfig) -> LLCEstimate:
    """Estimate the local learning coefficient of `model`, of the run's architecture, on what the run was trained to do.

    Batches and noise are those of the run's own steps at this setting; the step size is what the model's own curvature allows
    where the setting leaves it open. The setting's `steps` play no part. Raises InputError as `measure` does, ChainDiverged
    where a chain leaves.
    """
    batches = lesson_batches(run.config, run.process, setting.n_batches, setting.batch_size, setting.seed)
    loss, parameters = lesson_loss(run.config, model, setting.l2)
    if setting.coordinates == "units":
        loss, parameters = in_units(loss, parameters, tensor_units(parameters))
    found = calibrate(
        loss,
        parameters,
        batches[:CURVATURE_BATCHES],
        n_beta=setting.n_beta,
        localization=setting.localization,
        rng=rng(setting.seed, "curvature"),
    )
    plan = Plan.of(setting, {STEP: found.curvature})
    return llc(
        loss,
        parameters,
        batches,
        n_beta=setting.n_beta,
        localization=setting.localization,
        step_size=plan.step_size,
        chains=setting.chains,
        burn_in=plan.burn_in,
        draws=setting.draws,
        rng=rng(setting.seed, "chains"),
        sampler=setting.sampler,
        centre_gradients=setting.centre_gradients,
        curvature=found.curvature,
    )

"""How the stored steps of a run are measured: what is left open in the recipe, and one estimate with what was decided."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mechbp.errors import InputError
from mechbp.methods.llc.calibration import UNSTABLE, Calibration, calibrate
from mechbp.methods.llc.coordinates import in_units, tensor_units
from mechbp.methods.llc.estimate import CURVATURE_BATCHES, llc
from mechbp.methods.llc.result import LLCEstimate
from mechbp.models.lesson_loss import LessonLoss, lesson_batches, lesson_loss
from mechbp.models.llc_config import LLCConfig
from mechbp.models.llc_records import CurvatureRecord, LLCRecord
from mechbp.models.objectives import Batch
from mechbp.models.runs import Run
from mechbp.randomness import rng

MAX_BURN_IN = 10**6
EARLY, LEAST_EARLY = 10, 4
"""One in so many draws, the first ones, and no fewer than this, has its own mean in a record: what a recheck repeats."""


@dataclass(frozen=True)
class Plan:
    """What all steps of one setting have in common."""

    setting: LLCConfig
    step_size: float
    burn_in: int
    curvatures: Mapping[int, float]
    """Largest curvature at each step, in the coordinates of the setting."""

    @classmethod
    def of(cls, setting: LLCConfig, curvatures: Mapping[int, float]) -> Plan:
        """Decide by the largest curvature of all steps what the setting leaves open.

        Raises InputError for a step size with which the chains diverge, and for a burn-in that does not end.
        """
        steepest = max(curvatures, key=lambda step: curvatures[step])
        calibration = Calibration(curvatures[steepest], setting.n_beta, setting.localization)
        eps = setting.step_size
        if isinstance(eps, str):
            eps = calibration.exact_step_size if setting.sampler == "averaged noise" else calibration.step_size
        burn_in = setting.burn_in
        if isinstance(burn_in, str):
            burn_in = calibration.burn_in(eps)
        which = f"llc.{setting.name}: the largest curvature is {calibration.curvature:.4g}, at step {steepest:,}"
        if eps * calibration.precision >= UNSTABLE:
            raise InputError(
                f"{which}, where chains diverge from a step size of {calibration.unstable_step_size:.2g} on, got {eps:.2g}.\n"
                f"Lower step_size, or leave it out."
            )
        if burn_in > MAX_BURN_IN:
            raise InputError(
                f"{which}; with its step size of {eps:.2g} flat directions need {burn_in:,} steps of burn-in.\n"
                f"Raise localization, lower n_beta, or set burn_in."
            )
        return cls(setting, eps, burn_in, curvatures)

    def __str__(self) -> str:
        setting = self.setting
        return (
            f"{setting.name}: step size {self.step_size:.3g}, largest curvature {max(self.curvatures.values()):.4g}; "
            f"{self.burn_in:,} + {setting.draws:,} steps of {setting.chains} chains"
        )


@dataclass(frozen=True)
class Measurer:
    """Measures stored steps of one run by one setting; `check` is called before every evaluation of the loss and may raise."""

    run: Run
    setting: LLCConfig
    check: Callable[[], None] = lambda: None

    @cached_property
    def batches(self) -> list[Batch]:
        """The same batches for every step."""
        setting = self.setting
        return lesson_batches(self.run.config, self.run.process, setting.n_batches, setting.batch_size, setting.seed)

    def curvature(self, step: int, digest: str) -> CurvatureRecord:
        """Find the largest curvature at a stored step."""
        began, setting = time.monotonic(), self.setting
        loss, parameters = self._loss(step)
        found = calibrate(
            loss,
            parameters,
            self.batches[:CURVATURE_BATCHES],
            n_beta=setting.n_beta,
            localization=setting.localization,
            rng=rng(setting.seed, "curvature"),
        )
        return CurvatureRecord(setting, step, digest, found.curvature, round(time.monotonic() - began, 1))

    def estimate(self, plan: Plan, step: int, draws: int | None = None) -> LLCEstimate:
        """Estimate the local learning coefficient at a stored step; `draws` other than the setting's see the same noise."""
        setting = self.setting
        loss, parameters = self._loss(step)
        return llc(
            loss,
            parameters,
            self.batches,
            n_beta=setting.n_beta,
            localization=setting.localization,
            step_size=plan.step_size,
            chains=setting.chains,
            burn_in=plan.burn_in,
            draws=setting.draws if draws is None else draws,
            rng=rng(setting.seed, "chains"),
            sampler=setting.sampler,
            centre_gradients=setting.centre_gradients,
            curvature=plan.curvatures[step],
        )

    def record(self, plan: Plan, step: int, digest: str) -> LLCRecord:
        """Estimate the local learning coefficient at a stored step, for llc.jsonl."""
        began = time.monotonic()
        found = self.estimate(plan, step)
        early = max(LEAST_EARLY, self.setting.draws // EARLY)
        return LLCRecord(
            setting=self.setting,
            step=step,
            digest=digest,
            step_size=plan.step_size,
            burn_in=plan.burn_in,
            curvature=plan.curvatures[step],
            estimate=found.estimate,
            standard_error=found.standard_error,
            per_chain=tuple(found.per_chain.tolist()),
            early_draws=early,
            early_per_chain=tuple(found.terms[:early].mean(axis=0).tolist()),
            plain_estimate=found.plain_estimate,
            variance_ratio=_finite(found.variance_ratio),
            effective_draws=tuple(map(_finite, found.effective_draws.tolist())),
            rhat=_finite(found.rhat),
            acceptance=tuple(found.acceptance.tolist()),
            negative_share=found.negative_share,
            start_loss=found.start_loss,
            n_parameters=found.n_parameters,
            vectorised=found.vectorised,
            cautions=tuple(found.cautions),
            torch=torch.__version__,
            seconds=round(time.monotonic() - began, 1),
        )

    def _loss(self, step: int) -> tuple[LessonLoss, dict[str, Tensor]]:
        """The loss and the parameters of a stored step, in the coordinates of the setting."""
        loss, parameters = lesson_loss(self.run.config, self.run.at(step), self.setting.l2)
        if self.setting.coordinates == "units":
            loss, parameters = in_units(loss, parameters, tensor_units(parameters))

        def checked(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
            self.check()
            return loss(parameters, batch)

        return checked, parameters


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None

"""An estimate of the local learning coefficient, with everything that says how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.llc.calibration import GOOD, Calibration
from mechbp.methods.llc.diagnostics import effective_sample_size, split_rhat
from mechbp.methods.llc.sgld import Settings
from mechbp.methods.shown import Shown

Trace = Literal["running estimate", "loss", "distance"]
POINTS = 400
"""Points drawn of each chain; longer chains are thinned evenly."""

RHAT_LIMIT, ACCEPTANCE_LIMIT = 1.05, 0.9


@dataclass(frozen=True, eq=False, repr=False)
class LLCEstimate(Shown):
    """lambda = n beta (E L(w) - L(w*)) under p(w) proportional to exp(-n beta L(w) - gamma/2 |w - w*|^2), by several chains.

    Values compare only at equal settings: they depend on n beta and gamma, and with "sgld" on the step size.
    """

    settings: Settings
    calibration: Calibration
    """Largest curvature at w*, and the step size that it allows."""
    losses: Float64[np.ndarray, "step chain"]
    """Loss of the step's batch at w_t, before the step; burn-in included."""
    at_minimum: Float64[np.ndarray, " step"]
    """Loss of the same batch at w*."""
    start_loss: float
    """Mean loss at w* over the batches that were seen."""
    distances: Float64[np.ndarray, "step chain"]
    """|w_t - w*|, burn-in included."""
    acceptance_checks: Float64[np.ndarray, "check chain"]
    """Probability that MALA accepts a step of this size, on one batch, at some steps after the burn-in."""
    n_parameters: int
    vectorised: bool
    """Whether the gradients of all chains came from one call."""

    @property
    def terms(self) -> Float64[np.ndarray, "draw chain"]:
        """n beta (L_B(w_t) - L_B(w*)) of every draw kept: the batch's own loss at w* is its control variate."""
        burn_in = self.settings.burn_in
        return self.settings.n_beta * (self.losses[burn_in:] - self.at_minimum[burn_in:, None])

    @property
    def plain_terms(self) -> Float64[np.ndarray, "draw chain"]:
        """n beta (L_B(w_t) - L(w*)) of every draw kept, with the mean loss at w*."""
        return self.settings.n_beta * (self.losses[self.settings.burn_in :] - self.start_loss)

    @property
    def per_chain(self) -> Float64[np.ndarray, " chain"]:
        """Estimate of each chain."""
        return self.terms.mean(axis=0)

    @property
    def estimate(self) -> float:
        """Mean over chains."""
        return float(self.per_chain.mean())

    @property
    def standard_error(self) -> float:
        """Standard deviation of the chains' estimates over the square root of their number.

        It holds the noise of the chains. What they share it cannot show: the batches, the bias of the step size, and modes or
        flat directions that no chain has reached.
        """
        return float(self.per_chain.std(ddof=1) / np.sqrt(len(self.per_chain)))

    @property
    def plain_estimate(self) -> float:
        """The same without the control variate: the mean sampled loss against the mean loss at w*."""
        return float(self.plain_terms.mean())

    @property
    def variance_ratio(self) -> float:
        """Variance of the terms over draws, mean over chains, relative to that of the plain terms; 1 if there is one batch."""
        plain = self.plain_terms.var(axis=0, ddof=1).mean()
        return float(self.terms.var(axis=0, ddof=1).mean() / plain) if plain > 0 else float("nan")

    @property
    def effective_draws(self) -> Float64[np.ndarray, " chain"]:
        """Number of independent draws that would tell as much of each chain's mean."""
        return effective_sample_size(self.terms)

    @property
    def rhat(self) -> float:
        """Spread of all terms relative to that within half chains; 1 where they agree."""
        return split_rhat(self.terms)

    @property
    def acceptance(self) -> Float64[np.ndarray, " chain"]:
        """Mean probability that MALA accepts a step, per chain; 0.9 to 0.95 is a good step size, lower too large a one."""
        return self.acceptance_checks.mean(axis=0)

    @property
    def negative_share(self) -> float:
        """Share of chains with a negative estimate: w* is then no minimum, or the chains have not reached the posterior."""
        return float((self.per_chain < 0).mean())

    @property
    def cautions(self) -> list[str]:
        """What speaks against the estimate, one sentence each; empty where nothing does."""
        settings = self.settings
        found = []
        stiffness = settings.step_size * self.calibration.precision
        if stiffness > GOOD * (1 + 1e-9) and settings.sampler == "sgld":
            found.append(
                f"step_size x (n_beta h_max + localization) is {stiffness:.2g}: the loss in the stiffest direction is "
                f"{1 / (1 - stiffness / 4) - 1:.1%} too large. Take step_size <= {self.calibration.step_size:.2g}."
            )
        if settings.localization == 0:
            found.append("localization is 0: flat directions wander without end.")
        elif settings.burn_in < (needed := self.calibration.burn_in(settings.step_size)):
            found.append(f"burn_in is {settings.burn_in}: flat directions forget w* only after {needed} steps.")
        if self.rhat > RHAT_LIMIT:
            found.append(f"R-hat is {self.rhat:.3f}: the chains disagree, or still drift.")
        if self.acceptance.mean() < ACCEPTANCE_LIMIT and settings.sampler != "averaged noise":
            found.append(f"MALA would accept {self.acceptance.mean():.0%} of the steps: the step size is large for this loss.")
        if self.negative_share > 0:
            found.append(f"{self.negative_share:.0%} of the chains are negative: w* may be no minimum.")
        return found

    def summary(self) -> str:
        """Return the estimate, its settings, its diagnostics and its cautions as lines of text."""
        settings = self.settings
        lines = [
            f"LLC {self.estimate:.4g} ± {self.standard_error:.2g} (standard error over {settings.chains} chains), "
            f"{self.n_parameters} parameters",
            f"n_beta {settings.n_beta:g}, localization {settings.localization:g}, step_size {settings.step_size:g}, "
            f"{settings.burn_in} + {settings.draws} steps, {settings.sampler}"
            + (", gradients centred" if settings.centre_gradients else ""),
            f"without control variate {self.plain_estimate:.4g}; variance ratio {self.variance_ratio:.3g}",
            f"effective draws per chain {np.nanmin(self.effective_draws, initial=np.inf):.0f} at least, R-hat {self.rhat:.3f}, "
            f"MALA acceptance {self.acceptance.mean():.3f}, negative chains {self.negative_share:.0%}",
        ]
        return "\n".join(lines + [f"caution: {caution}" for caution in self.cautions])

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per chain: its estimates, effective draws, acceptance and last distance from w*."""
        return pd.DataFrame(
            {
                "chain": np.arange(self.settings.chains),
                "estimate": self.per_chain,
                "plain_estimate": self.plain_terms.mean(axis=0),
                "effective_draws": self.effective_draws,
                "acceptance": self.acceptance,
                "distance": self.distances[-1],
            }
        )

    def to_dict(self, *, traces: bool = False) -> dict[str, object]:
        """Return everything for JSON; losses and distances of single steps only if asked for, since they are many."""
        plain: dict[str, object] = {
            "estimate": self.estimate,
            "standard_error": self.standard_error,
            "per_chain": self.per_chain.tolist(),
            "plain_estimate": self.plain_estimate,
            "variance_ratio": _jsonable(self.variance_ratio),
            "effective_draws": [_jsonable(value) for value in self.effective_draws.tolist()],
            "rhat": _jsonable(self.rhat),
            "acceptance": self.acceptance.tolist(),
            "negative_share": self.negative_share,
            "start_loss": self.start_loss,
            "n_parameters": self.n_parameters,
            "vectorised": self.vectorised,
            "settings": self.settings.to_dict(),
            "calibration": self.calibration.to_dict(),
            "cautions": self.cautions,
        }
        if traces:
            plain |= {name: getattr(self, name).tolist() for name in ("losses", "at_minimum", "distances")}
        return plain

    def picture(self, trace: Trace = "running estimate") -> Picture:
        """Draw every chain step by step.

        "running estimate": mean of its terms so far, after the burn-in. "loss": n beta times the loss above that at w* on the
        same batch, burn-in included. "distance": |w - w*|, likewise. Of chains of more than 400 steps 400 are drawn, evenly.
        Raises InputError for another trace.
        """
        if trace not in get_args(Trace):
            raise InputError(f"picture: trace must be one of {', '.join(map(repr, get_args(Trace)))}, got {trace!r:.40}.")
        burn_in = self.settings.burn_in
        so_far = np.cumsum(self.terms, axis=0) / np.arange(1, len(self.terms) + 1)[:, None]
        values, y_title, first = {
            "running estimate": (so_far, "LLC so far", burn_in),
            "loss": (self.settings.n_beta * (self.losses - self.at_minimum[:, None]), "n β (L_B(w) − L_B(w*))", 0),
            "distance": (self.distances, "|w − w*|", 0),
        }[trace]
        steps = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))
        series = [
            {"name": f"chain {chain}", "x": first + steps, "y": values[steps, chain], "markers": False}
            for chain in range(values.shape[1])
        ]
        level = [{"name": f"estimate {self.estimate:.4g}", "y": self.estimate}]
        return Picture(
            kind="lines",
            title=f"LLC {self.estimate:.4g} ± {self.standard_error:.2g}: {trace} of each chain",
            caption=f"{self.settings.chains} chains; {burn_in} steps are burn-in, {self.settings.draws} are kept. "
            f"± is the standard error over chains. n_beta {self.settings.n_beta:g}, localization "
            f"{self.settings.localization:g}, step_size {self.settings.step_size:g}.",
            alt=f"Lines over sampling steps, one per chain: {y_title}.",
            data={
                "x_title": "step",
                "y_title": y_title,
                "series": series,
                **({"references": level} if trace == "running estimate" else {}),
            },
        )

    def __repr__(self) -> str:
        settings = self.settings
        return (
            f"LLCEstimate({self.estimate:.4g} ± {self.standard_error:.2g}, n_beta={settings.n_beta:g}, "
            f"localization={settings.localization:g}, step_size={settings.step_size:g}, chains={settings.chains})"
        )


def _jsonable(value: float) -> float | None:
    return value if np.isfinite(value) else None

"""Attribution: estimates of patching effects from gradients, for many cells at the price of a few passes.

Attribution patching takes the gradient of the metric at the base run times the donor's change of the activation: one forward
pass of either run and one backward pass serve all cells. Integrated gradients average that gradient along a straight path of
the activation and add up to the change of the metric at the path's end. The first shows the effect of an infinitely small
patch, so it is blind where the metric saturates or a norm rescales; neither shows what a cell does together with others
unless the path moves them together. Compare with `patch` on some cells before believing either (`effect_agreement`).
(Source: Syed et al. 2023, "Attribution patching outperforms automated circuit discovery"; Sundararajan et al. 2017.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hook_check import require_sound
from mechbp.hooks import HookedModel, matching_hooks
from mechbp.methods.patching.cell_picture import cell_name, cells_frame, cells_picture
from mechbp.methods.patching.cells import cells_of, index_of, sums_by_cell
from mechbp.methods.patching.gradients import GradientRuns, Tokens, gradients_on, move, stay
from mechbp.methods.patching.metric import Direction, Metric
from mechbp.methods.patching.patch import PatchCell
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import examples, gap_caution, largest, told
from mechbp.randomness import rng as named_rng

Along = Literal["hook", "cell"]
Rule = Literal["gauss-legendre", "midpoint"]
Positions = Sequence[int | tuple[int, ...]] | None


@dataclass(frozen=True, eq=False, repr=False)
class Attributions(Shown):
    """Estimated effects of patching each cell, per example, with bootstrap intervals over examples."""

    method: str
    """How the estimates were made, in words."""
    direction: Direction
    cells: tuple[PatchCell, ...]
    """Labelled as in `PatchEffects`."""
    estimates: Float64[np.ndarray, "n cell"]
    """Estimated patched minus base metric: what `PatchEffects.effects` measures."""
    base: Float64[np.ndarray, " n"]
    donor: Float64[np.ndarray, " n"]
    gap: Interval
    """Mean of donor - base."""
    effect: Interval
    """Mean of `estimates` over examples, one per cell."""
    normalized_effect: Interval
    """Mean estimate / mean gap, one per cell."""
    completeness_error: Float64[np.ndarray, "n path"] | None = None
    """Of integrated gradients: what a path's cells add up to, minus the change of the metric from the path's start to its end:
    the exact error of the quadrature. One column per hook, or per cell where each cell has its own path."""

    def picture(self, normalized: bool = True) -> Picture:
        """Draw the estimated mean effect of every cell, in units of the mean gap or, if not `normalized`, of the metric."""
        return cells_picture(
            self.cells,
            self.normalized_effect if normalized else self.effect,
            f"Attribution, {self.direction}: {self.method}",
            "estimated effect / gap" if normalized else "estimated effect on the metric",
            f"Estimated patched minus base metric, {self.method}; the gap of the two runs is {told(self.gap)}.",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per cell: hook, layer, position, head, and both mean estimates with their interval's ends."""
        return cells_frame(self.cells, effect=self.effect, normalized=self.normalized_effect).assign(n=len(self.base))

    def summary(self) -> str:
        """Return how estimates were made, the largest, the error of integration where it is known, and n."""
        name, value = largest(self.effect.mean, [cell_name(cell) for cell in self.cells])
        lines = [
            f"{self.direction}, {self.method}: {len(self.cells)} cells",
            f"metric: base run {self.base.mean():.3g}, donor run {self.donor.mean():.3g}, gap {told(self.gap)}",
            f"largest estimate {value:.3g}: {name}",
        ]
        if self.completeness_error is not None:
            lines.append(f"largest error of a path's integral {np.abs(self.completeness_error).max():.2g}")
        return "\n".join([*lines, examples(self.gap, "pairs"), *gap_caution(self.gap)])

    def to_dict(self) -> dict[str, object]:
        """Return everything but single examples for JSON."""
        summary: dict[str, object] = {"method": self.method, "direction": self.direction}
        summary["cells"] = [cell._asdict() for cell in self.cells]
        summary |= {name: getattr(self, name).to_dict() for name in ("gap", "effect", "normalized_effect")}
        if self.completeness_error is not None:
            summary["largest_completeness_error"] = float(np.abs(self.completeness_error).max())
        return summary


def attribution_patch(
    model: HookedModel,
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    hooks: str | Iterable[str],
    *,
    direction: Direction = "denoising",
    positions: Positions = None,
    heads: bool = True,
    batch_size: int = 128,
    rng: np.random.Generator | None = None,
) -> Attributions:
    """Estimate every cell's patching effect by gradient x (donor - base), the gradient taken at the base run.

    Exact where the metric is an affine function of the activation. Arguments and cells are those of `patch`; `metric` must be
    differentiable, and its value for a row must depend on that row's logits alone. Two forward passes and one backward pass
    (and one more forward pass for more than `batch_size` pairs). Parameters keep their `grad` and `requires_grad`.
    Raises HookError for a hook that is unknown, silent or not what it is called (`check_model`), InputError for other arguments
    that do not fit.
    """
    with gradients_on():
        runs = GradientRuns("attribution_patch", model, clean, corrupted, metric, direction, batch_size)
        names = matching_hooks(model, hooks)
        require_sound(runs.where, model, names, runs.base)
        donor = runs.observe(runs.donor, names)
        base, gradient = runs.differentiate(dict.fromkeys(names, stay))
        cells = _cells(names, base.activations, runs.base, positions, heads, runs.where)
        estimates = [
            total
            for name in names
            for total in sums_by_cell(gradient[name] * (donor.activations[name] - base.activations[name]), cells[name])
        ]
    return _result("gradient at the base run", direction, cells, estimates, None, (base.metric, donor.metric), rng)


def integrated_gradients(
    model: HookedModel,
    clean: Tokens,
    corrupted: Tokens,
    metric: Metric,
    hooks: str | Iterable[str],
    along: Along,
    *,
    steps: int = 8,
    rule: Rule = "gauss-legendre",
    direction: Direction = "denoising",
    positions: Positions = None,
    heads: bool = True,
    batch_size: int = 128,
    rng: np.random.Generator | None = None,
) -> Attributions:
    """Estimate every cell's patching effect by the mean gradient along a straight path x (donor - base).

    At a in [0, 1] the activation is base + a (donor - base), everything upstream stays the base run's, everything downstream
    is computed anew. `along` says what moves: "hook" moves all of a hook's activation at once, each hook by itself, and shares
    the metric's change out among the cells (`steps` passes per hook; cells not listed move too). "cell" moves one cell alone,
    `steps` passes per cell; its integral is the exact patching effect, so it is a check on quadrature rather than a saving.
    `rule` places the `steps` nodes. The other arguments are those of `attribution_patch`, and so are the errors.
    """
    if along not in get_args(Along) or rule not in get_args(Rule) or steps < 1:
        raise InputError(
            f"integrated_gradients: need along in {get_args(Along)}, rule in {get_args(Rule)} and steps >= 1, "
            f"got {along!r}, {rule!r} and {steps}."
        )
    with gradients_on():
        runs = GradientRuns("integrated_gradients", model, clean, corrupted, metric, direction, batch_size)
        names = matching_hooks(model, hooks)
        require_sound(runs.where, model, names, runs.base)
        donor, base = (runs.observe(tokens, names) for tokens in (runs.donor, runs.base))
        cells = _cells(names, base.activations, runs.base, positions, heads, runs.where)
        estimates: list[Tensor] = []
        errors: list[Tensor] = []
        for name in names:
            change = donor.activations[name] - base.activations[name]
            for moving in cells[name] if along == "cell" else [None]:
                moved = change if moving is None else torch.zeros_like(change)
                if moving is not None:
                    moved[index_of(moving)] = change[index_of(moving)]
                product = moved * sum(
                    weight * runs.differentiate({name: partial(move, at * moved)})[1][name]
                    for at, weight in zip(*nodes(steps, rule), strict=True)
                )
                estimates += sums_by_cell(product, cells[name] if moving is None else [moving])
                end = runs.observe(runs.base, (), {name: partial(move, moved)})
                total = product.flatten(1).sum(dim=1).double().cpu()
                errors.append(total - torch.from_numpy(end.metric - base.metric))
    method = f"mean gradient along each {along}'s path, {steps} {rule} steps"
    return _result(method, direction, cells, estimates, errors, (base.metric, donor.metric), rng)


def nodes(steps: int, rule: Rule) -> tuple[Float64[np.ndarray, " step"], Float64[np.ndarray, " step"]]:
    """Return where in [0, 1] the gradient is taken and with which weights, which sum to 1."""
    if rule == "midpoint":
        return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    at, weights = np.polynomial.legendre.leggauss(steps)
    return (at + 1) / 2, weights / 2


def _cells(
    names: Sequence[str], activations: Mapping[str, Tensor], tokens: Tensor, positions: Positions, heads: bool, where: str
) -> dict[str, list[PatchCell]]:
    """The cells of each hook."""
    shapes = {name: tuple(activations[name].shape) for name in names}
    listed = cells_of(shapes, tokens.shape[1], positions, heads, where)
    return {name: [cell for cell in listed if cell.hook == name] for name in names}


def _result(
    method: str,
    direction: Direction,
    cells: Mapping[str, Sequence[PatchCell]],
    estimates: Sequence[Tensor],
    errors: Sequence[Tensor] | None,
    ends: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]],
    rng: np.random.Generator | None,
) -> Attributions:
    stacked = torch.stack(list(estimates), dim=1).detach().double().cpu().numpy()
    draw, gaps = named_rng(0, "attribution") if rng is None else rng, ends[1] - ends[0]
    return Attributions(
        method=method,
        direction=direction,
        cells=tuple(cell for found in cells.values() for cell in found),
        estimates=stacked,
        base=ends[0],
        donor=ends[1],
        gap=bootstrap_mean(gaps, draw),
        effect=bootstrap_mean(stacked, draw),
        normalized_effect=bootstrap_ratio(stacked, gaps, draw),
        completeness_error=None if errors is None else torch.stack(list(errors), dim=1).numpy(),
    )

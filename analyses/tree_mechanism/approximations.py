"""How far cheap estimates of patching effects can be trusted here: gradients against the exact sweep, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.patching import LEAST_PAIRS, WHOLE, contrast_metric, redrawn_pairs, subtree_name
from mechbp.hooks import firing_hooks
from mechbp.methods.patching.attribution import Attributions, attribution_patch, integrated_gradients
from mechbp.methods.patching.attribution_error import EstimateError, estimate_error
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, listed
from mechbp.study import Study

COMPARED = ("blocks.*.hook_resid_pre", "blocks.*.hook_attn_out", "blocks.*.hook_mlp_out")
STEPS, QUICK_STEPS = 16, 6
"""Of the path of integrated gradients."""
METHODS = {"attribution": "attribution patching", "integrated": "integrated gradients"}
DRAWN = 0.005
"""Cells are drawn if either effect is at least this large; most cells of a sweep are at 0."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Both estimates of one sweep beside the exact effects."""

    exact: PatchEffects
    estimates: dict[str, Attributions]
    agreements: dict[str, EstimateError]
    shuffled: dict[str, EstimateError]
    """The control: every cell is given another cell's estimate."""


def study_approximations(study: Study, run: Run) -> tuple[list[Claim], Section]:
    """Compare attribution patching and integrated gradients with exact patching, for the smallest and the largest corruption."""
    process = run.process
    found: dict[str, Comparison] = {}
    for depth in (process.depth, 0):
        name = WHOLE if depth == 0 else subtree_name(process.depth - depth)
        study.stage(f"{run.name}: estimated against exact effects, {name}")
        clean, corrupted = redrawn_pairs(study, run, depth, study.size(64, 12))
        if len(clean) >= LEAST_PAIRS:
            found[name] = _compare(study, run, depth, clean, corrupted)
    place = (f"approximations-{run.name}", f"{run.name}: estimated effects")
    if not found:
        reason = f"fewer than {LEAST_PAIRS} pairs with different exact answers, whatever is redrawn"
        return [], Section(*place, (), (), "skipped", reason)
    incomplete = max(_incompleteness(comparison) for comparison in found.values())
    text = (
        "Patching runs the network once per cell. Attribution patching instead takes the gradient of the metric at the "
        "unpatched run times the change of each activation; integrated gradients average that gradient while all positions "
        f"of a hook move from one run's activation to the other's, in {study.size(STEPS, QUICK_STEPS)} steps. Pairs, metric "
        "and normalisation are those of patching.",
        "Cells are the residual stream before each block and the outputs of attention and MLP, by position. "
        f"What integrated gradients add up to misses the effect of patching the whole hook by at most {incomplete:.3f}, "
        "on average over pairs.",
    )
    claims = [_claim(run, method, found) for method in METHODS]
    return claims, Section(*place, text, (_figure(run, found),))


def _compare(study: Study, run: Run, depth: int, clean: np.ndarray, corrupted: np.ndarray) -> Comparison:
    metric = contrast_metric(run, clean, corrupted)
    sides = run.task.inputs(run.process, clean), run.task.inputs(run.process, corrupted)
    hooks = firing_hooks(run.model, COMPARED, sides[0][:1])

    def draw(name: str) -> np.random.Generator:
        return study.rng(run.name, "approximations", depth, name)

    exact = patch(run.model, *sides, metric, hooks, rng=draw("exact"))
    estimates = {
        "attribution": attribution_patch(run.model, *sides, metric, hooks, rng=draw("attribution")),
        "integrated": integrated_gradients(
            run.model, *sides, metric, hooks, "hook", steps=study.size(STEPS, QUICK_STEPS), rng=draw("integrated")
        ),
    }
    order = draw("shuffled").permutation(len(exact.cells))
    return Comparison(
        exact,
        estimates,
        {name: estimate_error(found, exact, draw(f"agreement {name}")) for name, found in estimates.items()},
        {
            name: estimate_error(replace(found, estimates=found.estimates[:, order]), exact, draw(f"control {name}"))
            for name, found in estimates.items()
        },
    )


def _incompleteness(comparison: Comparison) -> float:
    """Largest mean quadrature error of any hook, in units of the mean gap."""
    errors = comparison.estimates["integrated"].completeness_error
    assert errors is not None
    return float(np.abs(errors.mean(axis=0) / comparison.exact.gap.mean).max())


def _figure(run: Run, found: dict[str, Comparison]) -> FigureData:
    series = []
    for name, comparison in found.items():
        for index, method in enumerate(METHODS):
            x, y = (
                np.round(effects.normalized_effect.mean, DECIMALS) for effects in (comparison.exact, comparison.estimates[method])
            )
            drawn = (np.abs(x) >= DRAWN) | (np.abs(y) >= DRAWN)
            series.append({"name": f"{METHODS[method]}, {name}", "x": x[drawn], "y": y[drawn], "color": index})
    return FigureData(
        id=f"fig-{run.name}-approximations",
        kind="scatter",
        title=f"{run.name}: estimated against exact patching effects",
        caption="One point per cell: normalised effect by exact patching and by either estimate. On the diagonal the estimate is "
        "exact; points below it, right of 0, are effects that it underestimates. Cells where both are less than "
        f"{DRAWN} from 0 are left out here, and count in the claims.",
        alt="Estimated against exact effects of every cell, with the line on which they are equal.",
        data={"x_title": "exact effect", "y_title": "estimated effect", "identity": True, "series": series},
    )


def _claim(run: Run, method: str, found: dict[str, Comparison]) -> Claim:
    """An estimate is good if it ranks and sizes cells; partly good if it only ranks them."""
    results = {name: comparison.agreements[method] for name, comparison in found.items()}
    key = f"{method}-agrees"
    bounds = CRITERIA[key].bounds
    controls = [estimate(comparison.shuffled[method].pearson, 2) for comparison in found.values()]
    return CRITERIA.claim(
        key,
        id=f"{run.name}-{key}",
        statement=f"In {run.name} {METHODS[method]} finds the cells that exact patching finds, and sizes them.",
        reference="no published reference for these models; a usable estimate here means correlation over cells at least "
        f"{bounds['correlated']}, slope within {bounds['off_slope']} of 1 and no cell off by more than {bounds['off_error']}",
        measured="\n".join(f"{name}: {_in_words(result)}" for name, result in results.items()),
        control=f"each cell given another cell's estimate: correlation {listed(controls)}",
        numbers={
            "gap_low": [comparison.exact.gap.low for comparison in found.values()],
            "correlation_low": [result.pearson.low for result in results.values()],
            "slope": [result.slope.mean for result in results.values()],
            "largest_error": [result.largest_error.mean for result in results.values()],
        },
        figure=f"fig-{run.name}-approximations",
    )


def _in_words(result: EstimateError) -> str:
    return (
        f"correlation {estimate(result.pearson, 2)}, rank correlation {estimate(result.spearman, 2)}, slope "
        f"{estimate(result.slope, 2)}, largest error {estimate(result.largest_error, 2)}, "
        f"{float(result.share_off.mean):.0%} of {result.n_cells} cells off by more than {result.tolerance}"
    )

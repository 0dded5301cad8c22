"""Which parts of the picture hold in every run?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyses.shared.tree_attention import smallest_rise
from analyses.shared.tree_training import curve_of, taken_in
from analyses.tree_beyond.criteria import CRITERIA
from analyses.tree_beyond.measurements import Measurements
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.theory.tree.attention import LevelMass


def claims_of(graded: Sequence[Measurements], later: Sequence[Measurements]) -> list[Claim]:
    """Return one claim per part of the picture, with a line per run; the `later` ones are told and do not count."""
    return [part(graded, [*graded, *later]) for part in (_exact, _order, _looking, _needed, _writing)]


def _claim(key: str, runs: Sequence[Mapping[str, Any]], *, measured: str, **parts: Any) -> Claim:
    """Grade a claim by the numbers of every run; the text counts the runs that the claim holds for if each is asked alone."""
    if not runs:
        return CRITERIA.claim(key, id=f"beyond-{key}", measured=f"in no run here\n{measured}", numbers=None, **parts)
    numbers = {name: [run[name] for run in runs] for name in runs[0]}
    alone = [CRITERIA.grade(key, {name: [value] for name, value in run.items()}) for run in runs]
    measured = f"holds in {alone.count('holds')} of {len(runs)} runs that are graded\n{measured}"
    return CRITERIA.claim(key, id=f"beyond-{key}", measured=measured, numbers=numbers, **parts)


def _exact(graded: Sequence[Measurements], measured: Sequence[Measurements]) -> Claim:
    lines = [
        f"{p.run.name}: KL(BP || model) {estimate(p.answers.kl_bp_to_model_nats, 4)}, accuracy "
        f"{float(p.answers.accuracy.mean):.3f} (BP {float(p.answers.best_accuracy.mean):.3f}), nearest BP_{p.nearest_level}; "
        f"KL(BP || BP_{p.leads.rivals[p.leads.next]}) less the first {estimate(p.leads.closer_nats[p.leads.next], 4)}"
        for p in measured
    ]
    return _claim(
        "exact",
        [p.leads.numbers() for p in graded],
        statement="In every run the trained model answers as its own oracle and no other: it loses less than any other does, is "
        "nearer to its own than to any, and right more often than the one that is hardest to be told from it.",
        reference="no published reference; the paper stays with one kind of grammar",
        measured="\n".join([*lines, f"n = {measured[0].answers.same_choice.n:,} sequences each"]),
        control="random weights: " + ", ".join(f"{p.untrained_kl:.2f}" for p in measured) + " nats",
        figure="fig-beyond-oracles",
    )


def _order(graded: Sequence[Measurements], measured: Sequence[Measurements]) -> Claim:
    def expected(p: Measurements) -> list[int]:
        return list(range(p.run.process.depth - 1, p.run.config.process.filter_level - 1, -1))

    def told(p: Measurements) -> str:
        if not curve_of(p.run):
            return "no training curve"
        return ", ".join(f"{k} at {p.passed[k] / 1e6:.2f} M" if k in p.passed else f"{k} never" for k in expected(p))

    lines = [f"{p.run.name}: {told(p)}" for p in measured]
    starts = [int(np.argmin([row[f"kl_model_to_bp{k}_nats"] for k in range(p.run.process.depth + 1)]))
              for p in measured for row in p.run.metrics[:1]]  # fmt: skip
    return _claim(
        "order",
        [taken_in(p.passed, p.run.process.depth, p.run.config.process.filter_level) for p in graded if curve_of(p.run)],
        statement="In every run training takes in the hierarchy from the leaves up, one level after another, to the root.",
        reference="the paper, on its grammar: 4 → 3 → 2 → 1 → 0",
        measured="sequences when BP_k overtakes BP_(k+1) for good, k at:\n" + "\n".join(lines),
        control="nearest at step 0: " + (", ".join(f"BP_{k}" for k in starts) or "not known"),
        figure="fig-beyond-ladder",
    )


def _looking(graded: Sequence[Measurements], measured: Sequence[Measurements]) -> Claim:
    def levels(mass: LevelMass) -> str:
        return ", ".join(f"{value:.2f}" for value in mass.mean_level)

    return _claim(
        "looking",
        [{"blocks": len(p.mass.mean_level), "smallest_rise": smallest_rise(p.mass)} for p in graded],
        statement="In every run each block looks on average farther up the tree than the one before, by "
        f"{CRITERIA['looking'].bounds['clear_rise_levels']:g} levels or more.",
        reference="the paper, on its grammar: levels climbed layer by layer",
        measured="mean level of the common ancestor, block by block\n"
        + "\n".join(f"{p.run.name}: {levels(p.mass)}" for p in measured)
        + f"\nn = {measured[0].mass.mass.n:,} sequences each",
        control="random weights: " + "; ".join(levels(p.control_mass) for p in measured),
        figure="fig-beyond-mass",
    )


def _needed(graded: Sequence[Measurements], measured: Sequence[Measurements]) -> Claim:
    lines = [f"{p.run.name}: {estimate(p.merging[-1][1], 3)}" for p in measured]
    bounds = CRITERIA["needed"].bounds
    return _claim(
        "needed",
        [{"averaged_high": p.merging[-1][1].high, "uniform_low": p.merging[0][1].low} for p in graded],
        statement="In every run the model needs to look at the right levels, and at nothing finer: averaging its attention "
        f"over pairs at the same level costs less than {bounds['close_nats']:g} nats, uniform attention more than "
        f"{bounds['clear_nats']:g}.",
        reference="no published reference: the paper shows maps only",
        measured="increase of KL, all blocks at once, nats\n" + "\n".join(lines) + f"\nn = {measured[0].merging[0][1].n:,} each",
        control="uniform attention: " + ", ".join(estimate(p.merging[0][1], 2) for p in measured),
        figure="fig-beyond-merging",
    )


def _writing(graded: Sequence[Measurements], measured: Sequence[Measurements]) -> Claim:
    def farthest_off(p: Measurements) -> int | None:
        return max((abs(height - block) for height, (block, _, _) in p.written.items()), default=None)

    def line(p: Measurements) -> str:
        return ", ".join(f"{height} up: block {block} (to {after:.2f})" for height, (block, _, after) in p.written.items())

    def best_of_random(grid: ProbeGrid, p: Measurements) -> float:
        scores = [grid.own_mean("r2", f"upward {p.run.process.depth - h}", "random_init").mean for h in p.written]
        return float(np.nanmax(scores))

    random = [best_of_random(p.grid, p) for p in measured if p.grid is not None]
    return _claim(
        "writing",
        [{"farthest_off": farthest_off(p)} for p in graded],
        statement="In every run block m writes the upward message of the ancestor m levels up: the R² of its probe rises most "
        "there.",
        reference="the paper, on its grammar: layer m knows ancestors up to m levels above the leaf",
        measured="largest rise of R², by levels above the leaf\n"
        + "\n".join(f"{p.run.name}: {line(p) or 'too few sequences'}" for p in measured)
        + (f"\nn = {measured[0].grid.n_test:,} held-out sequences each" if measured[0].grid else "\nn = 0"),
        control="largest R² of random weights: " + (", ".join(f"{value:.2f}" for value in random) or "0 runs measured"),
        figure="fig-beyond-messages" if random else "fig-beyond-mass",
    )

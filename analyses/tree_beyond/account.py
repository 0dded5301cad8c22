"""Runs that do not end at their own oracle: how much there was to gain, and whether they were still gaining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.tree_beyond.criteria import CRITERIA
from analyses.tree_beyond.measurements import Measurements
from mechbp.models.runs import Run
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate

SMALL, WIDE = "tree-mlm-q8", "tree-mlm-q8-wide"


def account_section(measured: Sequence[Measurements]) -> Section:
    """Set the distance left at the end beside the rungs of each run's ladder, and tell of the runs that stop above their own."""
    texts = [
        "The last rung of the ladder is the smallest: what tells BP_0 from BP_1 is all that a model gains by knowing the root. "
        "The figure sets the loss that each run was left with beside the loss of every oracle on the same sequences.",
        *(_told(p) for p in measured if p.nearest_level != p.run.config.process.filter_level),
    ]
    return Section("account", "How much was left to gain?", tuple(texts), (_gain_figure(measured), _curve_figure(measured)))


def wide_claim(measured: Sequence[Measurements]) -> Claim:
    """Grade whether a model twice as wide leaves the oracle at which the smaller one stays."""
    wide = next((p for p in measured if p.run.name == WIDE), None)
    small = next((p for p in measured if p.run.name == SMALL), None)
    return CRITERIA.claim(
        "wide",
        id="beyond-wide",
        statement="With eight symbols a model twice as wide comes down to BP_0: it loses less than BP_1 does, is nearer to BP_0 "
        "than to any other oracle, and right more often than the next.",
        reference="no published reference: the paper stays with four symbols",
        measured="0 runs of this width"
        if wide is None
        else f"KL(BP_0 || model) {estimate(wide.answers.kl_bp_to_model_nats, 4)} nats, nearest BP_{wide.nearest_level}\n"
        f"{_leads_text(wide)}\nn = {wide.answers.same_choice.n:,} sequences, one training seed",
        control="no run of the smaller width" if small is None else f"{SMALL}: {_leads_text(small)}",
        numbers=None if wide is None else wide.leads.numbers(),
        figure="fig-beyond-left",
    )


def _leads_text(p: Measurements) -> str:
    at = p.leads.next
    return (
        f"KL(BP_0 || BP_{p.leads.rivals[at]}) less KL(BP_0 || model) {estimate(p.leads.closer_nats[at], 3)} nats, accuracy above "
        f"it {estimate(p.leads.better[at], 3)}"
    )


def rule_entropy_nats(grammar: TreeGrammar) -> float:
    """Return the entropy of the pair of children given its parent, nats, mean over parents."""
    rules = grammar.rules.reshape(len(grammar.rules), -1)
    return float(-(rules * np.log(np.where(rules > 0, rules, 1))).sum(axis=1).mean())


def gain_per_doubling(run: Run, doublings: int = 1) -> float | None:
    """Return by how much KL(BP || model) fell per doubling of the sequences, over the last doublings, nats; None if not known."""
    name = f"kl_bp{run.config.process.filter_level}_to_model_nats"
    lines = [line for line in run.metrics if line["step"]]
    if len(lines) < 2:
        return None
    seen = np.log2([line["sequences"] for line in lines])
    values = np.array([line[name] for line in lines])
    return float(np.interp(seen[-1] - doublings, seen, values) - values[-1]) / doublings


def _told(p: Measurements) -> str:
    run = p.run
    own = run.config.process.filter_level
    rungs = dict(zip(p.leads.rivals, p.rungs.mean, strict=True))
    gained = gain_per_doubling(run)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    falling = "How it was trained is not known."
    if gained is not None:
        seen = run.metrics[-1]["sequences"] / 1e6
        falling = f"Over the last doubling of the sequences, to {seen:.1f} M, that fell by {gained:.3f} nats."
    return (
        f"`{run.name}` ends nearest to BP_{p.nearest_level}. A pair of children of its grammar has "
        f"{rule_entropy_nats(run.process.grammar):.2f} nats given the parent, of {2 * np.log(run.process.vocab_size):.2f} for "
        f"a free pair. On its data KL(BP_{own} || BP_k) is "
        + ", ".join(f"{value:.3f} for k = {k}" for k, value in rungs.items())
        + f" nats, and the model, of {parameters:,} parameters, is left with {estimate(p.answers.kl_bp_to_model_nats, 3)}. "
        + falling
    )


def _gain_figure(measured: Sequence[Measurements]) -> FigureData:
    deepest = max(p.run.process.depth for p in measured)
    series = [{
        "name": "model", "x": [float(p.answers.kl_bp_to_model_nats.mean) for p in measured],
        "low": [float(p.answers.kl_bp_to_model_nats.low) for p in measured],
        "high": [float(p.answers.kl_bp_to_model_nats.high) for p in measured], "color": 0,
    }]  # fmt: skip
    for k in range(1, deepest + 1):
        found = [dict(zip(p.leads.rivals, p.rungs.mean, strict=True)).get(k) for p in measured]
        series.append({"name": f"BP_{k}", "x": [None if v is None else float(v) for v in found], "color": k, "control": True})
    return FigureData(
        id="fig-beyond-left",
        kind="dots",
        title="What every run was left with, beside what every oracle loses",
        caption="Mean KL from the run's own oracle, nats, with 95 % intervals over sequences for the models; oracles on the same "
        f"sequences. n = {measured[0].answers.same_choice.n:,} per run.",
        alt="Divergence in nats on a logarithmic axis: one row per run, markers of the model and of every oracle.",
        data={
            "x_title": "KL(BP_0 || model or oracle) (nats)",
            "x_log": True,
            "categories": [p.run.name for p in measured],
            "series": series,
        },
    )


def _curve_figure(measured: Sequence[Measurements]) -> FigureData:
    series = []
    for i, p in enumerate(measured):
        lines = [line for line in p.run.metrics if line["step"]]
        name = f"kl_bp{p.run.config.process.filter_level}_to_model_nats"
        if lines:
            values = [max(line[name], 1e-4) for line in lines]
            series.append({"name": p.run.name, "x": [line["sequences"] for line in lines], "y": values, "color": i})
    place = ("fig-beyond-curves", "lines", "Distance from the exact answer along training")
    if not series:
        return FigureData(*place, "", "", status="skipped", reason="no run has a training curve")
    return FigureData(
        *place,
        caption="KL(BP || model), nats, on 512 held-out sequences at the measured steps; no interval. The learning rate falls "
        "linearly to 0 over the run, so that the last stretch is steeper than a longer run would be there.",
        alt="Lines of divergence in nats against training sequences, both axes logarithmic, one per run.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": "KL(BP || model) (nats)",
            "y_log": True,
            "series": series,
        },
    )

"""What a run's answers and its path of training say of the claims."""

from __future__ import annotations

from analyses.tree_inference.along_training import arrows, order_along_training
from analyses.tree_inference.comparison import Comparison
from analyses.tree_inference.criteria import CRITERIA
from mechbp.methods.statistics.answers import Agreement
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate, listed
from mechbp.theory.tree.oracle_table import OracleTable


def claims_of(run: Run, own: Comparison, uniform: Comparison, oracles: OracleTable | None) -> list[Claim]:
    level = run.config.process.filter_level
    name = run.name
    task = run.config.objective.task
    matched = own.oracles[level]
    control = own.control[level]
    leads = own.leads
    rival = leads.rivals[leads.next]
    at = leads.next
    order = order_along_training(run)
    root = "the paper's root models reach BP's accuracy"
    reference = {"masked": "the paper's masked models reach BP's accuracy", "root": root, "root-all": root}
    return [
        CRITERIA.claim(
            "exact",
            id=f"{name}-exact",
            statement=f"{name} gives the answers of BP_{level} and of no other oracle: it loses less against BP_{level} than any "
            f"BP_k does, is nearer to it than to any, and is right more often than BP_{rival}, the hardest to be told from it.",
            reference=reference.get(task, "no published reference"),
            measured=f"KL(BP_{level} || model) {estimate(matched.kl_bp_to_model_nats, 4, 'nats')}\n"
            f"KL(BP_{level} || BP_{rival}) less that: {estimate(leads.closer_nats[at], 4, 'nats')}\n"
            f"KL(BP_{rival} || model) less that: {estimate(leads.nearer_nats[at], 4, 'nats')}\n"
            f"accuracy {estimate(matched.accuracy, 3)}, BP {float(matched.best_accuracy.mean):.3f}, "
            f"ahead of BP_{rival} by {estimate(leads.better[at], 4)}\nn = {own.n:,} sequences",
            control=f"untrained: KL {estimate(control.kl_bp_to_model_nats, 3, 'nats')}\n"
            f"accuracy {float(control.accuracy.mean):.3f}",
            numbers=leads.numbers(),
            figure=f"fig-{name}-divergence",
        ),
        CRITERIA.claim(
            "nearest",
            id=f"{name}-nearest",
            statement=f"Of all oracles, {name} follows the one of its training data, BP_{level}, "
            "on that data and on uniform sequences.",
            reference="the paper: small divergence from BP_k in-sample and on uniform inputs",
            measured="\n".join(
                [
                    f"{label}: nearest BP_{c.nearest_level}, ahead by {estimate(c.margin, 3, 'nats')}"
                    for label, c in (("own data", own), ("uniform", uniform))
                ]
            )
            + f"\nn = {own.n:,} and {uniform.n:,}",
            control=f"untrained: nearest BP_{_nearest_by_mean(own.control)}",
            numbers={
                "nearest": [c.nearest_level for c in (own, uniform)],
                "own_level": level,
                "margin_low": [c.margin.low for c in (own, uniform)],
            },
            figure=f"fig-{name}-divergence",
        ),
        CRITERIA.claim(
            "staircase",
            id=f"{name}-staircase",
            statement=f"Training climbs the hierarchy from the leaves: the nearest oracle of {name} goes from "
            f"BP_{run.process.depth} down to BP_{level}, one level after another.",
            reference="the paper: 4 → 3 → 2 → 1 → 0",
            measured=f"order {arrows(order)}\none training seed, 512 held-out sequences at {len(run.metrics)} steps",
            control=_spread(run, oracles),
            numbers={"order": order, "depth": run.process.depth, "own_level": level} if order else None,
            figure=f"fig-{name}-staircase" if order else "",
        ),
    ]


def _spread(run: Run, oracles: OracleTable | None) -> str:
    """How far the oracles are from each other: no order can be read where they agree."""
    if oracles is None:
        return "spread between the oracles not computed for this task"
    level = run.config.process.filter_level
    spread = oracles.kl_bp_data_to_bp_oracle_nats[:, level]
    others = [f"{spread[k]:.3f} for k = {k}" for k in range(len(spread)) if k != level]
    return f"the oracles are distinct: KL(BP_{level} || BP_k) is {listed(others)} nats"


def _nearest_by_mean(oracles: list[Agreement]) -> int:
    return min(range(len(oracles)), key=lambda k: float(oracles[k].kl_model_to_bp_nats.mean))

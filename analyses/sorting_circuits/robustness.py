"""Whether other heads, no layer norm, other sizes and repeats sort the same way, and which mode has the lower loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.criteria import CRITERIA
from analyses.sorting_circuits.designs import is_variant, recipe_but_seed
from mechbp.figures.intervals import points
from mechbp.methods.statistics.cell_difference import CellDifference, cell_difference
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed
from mechbp.study import Study
from mechbp.theory.sorting.answer_scores import answer_measures
from mechbp.theory.sorting.head_ablation import ablated_forward
from mechbp.theory.sorting.owner_attention import owner_attention
from mechbp.theory.sorting.rollout import asked_logits

LISTS, QUICK_LISTS = 800, 200
PLACE = ("robustness", "Other heads, sizes and lists")
MODES = {"suppression": True, "splitting": False}
"""Labels whose losses are compared, and whether they are the members."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One run of another design."""

    sorter: Sorter
    accuracy: Interval
    """Per token, over lists."""
    first: Interval
    """How often, of the list, the answer has the most attention from the head that owns it."""
    uniform_first: float


@dataclass(frozen=True, eq=False)
class Robustness:
    """Runs of other designs, and losses by mode."""

    variants: tuple[Variant, ...]
    sorters: tuple[Sorter, ...]
    """All runs."""
    losses: Float64[np.ndarray, " run"]
    """Mean cross-entropy of each, nats."""
    by_mode: CellDifference | None
    """Copy-suppression less splitting among runs that differ in their seed alone; None where no two such runs have both."""


def robustness(study: Study, sorters: Sequence[Sorter]) -> Robustness:
    """Measure runs of other designs, and the loss of all."""
    study.stage("robustness")
    variants = []
    losses = np.empty(len(sorters))
    for row, sorter in enumerate(sorters):
        tokens = sorter.lists(study, "robustness", study.size(LISTS, QUICK_LISTS))
        run = ablated_forward(sorter.model, sorter.process, (), "zero")
        logits = asked_logits(run, sorter.model, sorter.process, tokens)
        measures = answer_measures(logits, tokens[:, sorter.process.length + 1 :])
        losses[row] = measures["cross_entropy_nats"].mean()
        if is_variant(sorter):
            variants.append(_variant(study, sorter, tokens, measures["accuracy"]))
    return Robustness(tuple(variants), tuple(sorters), losses, _by_mode(study, sorters, losses))


def _variant(study: Study, sorter: Sorter, tokens: np.ndarray, right: np.ndarray) -> Variant:
    looking = owner_attention(sorter.patterns(sorter.model, tokens), tokens, sorter.process, sorter.modes.owner)
    draw = study.rng(sorter.name, "robustness")
    return Variant(
        sorter=sorter,
        accuracy=bootstrap_mean(right.mean(axis=1), draw),
        first=bootstrap_mean(looking.first.mean(axis=1), draw),
        uniform_first=float(looking.uniform_first.mean()),
    )


def _by_mode(study: Study, sorters: Sequence[Sorter], losses: np.ndarray) -> CellDifference | None:
    rows = [row for row, one in enumerate(sorters) if one.label in MODES]
    recipes = [recipe_but_seed(sorters[row]) for row in rows]
    cells = np.array([recipes.index(recipe) for recipe in recipes], np.int64)
    member = np.array([MODES[sorters[row].label] for row in rows], bool)
    if not len(np.intersect1d(cells[member], cells[~member])):
        return None
    return cell_difference(losses[rows], member, cells, study.rng("loss by mode"))


def robustness_claims(found: Robustness) -> list[Claim]:
    """Return the claims on other designs and on losses by mode."""
    variants = found.variants
    robust = CRITERIA.claim(
        "robust",
        id="robust",
        statement="One head, three or four, no layer norm, other lengths and numbers of values, and repeats: all sort by looking "
        "at the smallest larger value and copying it.",
        reference="Urdshals and Urdshals 2025: hyper-parameters and architecture were varied; which ones is not known",
        measured="\n".join(_line(group) for group in _recipes(variants)) or "no run of another design: 0 runs",
        control="attention that knows nothing has it at "
        + (_range([one.uniform_first for one in variants]) if variants else "0 runs"),
        numbers={
            "token_low": [float(one.accuracy.low) for one in variants],
            "coverage": [one.sorter.modes.coverage for one in variants],
            "first_low": [float(one.first.low) for one in variants],
        }
        if variants
        else None,
        figure="fig-robustness" if variants else "",
    )
    difference = found.by_mode
    labelled = [one.label for one in found.sorters]
    loss = CRITERIA.claim(
        "loss-by-mode",
        id="loss-by-mode",
        statement="Of runs that differ in their seed alone, those that end in copy-suppression have the lower loss.",
        reference="Urdshals and Urdshals 2025, recalled from a weak source: copy suppression reaches lower loss than splitting",
        measured=_difference_text(difference),
        control="\n".join(
            f"{label}: {labelled.count(label)} runs, cross-entropy {_median(found, label):.5f} nats in the median"
            for label in dict.fromkeys(labelled)
        )
        or "0 runs",
        numbers=None if difference is None else {"difference_high": difference.high if np.isfinite(difference.high) else None},
        figure="fig-loss-by-mode" if found.sorters else "",
    )
    return [robust, loss]


def _recipes(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Runs that differ in their seed alone, together."""
    groups: dict[tuple[Any, ...], list[Variant]] = {}
    for one in variants:
        groups.setdefault(recipe_but_seed(one.sorter), []).append(one)
    return list(groups.values())


def _line(group: Sequence[Variant]) -> str:
    seeds = f" ({len(group)} seeds)" if len(group) > 1 else ""
    labels = Counter(one.sorter.label for one in group)
    idle = {one.sorter.name: one.sorter.modes.idle for one in group if one.sorter.modes.idle}
    heads = "".join(f"; {name}, idle heads: {listed([str(head) for head in found])}" for name, found in idle.items())
    return (
        f"{group[0].sorter.name}{seeds}: per token {_range([float(one.accuracy.mean) for one in group], 4)}, "
        f"{_range([one.sorter.modes.coverage for one in group])} of the values copied, the answer has the most attention at "
        f"{_range([float(one.first.mean) for one in group])} of the questions; "
        f"{', '.join(f'{count} {label}' for label, count in labels.items())}{heads}"
    )


def _range(values: Sequence[float], digits: int = 3) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _median(found: Robustness, label: str) -> float:
    return float(np.median([loss for loss, one in zip(found.losses, found.sorters, strict=True) if one.label == label]))


def _difference_text(found: CellDifference | None) -> str:
    if found is None:
        return "no two runs that differ in their seed alone end one in copy-suppression and one in splitting: 0 cells"
    low, high = ("no bound" if not np.isfinite(end) else f"{end:.5f}" for end in (found.low, found.high))
    return (
        f"copy-suppression less splitting {found.difference:.5f} [{low}, {high}] nats, {found.members} and {found.others} runs "
        f"in {found.cells} recipes, p {found.p:.3f} by permutation inside recipes; runs labelled both count as neither"
    )


def robustness_section(found: Robustness) -> Section:
    """Return the section; a skipped one where there is no run at all."""
    if not found.sorters:
        return Section(*PLACE, (), (), "skipped", "no run")
    text = (
        "Runs with one, three or four heads, without layer norm, with lists of other lengths, from other numbers of values or "
        "with repeats, each judged on its own lists. With one head nothing can be shared out, and there is no mode. A head is "
        "idle where it copies and suppresses less than a tenth of the values; the label is that of the best pair.",
        "Losses are compared inside recipes, between runs that differ in their seed alone. The interval is the set of "
        "differences that a permutation test inside recipes does not refuse; with few runs it has no bound.",
    )
    return Section(*PLACE, text, (*((_variants(found),) if found.variants else ()), _losses(found)))


def _variants(found: Robustness) -> FigureData:
    return FigureData(
        id="fig-robustness",
        kind="dots",
        title="Accuracy, values copied and attention to the answer in other designs",
        caption="Share of right answers per token and share of questions at which the answer has the most attention of the list, "
        "with 95 % intervals over lists; share of the values that some head copies. Hollow: first place for attention that knows "
        "nothing.",
        alt="Dots of accuracy, coverage and first place per run.",
        data={
            "x_title": "share",
            "x_range": [0.0, 1.02],
            "categories": [one.sorter.name for one in found.variants],
            "series": [
                {"name": "accuracy per token", **points([one.accuracy for one in found.variants], "x")},
                {"name": "values copied", "x": [one.sorter.modes.coverage for one in found.variants]},
                {"name": "most attention", **points([one.first for one in found.variants], "x")},
                {"name": "uniform attention", "x": [one.uniform_first for one in found.variants], "color": 2, "control": True},
            ],
        },
    )


def _losses(found: Robustness) -> FigureData:
    """One row per recipe with a run, marks by label; runs of one label and recipe are averaged, their range is the interval."""
    recipes: dict[object, list[int]] = {}
    for row, sorter in enumerate(found.sorters):
        recipes.setdefault(recipe_but_seed(sorter), []).append(row)
    labels = list(dict.fromkeys(one.label for one in found.sorters))
    cells = {
        (column, label): [found.losses[row] for row in rows if found.sorters[row].label == label]
        for column, rows in enumerate(recipes.values())
        for label in labels
    }

    def ends(label: str) -> dict[str, list[float | None]]:
        values = [cells[column, label] for column in range(len(recipes))]
        reduced = {"x": np.mean, "low": np.min, "high": np.max}
        return {key: [float(reduce(cell)) if cell else None for cell in values] for key, reduce in reduced.items()}

    return FigureData(
        id="fig-loss-by-mode",
        kind="dots",
        title="Cross-entropy by recipe and mode",
        caption="Mean over runs of one recipe and label, with the least and the greatest of them. Rows are named after a "
        "recipe's first run.",
        alt="Dots of cross-entropy per recipe, one series per label.",
        data={
            "x_title": "cross-entropy (nats)",
            "x_log": True,
            "categories": [found.sorters[rows[0]].name for rows in recipes.values()],
            "series": [{"name": label, **ends(label)} for label in labels],
        },
    )

"""Whether the heads of a splitting run own their values: without a head, exactly the answers that it owns should be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.criteria import CRITERIA
from mechbp.figures.intervals import points
from mechbp.methods.patching.ablate import Mean
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.sorting.answer_scores import answer_measures
from mechbp.theory.sorting.gaps import gap_laws
from mechbp.theory.sorting.head_ablation import StandIn, ablated_forward, expected_accuracy_without
from mechbp.theory.sorting.rollout import asked_logits

LISTS, QUICK_LISTS = 1500, 200
JUDGED = "mean"
CURVES = 2
"""Runs drawn value by value."""
DRAWN = 8
"""Runs drawn head by head."""
PLACE = ("splitting", "Do heads own their values?")


@dataclass(frozen=True, eq=False)
class Splitting:
    """Accuracy of one run without each head, against what owning would leave."""

    sorter: Sorter
    expected: Float64[np.ndarray, " head"]
    """1 - P(the answer is a value that the head owns), exactly."""
    accuracy: dict[str, Interval]
    """By stand-in, one per head, over lists."""
    guesses: Float64[np.ndarray, " head"]
    """Share of all answers that are the head's own and yet right without it, by the stand-in that is judged."""
    by_value: Interval
    """Accuracy without each head [head, value], by right answer."""

    @property
    def deviation(self) -> Float64[np.ndarray, " head"]:
        """Distance of the judged accuracy from what was expected."""
        return np.abs(self.accuracy[JUDGED].mean - self.expected)


def splitting(study: Study, sorter: Sorter) -> Splitting:
    """Take each head of one run away."""
    study.stage(f"{sorter.name}: values without their head")
    process = sorter.process
    n = study.size(LISTS, QUICK_LISTS)
    tokens = sorter.lists(study, "splitting", n)
    truth = tokens[:, process.length + 1 :]
    draw = study.rng(sorter.name, "splitting")
    stand_ins: dict[str, StandIn] = {"zero": "zero", "mean": Mean(sorter.lists(study, "splitting means", n))}
    owner = sorter.modes.owner
    right = {}
    for name, stand_in in stand_ins.items():
        runs = [ablated_forward(sorter.model, process, (head,), stand_in) for head in range(sorter.n_heads)]
        logits = [asked_logits(run, sorter.model, process, tokens) for run in runs]
        right[name] = np.stack([answer_measures(found, truth)["accuracy"] for found in logits], axis=1)
    own = owner[truth][:, None] == np.arange(sorter.n_heads)[:, None]
    member = (truth[..., None] == np.arange(process.vocab_size)).astype(np.float64)
    return Splitting(
        sorter=sorter,
        expected=expected_accuracy_without(owner, gap_laws(process).frequency, sorter.n_heads),
        accuracy={name: bootstrap_mean(found.mean(axis=2), draw) for name, found in right.items()},
        guesses=(right[JUDGED] * own).mean(axis=(0, 2)),
        by_value=bootstrap_ratio(
            np.einsum("nha,nav->nhv", right[JUDGED], member), member.sum(axis=1)[:, None], draw, resamples=500
        ),
    )


def splitting_claim(found: Sequence[Splitting], known: Sequence[Splitting] = ()) -> Claim:
    """Return the claim; known: the same numbers of compiled splitters."""
    return CRITERIA.claim(
        "split-ablation",
        id="split-ablation",
        statement="Without one head of a splitting run, the answers that this head owns are wrong, and no others.",
        reference="exact: where every value is copied by one head alone, accuracy without a head is 1 less the probability that "
        "the answer is a value it owns",
        measured="\n".join(_line(one) for one in found) or "no run is labelled splitting: 0 runs",
        control="\n".join(
            [
                *(_line(one) for one in known),
                "where heads overlap fully, accuracy without either is 1, and deviates by the share owned",
            ]
        ),
        numbers={"deviation": [float(value) for one in found for value in one.deviation]} if found else None,
        figure="fig-splitting" if found else "",
    )


def _line(one: Splitting) -> str:
    heads = (
        f"without head {head} {estimate(one.accuracy[JUDGED][head])} (by zero {estimate(one.accuracy['zero'][head])}), expected "
        f"{one.expected[head]:.3f}, own values yet right {one.guesses[head]:.3f}"
        for head in range(len(one.expected))
    )
    return f"{one.sorter.name}: {'; '.join(heads)}"


def splitting_section(found: Sequence[Splitting], known: Sequence[Splitting] = ()) -> Section:
    """Return the section; a skipped one where no run splits the values."""
    if not found:
        return Section(*PLACE, (), (), "skipped", "no run here is labelled splitting")
    text = (
        "Each head is replaced by its mean, position by position, over other lists. If every value were copied by one head "
        "alone, exactly the answers that are the head's own would then be wrong. Which head owns a value is read from the "
        "diagonals of OV; how often a value is an answer is known exactly.",
        "A mean still says how frequent values are at each position, so that a model without the head may guess: a value that is "
        "often the answer at that position is right now and then. Replaced by nothing, the head of a compiled splitter leaves "
        "exactly what is expected; its mean leaves more, by the share of its own values that are right nonetheless.",
    )
    return Section(*PLACE, text, (_heads_figure(found[:DRAWN], known), _values_figure(found[:CURVES])))


def _heads_figure(found: Sequence[Splitting], known: Sequence[Splitting]) -> FigureData:
    rows = [(one, head) for one in [*found, *known] for head in range(len(one.expected))]
    return FigureData(
        id="fig-splitting",
        kind="dots",
        title="Accuracy without one head, and what owning would leave",
        caption="Share of right answers with one head replaced by its mean or by nothing, 95 % intervals over lists; expected: "
        "1 less the probability that the answer is a value that the head owns. Compiled splitters last.",
        alt="Dots of accuracy by run and head, for two stand-ins and for the exact expectation.",
        data={
            "x_title": "share of right answers",
            "x_range": [0.0, 1.02],
            "categories": [f"{one.sorter.name}, without head {head}" for one, head in rows],
            "series": [
                *({"name": name, **points([one.accuracy[name][head] for one, head in rows], "x")} for name in (JUDGED, "zero")),
                {"name": "expected", "x": [float(one.expected[head]) for one, head in rows], "control": True},
            ],
        },
    )


def _values_figure(found: Sequence[Splitting]) -> FigureData:
    series = []
    for index, one in enumerate(found):
        for head in range(len(one.expected)):
            at = np.flatnonzero(np.isfinite(one.by_value.mean[head]))
            ends = {"y": one.by_value.mean, "low": one.by_value.low, "high": one.by_value.high}
            series.append(
                {
                    "name": f"{one.sorter.name}, without head {head}",
                    "x": at.tolist(),
                    **{key: values[head, at].tolist() for key, values in ends.items()},
                    "color": 2 * index + head,
                }
            )
    return FigureData(
        id="fig-splitting-values",
        kind="lines",
        title="Accuracy without one head, value by value",
        caption="Share of right answers by the right answer, with the head's mean in its place, and 95 % intervals over lists.",
        alt="Lines of accuracy over values, one per head that is taken away.",
        data={"x_title": "right answer", "y_title": "share of right answers", "y_range": [0.0, 1.02], "series": series},
    )

"""Where the belief about topics can be read, beside what the histogram of shown words already tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.figures.intervals import points
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import Interval, bootstrap_ratio
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, panel
from mechbp.study import Study

ASKED = "asked"
ELSEWHERE = "elsewhere"
RESPONSIBILITY = "own topic"
HISTOGRAM = "histogram"
TARGETS = (ASKED, ELSEWHERE, RESPONSIBILITY)
POSITIONS = 6
"""Positions probed; order means nothing in a document, so that a few stand for all."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Probes of one run at every stage."""

    subject: Subject
    grid: ProbeGrid
    closed: Interval
    """By stage: 1 - squared error of the probe at the asked position over that of a ridge on the histogram."""
    random_closed: float
    """The same of random weights, highest of all stages."""
    disjoint: bool

    @property
    def random_r2(self) -> float:
        """R² at the asked position of random weights, at the stage where it is highest."""
        return float(self.grid.own_mean("r2", ASKED, "random_init").mean.max())

    @property
    def at_last(self) -> Interval:
        """R² at the asked position after the last block."""
        return self.grid.own_mean("r2", ASKED)[-1]


def reading(study: Study, subject: Subject) -> Reading:
    """Fit and score the probes."""
    study.stage(f"{subject.name}: probes")
    documents = subject.hidden_words(study, "probes", study.size(2000, 200))
    n_positions = documents.shown.shape[1]
    probed = np.arange(n_positions) < POSITIONS
    others = probed & (np.arange(n_positions) > 0)
    own = {
        ASKED: np.where(np.arange(n_positions) == 0, 0, -1),
        ELSEWHERE: np.where(others, 0, -1),
        RESPONSIBILITY: np.where(others, np.arange(n_positions), -1),
    }
    beliefs = documents.beliefs
    proportions = beliefs.proportions[:, None]
    grid = probe(
        subject.run.model,
        documents.shown,
        {ASKED: proportions, ELSEWHERE: proportions, RESPONSIBILITY: beliefs.assignments},
        list(subject.stages.values()),
        rng=study.rng(subject.name, "probes"),
        control_model=subject.controls[0],
        own=own,
        only_own=True,
        baselines={HISTOGRAM: documents.histogram},
    )
    errors = {
        source: scores.per_example[ASKED]["squared_error"].T
        for source, scores in (("model", grid.model), *((name, grid.controls[name]) for name in (HISTOGRAM, "random_init")))
    }
    return Reading(
        subject,
        grid,
        _closed(errors["model"], errors[HISTOGRAM], study.rng(subject.name, "closed")),
        float((1 - errors["random_init"].mean(axis=0) / errors[HISTOGRAM].mean(axis=0)).max()),
        subject.process.are_disjoint,
    )


def _closed(model: np.ndarray, histogram: np.ndarray, rng: np.random.Generator) -> Interval:
    """Part of the histogram's squared error that the model's probe does not make, [stage]; arrays are [example, stage]."""
    return bootstrap_ratio(histogram - model, histogram, rng)


def reading_claim(found: Sequence[Reading]) -> Claim:
    """The belief is read at the asked position, and where topics overlap better than from the histogram."""
    bounds = CRITERIA["belief-held"].bounds
    lines = []
    for one in found:
        line = f"{one.subject.name}: R² {estimate(one.at_last, 4)} after the last block"
        if not one.disjoint:
            line += f"; {estimate(one.closed[-1], 2)} of what the histogram misses"
        lines.append(line)
    controls = []
    for one in found:
        histogram = one.grid.own_mean("r2", ASKED, HISTOGRAM)[-1]
        shuffled = float(one.grid.own_mean("r2", ASKED, "shuffled").mean[-1])
        controls.append(
            f"{one.subject.name}: ridge on the histogram R² {estimate(histogram, 4)}, random weights {one.random_r2:.3f}, "
            f"shuffled beliefs {shuffled:.3f}"
        )
    return CRITERIA.claim(
        "belief-held",
        id="belief-held",
        statement=f"The exact belief E[theta] is read linearly (R² at least {bounds['readable']}) where a hidden word is asked "
        f"for; where topics overlap, with less than {1 - bounds['closed']:.0%} of the squared error that a linear reading of the "
        "histogram has.",
        reference="for topics without shared words the histogram is an exact linear statistic, so that only availability at the "
        "asked position can be a finding there",
        measured="\n".join(lines) + f"\n{found[0].grid.n_test} held-out documents",
        control="\n".join(controls),
        numbers={
            "r2_low": [float(one.at_last.low) for one in found],
            "random_r2": [one.random_r2 for one in found],
            "disjoint": [one.disjoint for one in found],
            "closed_low": [float(one.closed[-1].low) for one in found],
            "r2": [float(one.at_last.mean) for one in found],
            "histogram_r2": [float(one.grid.own_mean("r2", ASKED, HISTOGRAM).mean[-1]) for one in found],
            "closed_part": [float(one.closed[-1].mean) for one in found],
        },
        figure="fig-probes",
    )


def reading_section(found: Sequence[Reading]) -> Section:
    """Return the section with its figures."""
    text = (
        "Ridge probes on documents that were not fitted read the exact E[theta] given the words shown, at the asked position and "
        f"at {POSITIONS - 1} others, and the exact probability of each topic for the position's own word. The histogram of shown "
        "words is an exact linear statistic where topics share no word: there a probe can show that the sum over words has "
        "arrived at a position, but no inference. Where topics overlap E[theta] is not linear in the counts: a ridge on the "
        "histogram leaves an error, and how much less a probe leaves is a measure of inference that a sum does not make.",
        "The topic of a word shown is the word itself where topics share no word, and can be read from its embedding; in a ring "
        "the topics of ambiguous words depend on the rest of the document.",
    )
    stages = max((list(one.subject.stages) for one in found), key=len)
    panels = []
    for one in found:
        for source, title in (("model", "trained"), ("random_init", "random weights")):
            scores = Interval.stack([one.grid.own_mean("r2", target, source) for target in TARGETS], axis=1)
            panels.append(panel(f"{one.subject.name}, {title}", scores) | {"rows": list(one.subject.stages)})
    heat = FigureData(
        id="fig-probes",
        kind="heatmap",
        title="What can be read from the residual stream",
        caption=f"Held-out R² of ridge probes, {found[0].grid.n_test} test documents: of E[theta] at the asked position and "
        "elsewhere, and of the probability of each topic for a position's own word. Intervals in hover and table.",
        alt="Heat maps of R², stages of the network in rows, targets in columns, trained and random weights of every run.",
        data={
            "rows": stages, "columns": list(TARGETS), "row_title": "read from", "column_title": "target", "value_title": "R²",
            "range": [0, 1], "cell_text": True, "panel_columns": 2, "panels": panels,
        },
    )  # fmt: skip
    overlapping = [one for one in found if not one.disjoint]
    return Section("probes", "Where is the belief held?", text, (heat, *map(_gap, overlapping)))


def _gap(one: Reading) -> FigureData:
    return FigureData(
        id=f"fig-{one.subject.name}-beyond",
        kind="dots",
        title=f"{one.subject.name}: E[theta] beyond the histogram",
        caption="Part of the squared error of a ridge on the histogram that a probe at the asked position does not make, with 95 "
        "% intervals over documents: 1 is the exact belief, 0 no more than the histogram, below 0 less; the axis ends at -1. "
        f"Random weights at their best stage: {one.random_closed:.2f}.",
        alt="Part of the gap between a linear reading of the histogram and the exact belief that is closed, by stage.",
        data={
            "x_title": "part of the gap from linear to exact that is closed",
            "x_range": [-1, 1.02],
            "categories": list(one.subject.stages)[1:],
            "series": [{"name": "probe of the model", **points([one.closed[i] for i in range(1, len(one.subject.stages))], "x")}],
            "references": [{"name": "histogram", "x": 0.0}],
        },
    )

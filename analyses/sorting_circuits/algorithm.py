"""Does the model sort, look at the smallest larger value, and copy what it looks at?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.criteria import CRITERIA
from mechbp.figures.intervals import points
from mechbp.methods.circuits.order_scores import OrderScores, order_scores
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.sorting.answer_scores import AnswerScores
from mechbp.theory.sorting.attention_classes import CLASSES, class_attention
from mechbp.theory.sorting.head_ablation import ablated_scores
from mechbp.theory.sorting.idealised import in_rank_order
from mechbp.theory.sorting.owner_attention import owner_attention

LISTS, QUICK_LISTS = 1000, 200
TWIN_SEED = 1
DRAWN = 2
"""Runs whose attention is drawn as maps."""


@dataclass(frozen=True, eq=False)
class Looking:
    """Attention of one model, from the head that owns each answer."""

    first: Interval
    larger: Interval
    uniform_first: float
    uniform_larger: float


@dataclass(frozen=True, eq=False)
class Algorithm:
    """What one run does."""

    sorter: Sorter
    scores: AnswerScores
    rolled_out: Interval
    """Share of lists sorted where the model goes on from its own answers."""
    looking: Looking
    untrained: Looking
    order: OrderScores
    by_class: Interval
    """Attention [head, class]."""
    uniform_by_class: Float64[np.ndarray, " class"]
    maps: Float64[np.ndarray, "head asked key"]
    """Mean attention with the list's keys in ascending order."""
    untrained_coverage: float


def algorithm(study: Study, sorter: Sorter) -> Algorithm:
    """Watch one run sort."""
    study.stage(f"{sorter.name}: algorithm")
    tokens = sorter.lists(study, "algorithm", study.size(LISTS, QUICK_LISTS))
    draw = study.rng(sorter.name, "algorithm")
    scores = ablated_scores(sorter.model, sorter.process, tokens, (), "zero", rng=draw)
    assert scores.rolled_out is not None, "asked for by default"
    patterns = sorter.patterns(sorter.model, tokens)
    classes = class_attention(patterns, tokens, sorter.process)
    twin = Sorter.untrained(sorter.run, TWIN_SEED)
    values = np.arange(sorter.process.vocab_size)
    return Algorithm(
        sorter=sorter,
        scores=scores,
        rolled_out=scores.rolled_out,
        looking=_looking(study, sorter, tokens, patterns),
        untrained=_looking(study, twin, tokens, twin.patterns(twin.model, tokens)),
        order=order_scores(sorter.qk, np.append(values, -1), values),
        by_class=classes.over_asked(draw),
        uniform_by_class=classes.mean_uniform.mean(axis=0),
        maps=in_rank_order(patterns, tokens, sorter.process).mean(axis=0),
        untrained_coverage=twin.modes.coverage,
    )


def answer_attention(study: Study, sorter: Sorter) -> Looking:
    """Return the attention of the answers' owners, of the lists that the page watches."""
    tokens = sorter.lists(study, "algorithm", study.size(LISTS, QUICK_LISTS))
    return _looking(study, sorter, tokens, sorter.patterns(sorter.model, tokens))


def _looking(study: Study, sorter: Sorter, tokens: np.ndarray, patterns: np.ndarray) -> Looking:
    found = owner_attention(patterns, tokens, sorter.process, sorter.modes.owner)
    draw = study.rng(sorter.name, "owner")
    return Looking(
        first=bootstrap_mean(found.first.mean(axis=1), draw),
        larger=bootstrap_mean(np.nanmean(found.larger, axis=1), draw),
        uniform_first=float(found.uniform_first.mean()),
        uniform_larger=float(found.uniform_larger.mean()),
    )


def algorithm_claims(found: Sequence[Algorithm]) -> list[Claim]:
    """Return the claims that models sort, select and copy."""
    names = [one.sorter.name for one in found]
    sorts = CRITERIA.claim(
        "sorts",
        id="sorts",
        statement="One block of attention alone learns to sort.",
        reference="accuracy .9989 per token (a published model of the same shape); the exact answer is always right",
        measured="\n".join(
            f"{name}: per token {estimate(one.scores.accuracy, 4)}, whole lists {estimate(one.scores.list_accuracy)}, going on "
            f"from its own answers {estimate(one.rolled_out)}; cross-entropy "
            f"{estimate(one.scores.cross_entropy_nats, 4, 'nats')}"
            for name, one in zip(names, found, strict=True)
        ),
        control="the current token and position alone give .196 at 10 of 51 values; values larger than the current one, in no "
        "order, .293",
        numbers={
            "token_low": [float(one.scores.accuracy.low) for one in found],
            "list": [float(one.scores.list_accuracy.mean) for one in found],
            "rolled_out": [float(one.rolled_out.mean) for one in found],
        },
    )
    selects = CRITERIA.claim(
        "selects",
        id="selects",
        statement="The head that copies the answer looks at values above the current one, and most at the smallest of them.",
        reference="Urdshals and Urdshals 2025: QK attends to larger numbers, more to the smaller of these",
        measured="\n".join(
            f"{name}: the answer has the most attention of the list at {estimate(one.looking.first)} of the questions, larger "
            f"values have {estimate(one.looking.larger)} of the attention to the list; triples of QK in order "
            f"{', '.join(f'{share:.3f}' for share in one.order.nearest_first)} by head"
            for name, one in zip(names, found, strict=True)
        ),
        control="\n".join(
            f"{name}, random weights: {estimate(one.untrained.first)} and {estimate(one.untrained.larger)}; attention that "
            f"knows nothing {one.looking.uniform_first:.3f} and {one.looking.uniform_larger:.3f}"
            for name, one in zip(names, found, strict=True)
        ),
        numbers={
            "first_low": [float(one.looking.first.low) for one in found],
            "larger_low": [float(one.looking.larger.low) for one in found],
        },
        figure="fig-attention",
    )
    copies = CRITERIA.claim(
        "copies",
        id="copies",
        statement="Every value is copied forward by the OV circuit of some head.",
        reference="Urdshals and Urdshals 2025: OV copies tokens of the context forward",
        measured="\n".join(
            f"{name}: {one.sorter.modes.coverage:.3f} of the values; by head "
            f"{', '.join(f'{share:.2f}' for share in one.sorter.modes.copy_share)}"
            for name, one in zip(names, found, strict=True)
        ),
        control="random weights: " + ", ".join(f"{one.untrained_coverage:.3f}" for one in found),
        numbers={"coverage": [one.sorter.modes.coverage for one in found]},
        figure="fig-circuits",
    )
    return [sorts, selects, copies]


def algorithm_section(found: Sequence[Algorithm]) -> Section:
    """Return the section with attention by class of key and in order of rank."""
    text = (
        "A sequence is a list, a separator, and the list in ascending order. After the separator and after every value named "
        "the model is asked for the smallest value of the list above the current one; that is all the answer depends on. The "
        "exact answer is one value, so that all cross-entropy and all entropy is the model's own.",
        "The owner of a value is the head whose OV circuit adds most to its own logit. Attention is read from the owner of "
        "each answer, since heads may share the values between them; attention outside the list is left out there, and shown "
        "below.",
    )
    figures = (_maps_figure(found[:DRAWN]), _classes_figure(found[:DRAWN]))
    return Section("algorithm", "Look at the smallest larger value, and copy it", text, figures)


def _maps_figure(found: Sequence[Algorithm]) -> FigureData:
    length = max(one.sorter.process.length for one in found)
    panels = []
    for one in found:
        n = one.sorter.process.length
        rows = ["SEP", *(f"b{i}" for i in range(1, n))]
        columns = [f"a({i})" for i in range(1, n + 1)] + ["SEP", *(f"b{i}" for i in range(1, n))]
        panels += [
            {"title": f"{one.sorter.name}, head {head}", "values": values.round(3).tolist(), "rows": rows, "columns": columns}
            for head, values in enumerate(one.maps)
        ]
    return FigureData(
        id="fig-attention",
        kind="heatmap",
        title="Mean attention, the list's values in ascending order",
        caption="Rows: the token asked at. Columns: keys, first the values of the list by rank, a(1) the least, then the "
        "separator and the values named so far. Attention to the smallest larger value is the diagonal of the first part. "
        "Mean over lists that training has not seen.",
        alt="Heat maps of attention by token asked at and key in ascending order, one per head.",
        data={
            "rows": [f"row {i}" for i in range(length)],
            "columns": [f"column {i}" for i in range(2 * length)],
            "row_title": "asked at",
            "column_title": "key",
            "value_title": "attention",
            "range": [0.0, 1.0],
            "panel_columns": 2,
            "panels": panels,
        },
    )


def _classes_figure(found: Sequence[Algorithm]) -> FigureData:
    series = []
    for index, one in enumerate(found):
        series += [
            {
                "name": f"{one.sorter.name}, head {head}",
                **points([one.by_class[head, kind] for kind in range(len(CLASSES))], "y"),
                "color": 2 * index + head,
            }
            for head in range(one.sorter.n_heads)
        ]
        series.append(
            {"name": f"{one.sorter.name}, uniform", "y": one.uniform_by_class.tolist(), "color": 2 * index, "control": True}
        )
    return FigureData(
        id="fig-classes",
        kind="bars",
        title="Attention by class of key",
        caption="Mean attention from all positions asked at, with 95 % intervals over lists. Own position: the token asked "
        "at; outputs: values named before it; current: the current value where it stands in the list. Hollow: the same "
        "attention to every key.",
        alt="Bars of mean attention per class of key, one series per head, and uniform attention beside them.",
        data={"y_title": "attention", "categories": list(CLASSES), "series": series},
    )

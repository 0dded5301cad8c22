"""Scores held against the truth of one question: with the method's own decisions, and without any threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.metrics import average_precision_score, roc_auc_score

from mechbp.brief import Brief
from mechbp.judging.answer import Answer
from mechbp.judging.truth import RIGHT, TRUTHS, Kind, Truth


@dataclass(frozen=True, eq=False, repr=False)
class Score(Brief):
    """How one question was answered."""

    said: Float64[np.ndarray, " truth"]
    """Of the candidates of each truth, in the order of TRUTHS, the share that was said yes of; NaN where there are none."""
    auroc: float
    average_precision: float
    chance_precision: float
    """Average precision of scores that know nothing: the share of judged candidates whose right answer is yes."""


def scored(answer: Answer, truth: Sequence[Truth], kind: Kind) -> Score:
    """Hold an answer against the truth. Candidates without a right answer count in `said` only, of which nothing is judged."""
    right = np.array([np.nan if RIGHT[kind][what] is None else float(RIGHT[kind][what] or 0) for what in truth])
    judged = ~np.isnan(right)
    yes = right[judged] == 1
    found = answer.found.astype(float) if answer.found is not None else highest(answer.scores, judged, int(yes.sum()))
    rows = [np.array([what == name for what in truth]) for name in TRUTHS]
    said = np.array([found[row].mean() if row.any() else np.nan for row in rows])
    auroc = float(roc_auc_score(yes, answer.scores[judged]))
    return Score(said, auroc, float(average_precision_score(yes, answer.scores[judged])), float(yes.mean()))


def highest(
    scores: Float64[np.ndarray, " candidate"], judged: Bool[np.ndarray, " candidate"], k: int
) -> Float64[np.ndarray, " candidate"]:
    """Return 1 for the k judged candidates with the highest scores, 0 below; ties at the edge share what is left."""
    order = np.sort(scores[judged])[::-1]
    edge = order[k - 1]
    above = scores > edge
    tied = scores == edge
    left = k - int((above & judged).sum())
    return above + tied * left / int((tied & judged).sum())

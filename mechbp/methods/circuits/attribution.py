"""What each head adds to the logit of the correct token, per correct token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int, Integer

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame, panel


@dataclass(frozen=True, eq=False, repr=False)
class AnswerAttribution(Shown):
    """Mean contribution of each head to the correct token's logit; NaN for a token that was never correct."""

    by_answer: Float64[np.ndarray, "output head"]
    """Mean over the questions whose answer is that token, nats."""
    counts: Int[np.ndarray, " output"]
    """Questions with that answer."""
    mean: Float64[np.ndarray, " head"]
    """Mean over all questions, nats."""

    def picture(self) -> Picture:
        """Draw what each head adds to the correct token's logit, by correct token."""
        outputs, heads = self.by_answer.shape
        return Picture(
            kind="heatmap",
            title="What each head adds to the correct logit",
            caption=f"Mean over the questions with that answer, nats; n = {int(self.counts.sum()):,} questions in all. Gaps: "
            "tokens that were never correct. An exact sum taken apart: no interval.",
            alt=f"Heat map of {heads} heads by {outputs} answers: what the head adds to the logit of the answer.",
            data={
                "rows": [f"head {head}" for head in range(heads)],
                "columns": [str(output) for output in range(outputs)],
                "value_title": "added to the correct logit (nats)",
                "column_title": "answer",
                "scale": "diverging",
                "panels": [panel("", self.by_answer.T)],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per answer and head: what the head adds, and the questions with that answer."""
        outputs, heads = self.by_answer.shape
        counts = np.repeat(self.counts[:, None], heads, axis=1)
        return frame({"answer": range(outputs), "head": range(heads)}, {"added_nats": self.by_answer, "n": counts})

    def summary(self) -> str:
        """Return what every head adds on average, and the number of questions."""
        added = ", ".join(f"head {head} {value:.3g}" for head, value in enumerate(self.mean))
        return f"added to the correct logit, mean: {added} nats\nn = {int(self.counts.sum()):,} questions"


def answer_attribution(
    heads: Float64[np.ndarray, "n position head output"], answers: Integer[np.ndarray, "n position"]
) -> AnswerAttribution:
    """Return the mean of heads[.., answer] per answer and head.

    heads: what each head adds to logits, less its mean over outputs, as `decompose(...).heads`. answers: the correct output of
    each question. Raises InputError for answers that do not fit.
    """
    values = np.asarray(heads, np.float64)
    correct = np.asarray(answers)
    if values.ndim != 4 or correct.shape != values.shape[:2] or correct.dtype.kind not in "iu" or not correct.size:
        raise InputError(
            f"answer_attribution: heads must be [n, position, head, output] and answers integers [n, position], at least one,\n"
            f"got {list(values.shape)} and {list(correct.shape)} of {correct.dtype}."
        )
    outputs = values.shape[-1]
    if correct.min() < 0 or correct.max() >= outputs:
        raise InputError(f"answer_attribution: answers must be in 0..{outputs - 1}, got {correct.min()}..{correct.max()}.")
    added = np.take_along_axis(values, correct[..., None, None], axis=-1)[..., 0].reshape(correct.size, -1)
    flat = correct.ravel()
    counts = np.bincount(flat, minlength=outputs)
    sums = np.zeros((outputs, added.shape[1]))
    np.add.at(sums, flat, added)
    by_answer = np.full_like(sums, np.nan)
    by_answer[counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return AnswerAttribution(by_answer, counts, added.mean(axis=0))

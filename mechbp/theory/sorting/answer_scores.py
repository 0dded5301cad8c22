"""How a model sorts, judged answer by answer: accuracy, loss, confidence and calibration, whole and by value and gap.

The exact answer is one value, so that cross-entropy is KL(exact || model) and all entropy is the model's own error. An answer is
right if its logit is strictly the largest: a tie is no answer. Teacher forcing and rolling out are different numbers and are kept
apart: in the former the true values stand before every answer, in the latter the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int
from scipy.special import log_softmax, xlogy

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.confidence import calibration_error
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import dots, examples, named, told
from mechbp.randomness import checked_generator

By = Literal["all", "value", "gap"]

RESAMPLES = 1000


@dataclass(frozen=True, eq=False, repr=False)
class GroupScores(Brief):
    """Means over the answers of a group, one per group, with intervals over lists; NaN where there is no such answer."""

    accuracy: Interval
    cross_entropy_nats: Interval
    entropy_nats: Interval
    confidence: Interval
    """Largest probability."""
    count: Int[np.ndarray, " group"]
    """Answers."""

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON; what is undefined becomes None."""
        means = {name: value.to_dict() for name, value in vars(self).items() if isinstance(value, Interval)}
        return {**means, "count": self.count.tolist()}


@dataclass(frozen=True, eq=False, repr=False)
class AnswerScores(Shown):
    """How a model sorts lists; means over answers or over lists, with bootstrap intervals over lists."""

    accuracy: Interval
    """Share of right answers, teacher forced."""
    list_accuracy: Interval
    """Share of lists with right answers only, teacher forced."""
    rolled_out: Interval | None
    """Share of lists sorted where the model goes on from its own answers; None where that was not asked."""
    cross_entropy_nats: Interval
    entropy_nats: Interval
    confidence: Interval
    """Largest probability."""
    calibration_error: Interval
    """Mean over bins of |confidence - accuracy|, weighed by answers; resampling adds noise, and noise raises it."""
    by_value: GroupScores
    """By right answer."""
    by_gap: GroupScores
    """By right answer minus the value before it, 0..V-1; the first answer of a list has no gap."""
    per_list: Mapping[str, Float64[np.ndarray, " n"]]
    """Each list's own mean, by the names of the means above; no calibration error."""

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON, without single lists; what is undefined becomes None."""
        means = {name: value.to_dict() for name, value in vars(self).items() if isinstance(value, Interval)}
        rolled_out = {} if self.rolled_out is not None else {"rolled_out": None}
        return {**means, **rolled_out, "by_value": self.by_value.to_dict(), "by_gap": self.by_gap.to_dict()}

    def picture(self, by: By = "all") -> Picture:
        """Draw the shares of right answers and the confidence: of "all" answers, or by right "value" or by "gap".

        Raises InputError for another grouping.
        """
        if by not in get_args(By):
            raise InputError(f"AnswerScores: by must be one of {', '.join(map(repr, get_args(By)))}, got {by!r:.40}.")
        n = self.accuracy.n
        if by == "all":
            rolled = {} if self.rolled_out is None else {"lists, rolled out": self.rolled_out}
            shares = {"answers": self.accuracy, "lists, teacher forced": self.list_accuracy, **rolled}
            shares |= {"confidence": self.confidence, "calibration error": self.calibration_error}
            return Picture(
                kind="dots",
                title=f"How the model sorts: {told(self.accuracy)} of the answers right",
                caption=f"Shares right, confidence and calibration error; {self.accuracy.level:.0%} bootstrap intervals over n "
                f"= {n:,} "
                f"lists. Cross-entropy {told(self.cross_entropy_nats)} nats.",
                alt="Dots with intervals: accuracy of answers and lists, confidence, and calibration error.",
                data=dots("share", shares),
            )
        groups = self.by_value if by == "value" else self.by_gap
        x = np.arange(len(groups.count))
        title = "right answer" if by == "value" else "right answer minus the value before it"
        return Picture(
            kind="lines",
            title=f"How the model sorts, by {by}",
            caption=f"Share right and confidence by {title}; {self.accuracy.level:.0%} bootstrap bands over n = {n:,} lists.",
            alt=f"Lines over the {title}: share of right answers, and confidence.",
            data={
                "x_title": title,
                "y_title": "share",
                "series": [
                    {"name": "share right", "x": x, **points(groups.accuracy, "y")},
                    {"name": "confidence", "x": x, **points(groups.confidence, "y")},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per score: its mean and the ends of its interval."""
        return named({name: value for name, value in vars(self).items() if isinstance(value, Interval)}, "score").assign(
            n=self.accuracy.n
        )

    def summary(self) -> str:
        """Return accuracy, loss, confidence and calibration with intervals, and n."""
        rolled = "" if self.rolled_out is None else f", rolled out {told(self.rolled_out)}"
        return "\n".join(
            [
                f"answers right {told(self.accuracy)}; lists right {told(self.list_accuracy)}{rolled}",
                f"cross-entropy {told(self.cross_entropy_nats)} nats, entropy {told(self.entropy_nats)} nats",
                f"confidence {told(self.confidence)}, calibration error {told(self.calibration_error)}",
                examples(self.accuracy, "lists"),
            ]
        )


def answer_scores(
    logits: Float[np.ndarray, "n length output"],
    truth: Int[np.ndarray, "n length"],
    rng: np.random.Generator,
    *,
    n_values: int | None = None,
    emitted: Int[np.ndarray, "n length"] | None = None,
    resamples: int = RESAMPLES,
) -> AnswerScores:
    """Score the answers to lists.

    logits: after SEP, b_1, .. b_{n-1}; log-probabilities are logits. truth: b_1..b_n. n_values: V, where there are other outputs
    besides, such as SEP; they count as wrong answers. emitted: what the model answered when rolled out.
    Raises InputError for shapes that do not fit, no list, logits that are not finite, or values that are none.
    """
    generator = checked_generator(rng, "answer_scores")
    values = _checked(logits, truth, emitted, n_values)
    measures = answer_measures(logits, truth)
    gaps = np.full(truth.shape, -1)
    gaps[:, 1:] = np.diff(truth, axis=1)
    member = np.concatenate([np.ones((*truth.shape, 1)), _one_hot(truth, values), _one_hot(gaps, values)], axis=-1)
    sums = np.einsum("nlm,nlg->nmg", np.stack(list(measures.values()), axis=-1), member)
    counts = member.sum(axis=1)
    means = bootstrap_ratio(sums, counts[:, None], generator, resamples=resamples)
    right = measures["accuracy"] == 1
    per_list = {name: measure.mean(axis=1) for name, measure in measures.items()}
    per_list["list_accuracy"] = right.all(axis=1).astype(np.float64)
    if emitted is not None:
        per_list["rolled_out"] = (emitted == truth).all(axis=1).astype(np.float64)
    whole = {name: means[i, 0] for i, name in enumerate(measures)}

    def group(start: int) -> GroupScores:
        part = slice(start, start + values)
        found = {name: means[i, part] for i, name in enumerate(measures)}
        return GroupScores(**found, count=counts[:, part].sum(axis=0).astype(np.int64))

    return AnswerScores(
        **whole,
        list_accuracy=bootstrap_mean(per_list["list_accuracy"], generator, resamples=resamples),
        rolled_out=None if emitted is None else bootstrap_mean(per_list["rolled_out"], generator, resamples=resamples),
        calibration_error=calibration_error(measures["confidence"], right, generator, resamples=resamples),
        by_value=group(1),
        by_gap=group(1 + values),
        per_list=per_list,
    )


def score_changes(before: AnswerScores, after: AnswerScores, rng: np.random.Generator) -> dict[str, Interval]:
    """Return after minus before of every mean that both have, list by list, with intervals; both scored the same lists."""
    generator = checked_generator(rng, "score_changes")
    names = [name for name in before.per_list if name in after.per_list]
    sizes = {len(scores.per_list[name]) for scores in (before, after) for name in names}
    if len(sizes) != 1:
        raise InputError(f"score_changes: both must score the same lists, got {sorted(sizes)} of them.")
    changes = np.stack([after.per_list[name] - before.per_list[name] for name in names], axis=-1)
    found = bootstrap_mean(changes, generator, resamples=RESAMPLES)
    return {name: found[i] for i, name in enumerate(names)}


def answer_measures(
    logits: Float[np.ndarray, "n length output"], truth: Int[np.ndarray, "n length"]
) -> dict[str, Float64[np.ndarray, "n length"]]:
    """Return every measure of every answer by its name in GroupScores; accuracy is 1 or 0."""
    exact = logits.astype(np.float64)
    log_p = log_softmax(exact, axis=-1)
    p = np.exp(log_p)
    at_truth = truth[..., None]
    others = exact.copy()
    np.put_along_axis(others, at_truth, -np.inf, axis=-1)
    return {
        "accuracy": (np.take_along_axis(exact, at_truth, axis=-1)[..., 0] > others.max(axis=-1)).astype(np.float64),
        "cross_entropy_nats": -np.take_along_axis(log_p, at_truth, axis=-1)[..., 0],
        "entropy_nats": -xlogy(p, p).sum(axis=-1),
        "confidence": p.max(axis=-1),
    }


def _one_hot(group: np.ndarray, n_groups: int) -> Float64[np.ndarray, "n length group"]:
    """1 for each answer's group; groups out of range are none."""
    return (group[..., None] == np.arange(n_groups)).astype(np.float64)


def _checked(logits: np.ndarray, truth: np.ndarray, emitted: np.ndarray | None, n_values: int | None) -> int:
    where = "answer_scores"
    if not truth.size or logits.shape[:2] != truth.shape or (emitted is not None and emitted.shape != truth.shape):
        got = f"{list(logits.shape)}, {list(truth.shape)}" + ("" if emitted is None else f" and {list(emitted.shape)}")
        raise InputError(f"{where}: need logits [n, length, output], truth and emitted [n, length] with n >= 1, got {got}.")
    if not np.isfinite(logits).all():
        raise InputError(f"{where}: logits of list {int(np.argwhere(~np.isfinite(logits))[0][0])} are not finite.")
    values = logits.shape[-1] if n_values is None else n_values
    if not 1 <= values <= logits.shape[-1] or truth.min() < 0 or truth.max() >= values:
        raise InputError(
            f"{where}: truth must hold values in 0..{values - 1} and there must be as many outputs, got values "
            f"{truth.min()}..{truth.max()} and {logits.shape[-1]} outputs."
        )
    return values

"""Take away heads of a sorter and see what its answers lose.

Stand-ins for hook_z, the mean of what a head attends to:

    "zero"      also takes the value bias away, unless it has been folded into the output bias; models are taken as they come
    Mean        the mean over reference sequences, position by position
    SignFlip    2 mean - z: what varies is turned round

The rest of the model runs on, its last layer norm included. Where heads own disjoint sets of values, each wrong without its owner
and right with it, the accuracy without a head is known beforehand: `expected_accuracy_without`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, capture, edit, forward
from mechbp.methods.patching.ablate import Mean
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import dots, examples, named, told
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.answer_scores import AnswerScores, answer_scores, score_changes
from mechbp.theory.sorting.rollout import BATCH, Forward, asked_logits, emitted_tokens

Z = "blocks.0.attn.hook_z"
STAND_INS = ("zero", "mean", "sign flip")


@dataclass(frozen=True, eq=False, repr=False)
class SignFlip(Brief):
    """Stand-in: twice the mean over reference sequences minus the activation, each position and head by itself."""

    reference_tokens: Int[np.ndarray, "m _positions"]


StandIn = Literal["zero"] | Mean | SignFlip
"""Reference sequences are whole: list, SEP, sorted list."""


@dataclass(frozen=True, eq=False, repr=False)
class HeadAblation(Shown):
    """How a model sorts without some heads."""

    heads: tuple[int, ...]
    """Empty for the model as it is."""
    stand_in: str
    """What stood in, in words; "none" for the model as it is."""
    scores: AnswerScores
    changes: Mapping[str, Interval]
    """Ablated minus unablated, by the names of the scores; list by list, so that intervals are those of the difference."""

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON, without single lists."""
        changes = {name: change.to_dict() for name, change in self.changes.items()}
        return {"heads": list(self.heads), "stand_in": self.stand_in, "scores": self.scores.to_dict(), "changes": changes}

    def picture(self) -> Picture:
        """Draw what every score loses without the heads."""
        n = self.scores.accuracy.n
        return Picture(
            kind="dots",
            title=f"{self._what}: change of the scores",
            caption=f"Ablated minus unablated, list by list; {self.scores.accuracy.level:.0%} bootstrap intervals over n = "
            f"{n:,} lists. "
            f"Stand-in: {self.stand_in}.",
            alt=f"Dots with intervals: change of {len(self.changes)} scores.",
            data=dots(
                "ablated minus unablated (shares; cross-entropy and entropy in nats)",
                {name.replace("_", " "): change for name, change in self.changes.items()},
                references=[{"name": "no change", "x": 0}],
            ),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per score: the change with its interval, and the score itself."""
        table = named(self.changes, "score").rename(columns={"mean": "change", "low": "change_low", "high": "change_high"})
        values = [getattr(self.scores, name, None) for name in self.changes]
        table["ablated"] = [float(value.mean) if isinstance(value, Interval) else np.nan for value in values]
        return table.assign(n=self.scores.accuracy.n)

    def summary(self) -> str:
        """Return what was taken away, the change of up to three scores, and n."""
        lines = [f"{name.replace('_', ' ')}: change {told(change)}" for name, change in self.changes.items()][:3]
        return "\n".join([f"{self._what}; stand-in: {self.stand_in}", *lines, examples(self.scores.accuracy, "lists")])

    @property
    def _what(self) -> str:
        return f"without head {', '.join(map(str, self.heads))}" if self.heads else "the model as it is"


def ablated_scores(
    model: HookedModel,
    process: SortedLists,
    tokens: Int[np.ndarray, "n _positions"],
    heads: Sequence[int],
    stand_in: StandIn,
    *,
    rng: np.random.Generator,
    roll_out: bool = True,
    batch_size: int = BATCH,
) -> AnswerScores:
    """Return how the model sorts the lists of whole sequences while heads of the first block are replaced; no heads: as it is.

    roll_out: whether to let it go on from its own answers as well, which takes as many more passes as a list has values.
    Raises InputError for heads that the model lacks, another stand-in, or sequences that do not fit.
    """
    run = ablated_forward(model, process, heads, stand_in, batch_size=batch_size)
    return scores_of(run, model, process, tokens, rng=rng, roll_out=roll_out, batch_size=batch_size)


def head_ablations(
    model: HookedModel,
    process: SortedLists,
    tokens: Int[np.ndarray, "n _positions"],
    reference: Int[np.ndarray, "m _positions"],
    *,
    rng: np.random.Generator,
    roll_out: bool = True,
    batch_size: int = BATCH,
) -> tuple[HeadAblation, ...]:
    """Return the model as it is, and without each head of the first block, by zero, mean and sign flip, in this order.

    reference: whole sequences for the means, best others than `tokens`. Raises InputError as `ablated_scores` does.
    """

    def measured(heads: tuple[int, ...], stand_in: StandIn) -> AnswerScores:
        run = ablated_forward(model, process, heads, stand_in, batch_size=batch_size)
        return scores_of(run, model, process, tokens, rng=rng, roll_out=roll_out, batch_size=batch_size)

    base = measured((), "zero")
    found = [HeadAblation((), "none", base, score_changes(base, base, rng))]
    for name, stand_in in zip(STAND_INS, ("zero", Mean(reference), SignFlip(reference)), strict=True):
        for head in range(model.cfg.n_heads):
            scores = measured((head,), stand_in)
            found.append(HeadAblation((head,), name, scores, score_changes(base, scores, rng)))
    return tuple(found)


def scores_of(
    run: Forward,
    model: HookedModel,
    process: SortedLists,
    tokens: Int[np.ndarray, "n _positions"],
    *,
    rng: np.random.Generator,
    roll_out: bool = True,
    batch_size: int = BATCH,
) -> AnswerScores:
    """Return how a forward pass of one's own over `model`'s tokens sorts the lists of whole sequences."""
    logits = asked_logits(run, model, process, tokens, batch_size=batch_size)
    emitted = None
    if roll_out:
        emitted = emitted_tokens(run, model, process, tokens[:, : process.length], batch_size=batch_size)
    return answer_scores(logits, tokens[:, process.length + 1 :], rng, n_values=process.vocab_size, emitted=emitted)


@torch.no_grad()
def ablated_forward(
    model: HookedModel, process: SortedLists, heads: Sequence[int], stand_in: StandIn, *, batch_size: int = BATCH
) -> Forward:
    """Return the forward pass of the model with some heads replaced, for sequences of up to 2 length tokens."""
    chosen = checked_heads(model, heads, "ablated_scores")
    if not chosen:
        return partial(forward, model)
    if isinstance(stand_in, Mean | SignFlip):
        reference = np.asarray(stand_in.reference_tokens)
        if reference.ndim != 2 or reference.shape[1] != process.n_tokens or not len(reference):
            raise InputError(
                f"ablated_scores: reference sequences must be [m, {process.n_tokens}] with m >= 1, got {list(reference.shape)}."
            )
        z = capture(model, reference[:, :-1], Z, batch_size)[Z]
        mean = z.mean(dim=0, dtype=torch.float64).to(z)
        replace = partial(_mean_instead if isinstance(stand_in, Mean) else _flipped, mean, chosen)
    elif stand_in == "zero":
        replace = partial(_zero_instead, chosen)
    else:
        raise InputError(f"ablated_scores: stand_in must be 'zero', Mean(...) or SignFlip(...), got {stand_in!r:.60}.")

    def run(rows: Tensor) -> Tensor:
        with edit(model, {Z: replace}):
            return forward(model, rows)

    return run


def checked_heads(model: HookedModel, heads: Sequence[int], where: str) -> list[int]:
    """Return the heads, or raise InputError, in the name of `where`, for one that the model lacks or that occurs twice."""
    chosen = [int(h) for h in heads]
    if len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(model.cfg.n_heads)):
        raise InputError(f"{where}: heads must be distinct and among 0..{model.cfg.n_heads - 1}, got {list(heads)!r:.60}.")
    return chosen


def expected_accuracy_without(
    owner: Int[np.ndarray, " value"], frequencies: Float64[np.ndarray, " value"], n_heads: int
) -> Float64[np.ndarray, " head"]:
    """Return the share of right answers that ideal splitting leaves without each head: 1 - P(the answer is one that it owns).

    owner: the head that alone copies each value. frequencies: mean number of times that a value is in a list; only proportions
    matter, and uniform lists leave 1 - |R| / V. Raises InputError for owners beyond n_heads or frequencies that do not fit.
    """
    if owner.shape != frequencies.shape or (frequencies < 0).any() or not frequencies.sum() > 0:
        raise InputError(
            f"expected_accuracy_without: need one frequency >= 0 per value, not all 0, got {list(frequencies.shape)} for "
            f"{list(owner.shape)} owners."
        )
    if owner.min() < 0 or owner.max() >= n_heads:
        raise InputError(f"expected_accuracy_without: owners must be in 0..{n_heads - 1}, got {owner.min()}..{owner.max()}.")
    return 1 - np.bincount(owner, weights=frequencies, minlength=n_heads) / frequencies.sum()


def _zero_instead(heads: list[int], z: Tensor) -> Tensor:
    z[:, :, heads] = 0
    return z


def _mean_instead(mean: Tensor, heads: list[int], z: Tensor) -> Tensor:
    z[:, :, heads] = mean[: z.shape[1], heads]
    return z


def _flipped(mean: Tensor, heads: list[int], z: Tensor) -> Tensor:
    z[:, :, heads] = 2 * mean[: z.shape[1], heads] - z[:, :, heads]
    return z

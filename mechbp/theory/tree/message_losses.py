"""Which of the messages that a hidden leaf should receive is missing from a model's answer.

Exact inference says what each message does to the answer: log P(leaf | all) - log P(leaf | all but one sibling subtree), centred
over symbols. An edit that makes a model ignore that message subtracts just this from its log answer. Regressing what an edit
changes on the effects of all messages at once gives the share of every message that the edit removes: 0 none of it, 1 all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.divergence import FLOOR
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import examples, frame, told
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.sibling_subtrees import hide, under_sibling

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class MessageLosses(Shown):
    """Share of each message that an edit removes, by height of the sibling subtree that sends it."""

    share: Interval
    """[height]; resamples are whole sequences."""
    resampled: Float64[np.ndarray, "resample height"]

    def lead(self, height: int) -> Interval:
        """Return by how much the loss of one message exceeds the largest loss of another, paired by resample."""
        others = np.delete(np.arange(len(self.share.mean)), height)
        mean = self.share.mean[height] - self.share.mean[others].max()
        low, high = np.quantile(self.resampled[:, height] - self.resampled[:, others].max(axis=1), _ENDS)
        return Interval(np.asarray(mean), np.asarray(low), np.asarray(high), self.share.n, LEVEL)

    def picture(self) -> Picture:
        """Draw the share of every message that the edit removes."""
        return Picture(
            kind="dots",
            title="Which messages an edit removes",
            caption="Regression of what the edit changes on the exact effects of all messages: 0 none of it, 1 all. "
            f"{self.share.level:.0%} bootstrap intervals over n = {self.share.n:,} sequences.",
            alt=f"Dots with intervals: share removed of {len(self.share.mean)} messages, by height of their sender.",
            data={
                "x_title": "share of the message removed",
                "categories": [f"height {height}" for height in range(len(self.share.mean))],
                "series": [{"name": "share", **points(self.share, "x")}],
                "references": [{"name": "none", "x": 0}, {"name": "all", "x": 1}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per height of the sending subtree: the share removed with its interval."""
        return frame({"height": range(len(self.share.mean))}, {"share": self.share}).assign(n=self.share.n)

    def summary(self) -> str:
        """Return the shares of up to four messages, and n."""
        shares = [f"height {height} {told(self.share[height])}" for height in range(len(self.share.mean))][:4]
        return f"share of the message removed: {'; '.join(shares)}\n{examples(self.share, 'sequences')}"


_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def message_effects(
    tree: FilteredTree, tokens: Int[np.ndarray, "n leaves"], hidden: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, "n height q"]:
    """Return what the message of every sibling subtree does to the exact log posterior of the hidden leaf, nats, centred."""
    rows = np.arange(len(tokens))
    shown = hide(tree, tokens, hidden)

    def log_posterior(observed: np.ndarray | None) -> np.ndarray:
        return centred_log(tree.beliefs(shown, observed).marginals[tree.depth][rows, hidden])

    whole = log_posterior(None)
    without = [log_posterior(~under_sibling(tree, hidden, height)) for height in range(tree.depth)]
    return whole[:, None] - np.stack(without, axis=1)


def centred_log(probabilities: Float64[np.ndarray, "n q"]) -> Float64[np.ndarray, "n q"]:
    """Return log probabilities, raised to the floor, less their mean over symbols."""
    logs = np.log(np.maximum(probabilities, FLOOR))
    return logs - logs.mean(axis=-1, keepdims=True)


def message_losses(
    effects: Float64[np.ndarray, "n height q"],
    before: Float64[np.ndarray, "n q"],
    after: Float64[np.ndarray, "n q"],
    rng: np.random.Generator,
) -> MessageLosses:
    """Regress what an edit changes of a model's answers on the effects of all messages; least squares over all symbols."""
    n, n_heights, _ = effects.shape
    change = centred_log(before) - centred_log(after)
    products = np.einsum("nha,nga->nhg", effects, effects).reshape(n, -1)
    moments = np.einsum("nha,na->nh", effects, change)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)

    def solved(weights: np.ndarray) -> np.ndarray:
        return np.linalg.solve((weights @ products).reshape(-1, n_heights, n_heights), (weights @ moments)[..., None])[..., 0]

    resampled = solved(counts)
    low, high = np.quantile(resampled, _ENDS, axis=0)
    return MessageLosses(Interval(solved(np.ones((1, n)))[0], low, high, n, LEVEL), resampled)

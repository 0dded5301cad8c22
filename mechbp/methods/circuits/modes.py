"""How the heads of one layer share the tokens, read off their token-level circuits: splitting, suppression or overlap.

`pair_modes` says what the modes of two heads are; here is the layer: all pairs, the one that stands for it, and each head's part.
Row constants of OV and QK say nothing, as the softmax ignores them, and are taken off first. A large diagonal entry of a token
that no head attends to is inert: weigh tokens by mean attention where that matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.circuits.pair_modes import Label, PairModes, TokenRoles, pair_modes, ratio
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame, panel

OV = Float64[np.ndarray, "head token token"]
QK = Float64[np.ndarray, "head query token"]

IDLE = 0.1
"""A head that copies less than this weight of tokens and suppresses less than this is idle."""
PREFERENCE: tuple[Label, ...] = ("none", "overlap", "suppression", "splitting", "both")
"""Of two pairs with the same score, the one whose heads differ more stands for the layer."""


@dataclass(frozen=True, eq=False, repr=False)
class Modes(Shown):
    """What the heads of a layer do with tokens, and the pair of heads that stands for it."""

    label: Label
    """Of the best pair; "one head" where there is no pair, for which VS is undefined."""
    best: PairModes | None
    """Of the pairs with a label other than "none", or else of all, the one with the largest score; None for one head."""
    pairs: tuple[PairModes, ...]
    copies: Bool[np.ndarray, "head token"]
    """C_h: tokens whose diagonal entry is the one maximum of their row, and positive."""
    suppresses: Bool[np.ndarray, "head token"]
    """S_h: tokens whose diagonal entry is the one minimum of their row, and negative."""
    owner: Int[np.ndarray, " token"]
    """Of all heads the one with the largest diagonal entry; whether it copies the token is for `copies` to say."""
    copy_share: Float64[np.ndarray, " head"]
    """|C_h|."""
    suppress_share: Float64[np.ndarray, " head"]
    """|S_h|."""
    order: tuple[int, ...]
    """Heads by how much they copy, most first: their own order is arbitrary."""
    idle: tuple[int, ...]
    """Heads that copy next to nothing and suppress next to nothing."""
    coverage: float
    """Weight of the tokens that some head copies."""
    copied_once: float
    """Share of these that exactly one head copies: VS of all heads together; NaN where no head copies any token."""

    def picture(self) -> Picture:
        """Draw what each head adds to the logit of a token that it attends to: copies above 0, suppressed tokens below."""
        return Picture(
            kind="heatmap",
            title=f"What heads do with tokens: {self.label}",
            caption=f"{self.summary()}. 1: the head copies the token, its own logit is the largest of the row; -1: it "
            "suppresses it, the smallest; "
            "0: neither. Read off the weights: no sampling. Thresholds and scores are those of pair_modes.",
            alt=f"Heat map of {len(self.copies)} heads by {self.copies.shape[1]} tokens: copied, suppressed or neither.",
            data={
                "rows": [f"head {head}" for head in range(len(self.copies))],
                "columns": [str(token) for token in range(self.copies.shape[1])],
                "value_title": "copied (1) or suppressed (-1)",
                "column_title": "token",
                "cell_text": False,
                "scale": "diverging",
                "range": [-1, 1],
                "panels": [panel("", self.copies.astype(np.float64) - self.suppresses)],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per head and token: whether it copies, suppresses and owns it."""
        heads = range(len(self.copies))
        owns = self.owner == np.arange(len(self.copies))[:, None]
        axes = {"head": heads, "token": range(self.copies.shape[1])}
        return frame(axes, {"copies": self.copies, "suppresses": self.suppresses, "owns": owns})

    def summary(self) -> str:
        """Return the label and the scores behind it in one line."""
        if self.best is None:
            return f"one head, which copies {self.coverage:.0%} of the tokens"
        a, b = self.best.heads
        scores = f"VS {self.best.splitting:.2f}, CS {self.best.suppression:.2f}, OL {self.best.overlap:.2f}"
        rest = f"{self.best.coverage:.0%} covered, QK alike {self.best.correlation:.2f}"
        return f"heads {a} and {b}: {self.label} ({scores}; {rest})"

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON; what is undefined becomes None."""
        return {
            "label": self.label,
            "best": None if self.best is None else self.best.to_dict(),
            "pairs": [pair.to_dict() for pair in self.pairs],
            "owner": self.owner.tolist(),
            "copy_share": self.copy_share.tolist(),
            "suppress_share": self.suppress_share.tolist(),
            "order": list(self.order),
            "idle": list(self.idle),
            "coverage": self.coverage,
            "copied_once": None if np.isnan(self.copied_once) else self.copied_once,
        }


def modes(ov: OV, qk: QK, *, weights: Float64[np.ndarray, " token"] | None = None) -> Modes:
    """Return what the heads of a layer do with tokens, and with one another.

    ov: rows are attended tokens, columns logits of the same tokens, in an order that means something. qk: queries are the same
    tokens in the same order; one that precedes them all, a separator, may follow as the last row. Cut separators off everywhere
    else. weights: how much each token counts, such as its frequency or the mean attention to it, by default all the same; only
    their proportions matter.
    Raises InputError for arrays that do not fit together or are not finite.
    """
    roles = token_roles(ov, qk, weights)
    copied = roles.copies @ roles.weights
    suppressed = roles.suppresses @ roles.weights
    order = tuple(int(h) for h in np.argsort(-copied, kind="stable"))
    pairs = tuple(pair_modes(roles, a, b) for a, b in combinations(order, 2))
    best = max(pairs, key=_rank, default=None)
    n_copiers = roles.copies.sum(axis=0)
    coverage = float(roles.weights[n_copiers > 0].sum())
    return Modes(
        label="one head" if best is None else best.label,
        best=best,
        pairs=pairs,
        copies=roles.copies,
        suppresses=roles.suppresses,
        owner=roles.diagonal.argmax(axis=0),
        copy_share=copied,
        suppress_share=suppressed,
        order=order,
        idle=tuple(int(h) for h in np.flatnonzero((copied < IDLE) & (suppressed < IDLE))),
        coverage=coverage,
        copied_once=ratio(float(roles.weights[n_copiers == 1].sum()), coverage),
    )


def token_roles(ov: OV, qk: QK, weights: Float64[np.ndarray, " token"] | None) -> TokenRoles:
    """Return what each head does with each token; raise InputError as `modes` does."""
    share = _checked_weights(ov, qk, weights)
    rows = ov - ov.mean(axis=2, keepdims=True)
    diagonal = np.diagonal(rows, axis1=1, axis2=2).copy()
    beside = np.where(np.eye(len(share), dtype=bool), np.nan, rows)
    return TokenRoles(
        diagonal=diagonal,
        copies=diagonal > np.nanmax(beside, axis=2),  # and so positive: the one maximum of a row is above its mean, 0
        suppresses=diagonal < np.nanmin(beside, axis=2),
        above=scores_above(qk),
        weights=share,
    )


def scores_above(qk: QK) -> QK:
    """Return scores with each row's mean taken off, NaN where the key is not above the query."""
    n_queries, n_tokens = qk.shape[1:]
    rank = np.append(np.arange(n_tokens), -1)[:n_queries]
    centred = qk - qk.mean(axis=2, keepdims=True)
    return np.where(np.arange(n_tokens) > rank[:, None], centred, np.nan)


def _rank(pair: PairModes) -> tuple[bool, float, int]:
    return pair.label != "none", round(pair.score, 9), PREFERENCE.index(pair.label)


def _checked_weights(ov: OV, qk: QK, weights: Float64[np.ndarray, " token"] | None) -> Float64[np.ndarray, " token"]:
    heads, n, columns = ov.shape
    if not heads or n < 2 or n != columns or qk.shape not in ((heads, n, n), (heads, n + 1, n)):
        raise InputError(
            f"modes: need ov [head, V, V] and qk [head, V or V + 1, V] of the same heads and V >= 2 tokens, got {list(ov.shape)} "
            f"and {list(qk.shape)}.\nCut the separator's row and columns off, but for its row as a query."
        )
    if not np.isfinite(ov).all() or not np.isfinite(qk).all():
        raise InputError("modes: ov and qk must be finite. Pass scores before the softmax, without a mask.")
    if weights is None:
        return np.full(n, 1 / n)
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise InputError(f"modes: weights must be {n} finite numbers >= 0, not all 0, got shape {list(weights.shape)}.")
    return weights / weights.sum()

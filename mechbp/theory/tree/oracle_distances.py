"""Which oracle a model answers like: distances of its answers to BP_k of every filter level k, both ways, sequence by sequence.

A loss alone does not say what is left of a model whose attention was replaced. The ladder of oracles does: BP_k infers exactly
under the assumption that levels 1..k - 1 of the tree tell nothing beyond the root, so a model that has lost its top levels comes
nearer to an oracle of higher k. All comparisons are paired: the same sequences, the same questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int

from mechbp.brief import Brief
from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.pattern_ablation import logits_with_patterns

DIRECTIONS = ("KL(BP || model)", "KL(model || BP)")

Distances = Float64[np.ndarray, "n direction oracle"]
"""Nats, in the order of DIRECTIONS and of filter levels."""


@dataclass(frozen=True, eq=False, repr=False)
class AskedOnce(Brief):
    """Sequences with one question each, and what every oracle answers."""

    shown: Int[np.ndarray, "n position"]
    """What the model is shown: the leaves, the one asked for hidden; or all leaves and the ROOT query."""
    read: Int[np.ndarray, " n"]
    """Position at which the model answers."""
    oracles: Float64[np.ndarray, "n oracle q"]
    """BP_k's answer, k = 0..depth."""
    own: int
    """Filter level of the data."""


def ask_once(tree: FilteredTree, tokens: Int[np.ndarray, "n leaves"], hidden: Int[np.ndarray, " n"] | None = None) -> AskedOnce:
    """Ask for one leaf of every sequence, hidden[i], given all others; None asks for the root at a ROOT query.

    Raises InputError unless there is one leaf for every sequence.
    """
    rows = np.arange(len(tokens))
    ladder = [FilteredTree(tree.grammar, tree.depth, k) for k in range(tree.depth + 1)]
    if hidden is None:
        shown = np.hstack([tokens, np.full((len(tokens), 1), tree.root_token)])
        answers = [oracle.beliefs(tokens).marginals[0][:, 0] for oracle in ladder]
        return AskedOnce(shown, np.full(len(tokens), tree.n_leaves), np.stack(answers, axis=1), tree.filter_level)
    if hidden.shape != rows.shape or not ((hidden >= 0) & (hidden < tree.n_leaves)).all():
        raise InputError(f"ask_once: need one leaf in 0..{tree.n_leaves - 1} per sequence, got an array {list(hidden.shape)}.")
    shown = tokens.copy()
    shown[rows, hidden] = tree.mask_token
    answers = [oracle.leave_one_out(tokens)[rows, hidden] for oracle in ladder]
    return AskedOnce(shown, hidden, np.stack(answers, axis=1), tree.filter_level)


def answers_with_patterns(
    model: HookedModel,
    asked: AskedOnce,
    patterns: Float[np.ndarray, "layer head query key"] | Float[np.ndarray, "n layer head query key"] | None = None,
) -> Float64[np.ndarray, "n q"]:
    """Return the model's answers with its attention patterns replaced in all blocks; None asks the model as it is.

    Errors are those of `logits_with_patterns`.
    """
    logits = logits_with_patterns(model, asked.shown, patterns)
    return logits[np.arange(len(asked.read)), asked.read].double().softmax(dim=-1).cpu().numpy()


def oracle_distances(answers: Float64[np.ndarray, "n q"], oracles: Float64[np.ndarray, "n oracle q"]) -> Distances:
    """Return KL(BP_k || answers) and KL(answers || BP_k) in nats, for every sequence and oracle.

    Where an oracle holds zeros, as BP_0 and BP_1 do at the root, the floor of `kl_nats` sets the second.
    """
    given = np.broadcast_to(answers[:, None], oracles.shape)
    return np.stack([kl_nats(oracles, given), kl_nats(given, oracles)], axis=1)


@dataclass(frozen=True, eq=False, repr=False)
class Lead(Shown):
    """By how much one oracle is nearer than each of the others, both ways; paired by sequence."""

    nearest: tuple[int, ...]
    """The oracle of least mean distance, one per direction."""
    over_others: Interval
    """[direction, other oracle]: the other's distance minus the oracle's own, nats."""

    @property
    def low(self) -> float:
        """Above 0 where the oracle is nearer than every other, both ways: the lowest lower end."""
        return float(self.over_others.low.min())

    @property
    def high(self) -> float:
        """Below 0 where some other oracle is nearer, both ways."""
        return float(self.over_others.high.min(axis=1).max())

    def picture(self) -> Picture:
        """Draw how much farther every other oracle is, both ways."""
        found = self.over_others
        return Picture(
            kind="dots",
            title="How much nearer one oracle is than the others",
            caption=f"The other's distance minus the oracle's own, nats: above 0 the oracle is nearer. {found.level:.0%} "
            f"bootstrap intervals over n = {found.n:,} sequences.",
            alt=f"Dots with intervals: lead over {found.mean.shape[1]} other oracles, by both directions of the divergence.",
            data={
                "x_title": "lead (nats)",
                "categories": [f"other oracle {other}" for other in range(found.mean.shape[1])],
                "series": [{"name": name, **points(found[row], "x")} for row, name in enumerate(DIRECTIONS)],
                "references": [{"name": "no lead", "x": 0}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per direction and other oracle, in their order: the lead with its interval, nats."""
        axes = {"direction": DIRECTIONS, "other": range(self.over_others.mean.shape[1])}
        return frame(axes, {"lead_nats": self.over_others}).assign(n=self.over_others.n)

    def summary(self) -> str:
        """Return the nearest oracle in either direction, the least lead, and n."""
        nearest = ", ".join(f"{way}: oracle {oracle}" for way, oracle in zip(DIRECTIONS, self.nearest, strict=True))
        return f"nearest by {nearest}\nlowest end of a lead {self.low:.3g} nats\n{examples(self.over_others, 'sequences')}"


def lead_of(oracle: int, distances: Distances, rng: np.random.Generator) -> Lead:
    """Compare the distance to one oracle with the distance to every other."""
    others = np.delete(distances, oracle, axis=-1) - distances[..., [oracle]]
    nearest = tuple(int(k) for k in distances.mean(axis=0).argmin(axis=-1))
    return Lead(nearest, bootstrap_mean(others, rng))

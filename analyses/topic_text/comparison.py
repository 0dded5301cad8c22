"""Same-topic against different-topic pairs, at every threshold, in every fit, beside what could make the difference instead."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from analyses.topic_text.material import Material
from analyses.topic_text.topics import TopicFit, share_topic
from mechbp.methods.statistics.matched_pairs import (
    Contrast,
    CrossedResampling,
    MatchedWeights,
    Members,
    contrasts,
    matched_weights,
    plain_weights,
)

TRAINED = "trained"
UNMATCHED = "trained, not matched"
SHUFFLED = "topics shuffled"
SCRAMBLED = "weights scrambled"
OWN = (TRAINED, UNMATCHED, SHUFFLED)
"""Cases that are asked of the trained encoder."""
CASES = (*OWN, SCRAMBLED)
RIVALS = (SHUFFLED, SCRAMBLED)

Key = TypeVar("Key", bound=Hashable)
Sharing = tuple[Bool[np.ndarray, " pair"], Bool[np.ndarray, " pair"]]
"""Which pairs share a topic, and which have topics but share none."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of words with what is compared, what is matched and what is drawn anew in a resample."""

    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    """Numbers of the words."""
    cells: Int[np.ndarray, " pair"]
    """What is matched within a threshold."""
    coarse: Int[np.ndarray, " pair"]
    """What is matched where thresholds are compared with each other: coarser, so that every threshold has pairs in most cells."""
    members: Members
    """(factor, level) of all that a pair is made of."""
    resampling: CrossedResampling
    values: Float[np.ndarray, "pair value"]
    """What is compared."""

    def contrasts(self, cases: Mapping[Key, MatchedWeights]) -> dict[Key, Contrast]:
        """Compare the values by each case's weights."""
        asked = [(self.values, weights) for weights in cases.values()]
        return dict(zip(cases, contrasts(asked, self.resampling, self.members), strict=True))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Mean values over pairs of both kinds; the first draw is the sample, the others are resamples."""

    same: dict[str, Float64[np.ndarray, "fit draw threshold value"]]
    different: dict[str, Float64[np.ndarray, "fit draw threshold value"]]
    steady_same: dict[str, Float64[np.ndarray, "fit draw threshold value"]]
    """As `same`, where every threshold gives the coarse cells the same weights."""
    steady_different: dict[str, Float64[np.ndarray, "fit draw threshold value"]]
    n_same: Int[np.ndarray, "fit threshold"]
    """Same-topic pairs."""
    kept: Float64[np.ndarray, "fit threshold"]
    """Share of them that have something to be matched with."""

    def beside(self, control: Comparison) -> Comparison:
        """Return this comparison with the cases of another, a control."""
        ends = ("same", "different", "steady_same", "steady_different")
        return replace(self, **{end: getattr(self, end) | getattr(control, end) for end in ends})


def compare_over_fits(pairs: Pairs, material: Material, thresholds: Sequence[float], cases: Sequence[str]) -> Comparison:
    """Compare pairs of both kinds in every case; the encoder is the one that the values of the pairs are from."""
    found, counts, kept = [], [], []
    for fit, control in zip(material.fits, material.shuffled, strict=True):
        asked = {}
        own = sharing(fit, pairs, thresholds)
        for case in cases:
            kinds = sharing(control, pairs, thresholds) if case == SHUFFLED else own
            evened = common_cells(kinds, pairs.coarse)
            for at, kind in enumerate(kinds):
                asked[case, at, False] = weights_of(case, kind, pairs.cells)
                asked[case, at, True] = matched_weights(*kind, pairs.coarse, evened)
        found.append(pairs.contrasts(asked))
        counts.append([int(same.sum()) for same, _ in own])
        kept.append([asked[cases[0], at, False].kept for at in range(len(thresholds))])

    def stacked(end: str, steady: bool) -> dict[str, Float64[np.ndarray, "fit draw threshold value"]]:
        return {
            case: np.stack(
                [np.stack([getattr(one[case, at, steady], end) for at in range(len(thresholds))], axis=1) for one in found]
            )
            for case in cases
        }

    return Comparison(
        same=stacked("same", steady=False),
        different=stacked("different", steady=False),
        steady_same=stacked("same", steady=True),
        steady_different=stacked("different", steady=True),
        n_same=np.array(counts),
        kept=np.array(kept),
    )


def weights_of(case: str, kinds: Sharing, cells: Int[np.ndarray, " pair"]) -> MatchedWeights:
    """Match the pairs by their cells, or by nothing where the case says so."""
    return plain_weights(*kinds) if case == UNMATCHED else matched_weights(*kinds, cells)


def sharing(fit: TopicFit, pairs: Pairs, thresholds: Sequence[float]) -> list[Sharing]:
    """Return which pairs share a topic and which have topics but share none, threshold by threshold."""
    found = []
    for threshold in thresholds:
        topics = fit.topics_of(threshold)
        known = np.asarray(topics.any(axis=-1))
        both = known[pairs.first] & known[pairs.second]
        same = share_topic(topics, pairs.first, pairs.second)
        found.append((same, both & ~same))
    return found


def common_cells(kinds: Sequence[Sharing], cells: Int[np.ndarray, " pair"]) -> Float64[np.ndarray, " cell"]:
    """Return how same-topic pairs of the last threshold spread over the cells with pairs of both kinds at every threshold."""
    n_cells = int(cells.max()) + 1
    counts = np.array([[np.bincount(cells[one], minlength=n_cells) for one in kind] for kind in kinds])
    return np.where((counts > 0).all(axis=(0, 1)), counts[-1, 0], 0).astype(np.float64)

"""What two heads of a layer do with tokens together: the scores of the modes, their thresholds and the label.

Head h copies token i if OV[h, i, i] is the one maximum of its row and positive, suppresses it if that is the one minimum and
negative. C_h and S_h are the tokens that it copies and suppresses, d_h = max(diag OV_h, 0), |.| is the weight of a set, that of
all tokens being 1:

    splitting     VS = 1 - |C_a and C_b| / |C_a or C_b| >= .9, |C_a or C_b| >= .95, each head owns >= .1, 1 to 6 switches
    suppression   CS = |C_a| |S_b| >= .5 and corr(QK_a, QK_b) > .5 over keys above the query
    overlap       OL = |C_a and C_b| >= .5;  soft overlap = sum min(d_a, d_b) / sum max(d_a, d_b)

The owner of a token is the head with the larger OV[h, i, i], a switch a change of owner between neighbouring tokens, whose order
therefore has to mean something. Both modes at once, "both": splitting passes, the tokens that a copies and b suppresses weigh .2
or more, so do those that one head copies and the other leaves alone, and QK is alike over keys among the former. Where splitting
and suppression pass with less than that, the larger of the two sets decides.

The thresholds are fixed in advance, and scores are kept beside every label. (Plain definitions for the modes of Urdshals and
Urdshals 2025, whose own detectors are not published.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from mechbp.brief import Brief

Label = Literal["both", "splitting", "suppression", "overlap", "none", "one head"]

LEAST_SPLITTING = 0.9
LEAST_COVERAGE = 0.95
LEAST_OWNED = 0.1
SWITCHES = (1, 6)
LEAST_SUPPRESSION = 0.5
LEAST_CORRELATION = 0.5
LEAST_OVERLAP = 0.5
LEAST_RANGE = 0.2
"""Weight of either set of tokens where both modes hold."""
ROUNDING = 1e-12
"""Weights are sums of fractions: what misses a threshold by less than this meets it."""


@dataclass(frozen=True, eq=False)
class PairModes:
    """What two heads do together; NaN where nothing defines a number."""

    heads: tuple[int, int]
    """Turned so that suppression, if any, is that of the second head against copies of the first."""
    label: Label
    splitting: float
    """VS; NaN where neither head copies any token."""
    suppression: float
    """CS, of the direction in which it is larger."""
    overlap: float
    """OL."""
    soft_overlap: float
    """NaN where no diagonal entry is positive."""
    coverage: float
    """|C_a or C_b|."""
    switches: int
    """Changes of owner along the tokens."""
    least_owned: float
    """The smaller of the two weights of tokens owned."""
    correlation: float
    """Of QK, over keys above the query; NaN where a head scores all of them alike."""
    suppressed: float
    """|C_a and S_b|."""
    split: float
    """Weight of the tokens that one head copies and the other neither copies nor suppresses."""

    @property
    def score(self) -> float:
        """The largest of VS times coverage, where both heads own enough, CS, where QK is alike, and OL."""
        owning = min(1.0, self.least_owned / LEAST_OWNED)
        splitting = 0.0 if np.isnan(self.splitting) else self.splitting * self.coverage * owning
        alike = self.correlation > LEAST_CORRELATION
        return max(splitting, self.suppression if alike else 0.0, self.overlap)

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON; what is undefined becomes None."""
        found = {**vars(self), "heads": list(self.heads)}
        return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in found.items()}


@dataclass(frozen=True, eq=False, repr=False)
class TokenRoles(Brief):
    """What each head does with each token."""

    diagonal: Float64[np.ndarray, "head token"]
    """OV[h, i, i], of rows with mean 0."""
    copies: Bool[np.ndarray, "head token"]
    suppresses: Bool[np.ndarray, "head token"]
    above: Float64[np.ndarray, "head query token"]
    """QK, of rows with mean 0; NaN where the key is not above the query."""
    weights: Float64[np.ndarray, " token"]
    """Sum to 1."""


def pair_modes(roles: TokenRoles, a: int, b: int) -> PairModes:
    """Judge two heads."""
    copied = roles.copies @ roles.weights
    suppressed = roles.suppresses @ roles.weights
    first, second = (a, b) if copied[a] * suppressed[b] >= copied[b] * suppressed[a] else (b, a)
    one, other = roles.copies[first], roles.copies[second]
    against_one, against_other = roles.suppresses[second], roles.suppresses[first]
    diagonal = roles.diagonal[[first, second]]
    positive = np.maximum(diagonal, 0)
    owner = diagonal.argmax(axis=0)
    coverage = float(roles.weights[one | other].sum())
    overlap = float(roles.weights[one & other].sum())
    opposed = one & against_one
    left_alone = (one & ~other & ~against_one) | (other & ~one & ~against_other)
    unlabelled = PairModes(
        heads=(first, second),
        label="none",
        splitting=1 - ratio(overlap, coverage),
        suppression=float(copied[first] * suppressed[second]),
        overlap=overlap,
        soft_overlap=ratio(float(positive.min(axis=0) @ roles.weights), float(positive.max(axis=0) @ roles.weights)),
        coverage=coverage,
        switches=int(np.count_nonzero(np.diff(owner))),
        least_owned=min(float(roles.weights[owner == h].sum()) for h in (0, 1)),
        correlation=_correlation(roles.above[first], roles.above[second]),
        suppressed=float(roles.weights[opposed].sum()),
        split=float(roles.weights[left_alone].sum()),
    )
    where_opposed = _correlation(roles.above[first][:, opposed], roles.above[second][:, opposed])
    return replace(unlabelled, label=_label(unlabelled, where_opposed))


def ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN where the whole is nothing."""
    return part / whole if whole > 0 else np.nan


def _label(pair: PairModes, correlation_where_opposed: float) -> Label:
    splitting = (
        _reaches(pair.splitting, LEAST_SPLITTING)
        and _reaches(pair.coverage, LEAST_COVERAGE)
        and _reaches(pair.least_owned, LEAST_OWNED)
        and SWITCHES[0] <= pair.switches <= SWITCHES[1]
    )
    suppression = _reaches(pair.suppression, LEAST_SUPPRESSION) and pair.correlation > LEAST_CORRELATION
    in_two_ranges = _reaches(pair.suppressed, LEAST_RANGE) and _reaches(pair.split, LEAST_RANGE)
    if splitting and in_two_ranges and correlation_where_opposed > LEAST_CORRELATION:
        return "both"
    if suppression and not (splitting and pair.split > pair.suppressed):
        return "suppression"
    if splitting:
        return "splitting"
    return "overlap" if _reaches(pair.overlap, LEAST_OVERLAP) else "none"


def _reaches(value: float, threshold: float) -> bool:
    return value >= threshold - ROUNDING


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, over what is no NaN; NaN where fewer than two entries are left, or one side is constant."""
    defined = ~np.isnan(one)
    x, y = one[defined], other[defined]
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])

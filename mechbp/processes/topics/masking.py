"""What a masked language model is shown of a document: some words selected, most of those hidden, some replaced.

The two conventions of the literature differ in nothing that happens here but the ids a random word is drawn from, and in what the
model may look at afterwards. MASK-A: random ids are the V words, and selected positions are keys like all others, so
that a wrong word is evidence (see `noisy_beliefs`). MASK-B: random ids are all ids, special ones too, and selected positions
are invisible as keys, so that all evidence is genuine (see `beliefs` with `observed=~selected`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.processes.process import ABSENT
from mechbp.randomness import checked_generator


@dataclass(frozen=True)
class MaskRates:
    """How often a word is selected, and what becomes of a selected one: kept, made random, or else shown as MASK."""

    rate: float = 0.15
    """P(selected)."""
    keep: float = 0.1
    """P(the word stays | selected)."""
    random: float = 0.1
    """P(a random id stands there | selected)."""

    def __post_init__(self) -> None:
        for name in ("rate", "keep", "random"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool) or not 0 <= value <= 1:
                raise InputError(f"MaskRates: {name} must be a probability, got {value!r:.60}.")
            object.__setattr__(self, name, float(value))
        if self.keep + self.random > 1:
            raise InputError(f"MaskRates: keep + random must be at most 1, got {self.keep} + {self.random}.")

    @property
    def genuine(self) -> float:
        """P(a position shows its own word, selected or not, and not by luck)."""
        return 1 - (1 - self.keep) * self.rate

    @property
    def shown(self) -> float:
        """P(a position does not show MASK)."""
        return self.genuine + self.rate * self.random

    @property
    def masked(self) -> float:
        """P(a position shows MASK)."""
        return 1 - self.shown


@dataclass(frozen=True, eq=False, repr=False)
class Masked(Brief):
    """Documents as a model is shown them, and the positions at which it is asked."""

    shown: Int[np.ndarray, "n length"]
    """Ids; ABSENT where the document is."""
    selected: Bool[np.ndarray, "n length"]
    """Where the model is asked for the word that was there; never where the document is ABSENT, at least once in each."""


def mask_documents(
    tokens: Integer[np.ndarray, "n length"],
    rates: MaskRates,
    rng: np.random.Generator,
    *,
    mask_token: int,
    n_random_ids: int,
) -> Masked:
    """Select every present word with probability `rates.rate`, one at random where that selects none, and hide those selected.

    A random id is uniform over 0..n_random_ids-1 and may be the word itself: the number of words V under MASK-A, of all ids
    under MASK-B, which else differ only in whether selected positions are keys. Raises InputError for a document without words.
    """
    where = "mask_documents"
    words = np.asarray(tokens)
    if words.dtype.kind not in "iu" or words.ndim != 2:
        raise InputError(f"{where}: tokens must be integers [n, length], got {words.dtype} of shape {list(words.shape)}.")
    checked_generator(rng, where)
    for name, value, least in (("mask_token", mask_token, 0), ("n_random_ids", n_random_ids, 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{where}: {name} must be an integer >= {least}, got {value!r:.60}.")
    present = words != ABSENT
    empty = np.flatnonzero(~present.any(axis=1))
    if empty.size:
        raise InputError(f"{where}: document {empty[0]} has no words, so none can be selected. Leave it out.")
    chance = np.where(present, rng.random(words.shape), np.inf)
    selected = present & (chance < rates.rate)
    nobody = np.flatnonzero(~selected.any(axis=1))
    selected[nobody, chance[nobody].argmin(axis=1)] = True  # the least of equal chances stands at a uniform position
    fate = rng.random(words.shape)
    ids = rng.integers(n_random_ids, size=words.shape)
    hidden = np.where(fate < rates.keep, words, np.where(fate < rates.keep + rates.random, ids, mask_token))
    return Masked(np.where(selected, hidden, words).astype(np.int64), selected)

"""Documents that differ in one shown word, and how far exact inference moves the odds of the new word over the old one.

For topics without shared words the log-odds move by ln (alpha + n_b + 1)/(alpha + n_b) + ln (alpha + n_a)/(alpha + n_a - 1), a
the topic of the old word and b that of the new: by much where a topic has few words, by little where it has many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.randomness import checked_generator
from mechbp.theory.topics.hidden_words import Shown, Topics, shown_beliefs


@dataclass(frozen=True, eq=False, repr=False)
class ExchangedWords(Brief):
    """Row i of every field is one pair of documents."""

    before: Shown
    after: Shown
    """The same but for one word."""
    old: Int[np.ndarray, " n"]
    new: Int[np.ndarray, " n"]
    """Words without a topic in common."""
    exact_change: Float64[np.ndarray, " n"]
    """ln P(new) / P(old) of a hidden word after the exchange, less the same before; nats."""

    def __len__(self) -> int:
        return len(self.before)

    def change(
        self, before: Float64[np.ndarray, "n word"], after: Float64[np.ndarray, "n word"]
    ) -> Float64[np.ndarray, " n"]:  # fmt: skip
        """Return the same change of any answers, given as probabilities."""
        rows = np.arange(len(self))
        return (
            np.log(after[rows, self.new] / after[rows, self.old]) - np.log(before[rows, self.new] / before[rows, self.old])
        )  # fmt: skip


def exchanged_words(process: Topics, shown: Shown, position: int, rng: np.random.Generator) -> ExchangedWords:
    """Exchange one shown word of each document, standing at `position`, for a random word without a topic in common.

    A shown word that stands elsewhere changes places with what stands at `position`; order means nothing. Documents that show no
    word, or whose word shares a topic with all others, are left out. Raises InputError where position 0, which is asked, is
    to change, or where no document is left.
    """
    checked_generator(rng, "exchanged_words")
    if not 1 <= position < shown.shape[1]:
        raise InputError(f"exchanged_words: position must be 1..{shown.shape[1] - 1}, got {position}.")
    n_words = process.vocab_size
    has = process.topics_of_word.astype(np.float64)
    used = has.sum(axis=1) > 0
    strangers = np.equal(has @ has.T, 0) & used[:, None] & used
    can_change = np.append(strangers.any(axis=1), False)
    movable = can_change[np.minimum(shown, n_words)]
    movable[:, 0] = False
    kept = movable.any(axis=1)
    if not kept.any():
        raise InputError("exchanged_words: no document shows a word that some other word shares no topic with.")
    before = shown[kept]
    rows = np.arange(len(before))
    first = movable[kept].argmax(axis=1)
    old = before[rows, first]
    before[rows, first] = before[:, position]
    before[:, position] = old
    odds = strangers[old].cumsum(axis=1)
    new = (rng.random((len(old), 1)) * odds[:, -1:] >= odds).sum(axis=1)
    after = before.copy()
    after[:, position] = new
    found = ExchangedWords(before, after, old, new, np.zeros(len(old)))
    exact = (shown_beliefs(process, ids).predictive for ids in (before, after))
    return ExchangedWords(before, after, old, new, found.change(*exact))

"""Which oracle some answers follow, and by how much.

That answers stay near the exact ones is not enough: the oracle of the next level is near them too. A static pattern keeps what
a model computes only where its answers still follow the oracle that they followed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.answers import nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame, told
from mechbp.theory.tree.oracle_distances import oracle_distances


@dataclass(frozen=True, eq=False, repr=False)
class Followed(Shown):
    """Which oracle some answers follow, by both directions of the divergence."""

    oracle_to_answers_nats: Interval
    """Mean D(oracle || answers), one entry per oracle."""
    answers_to_oracle_nats: Interval
    """Mean D(answers || oracle), zeros of the oracle raised to the floor: it alone may set this number."""
    nearest: tuple[int, int]
    """The nearest oracle in either direction."""
    lead: tuple[Interval, Interval]
    """How much farther the runner-up is, nats."""

    def picture(self) -> Picture:
        """Draw the distance to every oracle, both ways."""
        first = self.oracle_to_answers_nats
        return Picture(
            kind="dots",
            title=f"Distance to every oracle; nearest: {self.nearest[0]} and {self.nearest[1]}",
            caption=f"Mean over n = {first.n:,} answers, {first.level:.0%} bootstrap intervals. Where an oracle holds zeros "
            "the floor alone "
            "may set D(answers || oracle).",
            alt=f"Dots with intervals by oracle ({len(first.mean)} of them): divergence from the answers, both ways.",
            data={
                "x_title": "nats",
                "categories": [f"oracle {oracle}" for oracle in range(len(first.mean))],
                "series": [
                    {"name": "D(oracle || answers)", **points(first, "x")},
                    {"name": "D(answers || oracle)", **points(self.answers_to_oracle_nats, "x")},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per oracle, in order: both divergences with their intervals, nats."""
        columns = {"oracle_to_answers_nats": self.oracle_to_answers_nats, "answers_to_oracle_nats": self.answers_to_oracle_nats}
        return frame({"oracle": range(len(self.oracle_to_answers_nats.mean))}, columns).assign(n=self.oracle_to_answers_nats.n)

    def summary(self) -> str:
        """Return the nearest oracle in either direction, its lead over the runner-up, and n."""
        ways = ("D(oracle || answers)", "D(answers || oracle)")
        lines = [
            f"by {way}: oracle {oracle} is nearest, the runner-up {told(lead)} nats farther"
            for way, oracle, lead in zip(ways, self.nearest, self.lead, strict=True)
        ]
        return "\n".join([*lines, examples(self.oracle_to_answers_nats, "answers")])


def followed(
    answers: Float64[np.ndarray, "n q"], oracles: Mapping[int, Float64[np.ndarray, "n q"]], rng: np.random.Generator
) -> Followed:
    """Compare answers with those of every oracle, given by filter level 0, 1, … in order, on the same sequences."""
    distances = oracle_distances(answers, np.stack(list(oracles.values()), axis=1))
    there, back = distances[:, 0], distances[:, 1]
    levels = list(oracles)
    first, second = nearest(there, rng), nearest(back, rng)
    return Followed(
        bootstrap_mean(there, rng),
        bootstrap_mean(back, rng),
        (levels[first[0]], levels[second[0]]),
        (first[1], second[1]),
    )

"""Is a model nearer to its own oracle than any other oracle is? Paired differences, rival by rival, on the same sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame, told

Answers = Float64[np.ndarray, "n query q"]


@dataclass(frozen=True, eq=False, repr=False)
class OracleLeads(Shown):
    """Differences [rival] that are positive where the model stands with its own oracle; sequences were resampled."""

    rivals: tuple[int, ...]
    """Which of the given oracles each entry is about: all but the own one."""
    closer_nats: Interval
    """D(own || rival) - D(own || model): how much less the model loses than a model that computes the rival."""
    nearer_nats: Interval
    """D(rival || model) - D(own || model): how much nearer the model's answers are to its own oracle's than to the rival's."""
    better: Interval
    """Expected accuracy of the model minus that of the rival, on data that the own oracle is exact for."""

    @property
    def next(self) -> int:
        """Where the rivals stand that is hardest to be told from the own oracle: the one of least D(own || rival)."""
        return int(self.closer_nats.mean.argmin())

    def numbers(self) -> dict[str, float]:
        """Return the lower ends that a criterion asks for: over all rivals, and of the accuracy over the hardest one."""
        return {
            "closer_low": float(self.closer_nats.low.min()),
            "nearer_low": float(self.nearer_nats.low.min()),
            "better_low": float(self.better.low[self.next]),
        }

    def picture(self) -> Picture:
        """Draw the three differences for every rival; above 0 the model stands with its own oracle."""
        leads = {"closer (nats)": self.closer_nats, "nearer (nats)": self.nearer_nats, "better (accuracy)": self.better}
        return Picture(
            kind="dots",
            title="The model's own oracle against its rivals",
            caption="Closer: D(own || rival) - D(own || model). Nearer: D(rival || model) - D(own || model). Better: expected "
            f"accuracy over the rival's. {self.better.level:.0%} bootstrap intervals over n = {self.better.n:,} sequences.",
            alt=f"Dots with intervals by rival oracle ({len(self.rivals)} of them): three differences.",
            data={
                "x_title": "difference",
                "categories": [f"oracle {rival}" for rival in self.rivals],
                "series": [{"name": name, **points(found, "x")} for name, found in leads.items()],
                "references": [{"name": "no lead", "x": 0}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per rival: the three differences with their intervals."""
        columns = {"closer_nats": self.closer_nats, "nearer_nats": self.nearer_nats, "better": self.better}
        return frame({"rival": self.rivals}, columns).assign(n=self.better.n)

    def summary(self) -> str:
        """Return the differences from the rival that is hardest to be told apart, and n."""
        hardest = self.next
        return (
            f"hardest of {len(self.rivals)} rivals: oracle {self.rivals[hardest]}\n"
            f"closer by {told(self.closer_nats[hardest])} nats, nearer by {told(self.nearer_nats[hardest])} nats, "
            f"better by {told(self.better[hardest])}\n{examples(self.better, 'sequences')}"
        )


def oracle_leads(oracles: Sequence[Answers], own: int, answers: Answers, rng: np.random.Generator) -> OracleLeads:
    """Hold a model's answers against its own oracle's and every other's, sequence by sequence.

    A model that computes a rival exactly has `closer_nats` 0 and `nearer_nats` -D(own || rival) there, so that no interval above
    0 admits it. Raises InputError for fewer than two oracles, an own one that is not among them, or shapes that differ.
    """
    if len(oracles) < 2 or not 0 <= own < len(oracles):
        raise InputError(f"oracle_leads: need two oracles or more, the own one among them, got {len(oracles)} and own = {own}.")
    shapes = {oracle.shape for oracle in oracles} | {answers.shape}
    if len(shapes) > 1 or answers.ndim != 3:
        raise InputError(f"oracle_leads: need equal shapes [n, query, q], got {', '.join(map(str, sorted(shapes)))}.")
    truth = oracles[own]
    rivals = tuple(k for k in range(len(oracles)) if k != own)
    lost = kl_nats(truth, answers)
    hits = expected_hits(truth, answers)
    per_sequence = [
        np.stack(
            [
                (kl_nats(truth, oracles[k]) - lost).mean(axis=1),
                (kl_nats(oracles[k], answers) - lost).mean(axis=1),
                (hits - expected_hits(truth, oracles[k])).mean(axis=1),
            ],
            axis=1,
        )
        for k in rivals
    ]
    found = bootstrap_mean(np.stack(per_sequence, axis=2), rng)
    return OracleLeads(rivals, found[0], found[1], found[2])

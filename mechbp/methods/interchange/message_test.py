"""What causal tests of a message find: how near answers are, after each edit, to what exact inference says they must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import named, told
from mechbp.randomness import rng as named_rng

NOTHING = "nothing"
PLACEBO = ", placebo"
"""A random change of the same norm."""
ANOTHER_SOURCE = ", another source"
"""The same subspace, with the component of a sequence that the exact answer is not about."""
OTHER_MESSAGES = ", other messages"
"""The same method, fitted to messages of other sequences."""
MOST_TOLD = 3
"""Edits that a summary names."""


@dataclass(frozen=True, eq=False, repr=False)
class MessageTest(Shown):
    """Divergence of the answers after each edit, per pair, from what exact inference says."""

    hook: str
    target_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the query; exact is the answer with the source's message, or without any if erased."""
    before_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the query, exact on the base as it is: small while the edit moves nothing."""
    bystander_kl_nats: Mapping[str, Float64[np.ndarray, " n"]]
    """Edit -> KL(exact || model) at the bystander, whose exact answer does not move; empty where there is none."""

    rivals_kl_nats: Mapping[str, Float64[np.ndarray, " n"]] = field(default_factory=dict)
    """Answer of no run -> KL(exact || that answer): what a model scores that does something else instead, by exact inference."""

    @property
    def edits(self) -> tuple[str, ...]:
        """Names of the edits; the first is "nothing"."""
        return tuple(self.target_kl_nats)

    def explained(self, edit: str, rng: np.random.Generator) -> Interval:
        """Return 1 - mean KL after the edit / mean KL unedited: 1 is the exact answer, 0 no nearer, below 0 farther away."""
        unedited = self.target_kl_nats[NOTHING]
        return bootstrap_ratio(unedited - self._of(self.target_kl_nats, edit), unedited, rng)

    def beyond(self, edit: str, rival_kl_nats: Float64[np.ndarray, " n"], rng: np.random.Generator) -> Interval:
        """Return 1 - mean KL after the edit / mean KL of a rival's answers on the same pairs, nats: 1 is exact, 0 the rival.

        It is (share - rival's share) / (1 - rival's share) in the shares of `explained`, and the resamples are paired: where its
        interval excludes 0 the edit explains more than the rival does.
        """
        return bootstrap_ratio(rival_kl_nats - self._of(self.target_kl_nats, edit), rival_kl_nats, rng)

    def side_effect(self, edit: str, rng: np.random.Generator) -> Interval:
        """Return how much the edit raises KL at the bystander, nats. Raises InputError where there is no bystander."""
        return bootstrap_mean(self._of(self.bystander_kl_nats, edit) - self.bystander_kl_nats[NOTHING], rng)

    def all_explained(self, rng: np.random.Generator) -> dict[str, Interval]:
        """Return `explained` of every edit, all from the same resamples: what each would be from a fresh copy of `rng`."""
        unedited = self.target_kl_nats[NOTHING]
        kl = np.stack(list(self.target_kl_nats.values()), axis=1)
        shares = bootstrap_ratio(unedited[:, None] - kl, unedited, rng)
        return {edit: shares[column] for column, edit in enumerate(self.target_kl_nats)}

    def all_side_effects(self, rng: np.random.Generator) -> dict[str, Interval]:
        """Return `side_effect` of every edit, all from the same resamples; empty where there is no bystander."""
        if not self.bystander_kl_nats:
            return {}
        kl = np.stack(list(self.bystander_kl_nats.values()), axis=1)
        rises = bootstrap_mean(kl - self.bystander_kl_nats[NOTHING][:, None], rng)
        return {edit: rises[column] for column, edit in enumerate(self.bystander_kl_nats)}

    @staticmethod
    def _of(table: Mapping[str, np.ndarray], edit: str) -> np.ndarray:
        if edit not in table:
            raise InputError(f"MessageTest: no edit {edit!r} here; there are {', '.join(table) or 'none'}.")
        return table[edit]

    def shares(self, rng: np.random.Generator | None = None) -> dict[str, Interval]:
        """Return `explained` of every edit but "nothing", and the same share of every rival's answers."""
        draw = named_rng(0, "MessageTest") if rng is None else rng
        unedited = self.target_kl_nats[NOTHING]
        kl = {name: value for name, value in {**self.target_kl_nats, **self.rivals_kl_nats}.items() if name != NOTHING}
        found = bootstrap_ratio(unedited[:, None] - np.stack(list(kl.values()), axis=1), unedited, draw)
        return {name: found[column] for column, name in enumerate(kl)}

    def beside(self, other: MessageTest, suffix: str, edits: Sequence[str]) -> MessageTest:
        """Return the same with some edits of another test on the same bases beside its own, their names with a suffix."""
        tables = []
        for name in ("target_kl_nats", "before_kl_nats", "bystander_kl_nats"):
            theirs = {f"{edit}{suffix}": kl for edit, kl in getattr(other, name).items() if edit in edits}
            tables.append({**getattr(self, name), **theirs})
        return replace(self, target_kl_nats=tables[0], before_kl_nats=tables[1], bystander_kl_nats=tables[2])

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw the share of the exact change that every edit explains, controls hollow beside them."""
        shares = self.shares(rng)
        controls = [name for name in shares if self.is_control(name)]
        every = next(iter(shares.values()))
        series = []
        for name, among in (("edit", [edit for edit in shares if edit not in controls]), ("control", controls)):
            values = [shares[row] if row in among else _gap(every) for row in shares]
            series.append({"name": name, **points(values, "x"), **({"control": True} if name == "control" else {})})
        return Picture(
            kind="dots",
            title=f"Messages at {self.hook}: share of the exact change",
            caption="1 - mean KL(exact || model) after the edit / the same unedited: 1 is the exact answer, 0 no nearer than the "
            f"model unedited. {every.level:.0%} bootstrap intervals over n = {every.n:,} pairs. Hollow: controls.",
            alt=f"Dots with intervals: share of the exact change explained by {len(shares)} edits and controls.",
            data={
                "x_title": "share of the exact change explained",
                "categories": list(shares),
                "series": [part for part in series if not np.isnan(part["x"]).all()],
                "references": [{"name": "nothing", "x": 0}, {"name": "exact", "x": 1}],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per edit and rival: share explained with its interval, mean KL in nats, side effect, control or not."""
        draw = named_rng(0, "MessageTest") if rng is None else rng
        table = named(self.shares(draw), "edit").rename(
            columns={"mean": "explained", "low": "explained_low", "high": "explained_high"}
        )
        kl = {**self.target_kl_nats, **self.rivals_kl_nats}
        table["kl_nats"] = [float(kl[edit].mean()) for edit in table["edit"]]
        side = self.all_side_effects(draw)
        if side:
            table["side_effect_nats"] = [float(side[edit].mean) if edit in side else np.nan for edit in table["edit"]]
        table["control"] = [self.is_control(edit) for edit in table["edit"]]
        return table.assign(n=len(self.target_kl_nats[NOTHING]))

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return n, the share that up to three edits explain, and the controls' shares."""
        shares = self.shares(rng)
        edits = [name for name in shares if not self.is_control(name)]
        controls = "; ".join(f"{name} {float(found.mean):.2g}" for name, found in shares.items() if self.is_control(name))
        unedited = self.target_kl_nats[NOTHING]
        return "\n".join(
            [
                f"at {self.hook}, n = {len(unedited):,} pairs; KL(exact || model) unedited {unedited.mean():.3g} nats",
                *(f"{name}: {told(shares[name])} of the exact change explained" for name in edits[:MOST_TOLD]),
                *([f"and {len(edits) - MOST_TOLD} more edits"] if len(edits) > MOST_TOLD else []),
                f"controls: {controls or 'none'}",
            ]
        )

    def is_control(self, edit: str) -> bool:
        """Return whether an edit is a placebo, another source's component, another fit, or a rival that no run answered."""
        return edit in self.rivals_kl_nats or edit.endswith((PLACEBO, ANOTHER_SOURCE, OTHER_MESSAGES))


def _gap(like: Interval) -> Interval:
    """A value that is not drawn."""
    nan = np.asarray(np.nan)
    return Interval(nan, nan, nan, like.n, like.level)

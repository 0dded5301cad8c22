"""What came of judging one method: hits, misses and false alarms for every truth, with intervals over grammars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.figures.picture import Picture
from mechbp.judging.setting import Sites
from mechbp.judging.truth import RIGHT, TRUTHS, Kind
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval


@dataclass(frozen=True, eq=False, repr=False)
class Judgement(Shown):
    """How often a method said yes of the places of each truth, and whether that was right. Intervals are over grammars."""

    method: str
    kind: Kind
    sites: Sites
    candidates: Int[np.ndarray, " truth"]
    """How many candidates there were of each of TRUTHS, over all questions."""
    said: Interval
    """[truth]: share of them that the method said yes of; NaN where there are none."""
    auroc: Interval
    """Over the candidates that have a right answer: 0.5 is chance, and a constant."""
    average_precision: Interval
    chance_precision: float
    """Average precision of scores that know nothing."""
    passes: Interval
    """Per question: sequences through all blocks, backward counted twice."""
    budget: int | None
    own_threshold: bool
    """Whether the method decided by itself; if not, as many as are right were taken from the top of its scores."""
    per_grammar: Float64[np.ndarray, "grammar truth"]
    """What `said` is the mean of."""
    stopped: tuple[str, ...]
    """Questions left unanswered, each with the reason; they count in no share."""

    @property
    def right(self) -> tuple[bool | None, ...]:
        """What was right to say of each of TRUTHS; None where nothing is."""
        return tuple(RIGHT[self.kind][truth] for truth in TRUTHS)

    @property
    def hits(self) -> Interval:
        """[truth]: share found of what was to be found; NaN elsewhere."""
        return self._where(True)

    @property
    def misses(self) -> Interval:
        """[truth]: 1 - hits."""
        found = self._where(True)
        return Interval(1 - found.mean, 1 - found.high, 1 - found.low, found.n, found.level)

    @property
    def false_alarms(self) -> Interval:
        """[truth]: share said yes of where the right answer is no; NaN elsewhere."""
        return self._where(False)

    def _where(self, right: bool) -> Interval:
        mine = np.array([answer is right for answer in self.right])
        mean, low, high = (np.where(mine, end, np.nan) for end in (self.said.mean, self.said.low, self.said.high))
        return Interval(mean, low, high, self.said.n, self.said.level)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per truth: what was right, hits, misses, false alarms, and the share said yes with its interval."""
        frame = pd.DataFrame({"method": self.method, "kind": self.kind, "sites": self.sites, "truth": TRUTHS})
        frame["right"] = [{True: "yes", False: "no", None: "-"}[answer] for answer in self.right]
        frame["candidates"] = self.candidates
        for name in ("hits", "misses", "false_alarms"):
            frame[name] = getattr(self, name).mean
        for name, end in (("said_yes", "mean"), ("low", "low"), ("high", "high")):
            frame[name] = getattr(self.said, end)
        return frame.assign(grammars=self.said.n, passes=float(self.passes.mean))

    def to_dict(self) -> dict[str, object]:
        """Return everything for JSON."""
        named = ("method", "kind", "sites", "budget", "own_threshold", "chance_precision")
        settings = {name: getattr(self, name) for name in named}
        table = {"truths": list(TRUTHS), "right": list(self.right), "candidates": self.candidates.tolist()}
        shares = {name: getattr(self, name).to_dict() for name in ("said", "auroc", "average_precision", "passes")}
        return {**settings, **table, **shares, "stopped": list(self.stopped)}

    def summary(self) -> str:
        """Return AUROC and average precision beside chance, what was found and what not, and what it cost."""
        threshold = "its own threshold" if self.own_threshold else "as many yes as are right"
        lines = [
            f"{self.method} ({self.kind}, {self.sites}): AUROC {told(self.auroc)} (chance 0.50), average precision "
            f"{told(self.average_precision)} (chance {self.chance_precision:.2f})",
            f"n = {self.said.n} grammar(s), 95 % interval over them; {self.passes.mean:,.0f} passes per question",
        ]
        for words, shares in (("hits", self.hits), ("false alarms", self.false_alarms)):
            known = [i for i in range(len(TRUTHS)) if not np.isnan(shares.mean[i])]
            lines.append(f"{words}, {threshold}: " + ", ".join(f"{TRUTHS[i]} {told(shares[i])}" for i in known))
        if not self.said.n:
            lines = lines[1:2]
        if self.stopped:
            lines.append(f"{len(self.stopped)} questions unanswered: {self.stopped[0]}")
        return "\n".join(lines)

    def picture(self) -> Picture:
        """Return shares of yes per truth: hits and false alarms as two series of points with intervals over grammars."""
        kept = [i for i, answer in enumerate(self.right) if answer is not None and self.candidates[i]]
        series = []
        for name, shares, control in (("right answer yes", self.hits, False), ("right answer no", self.false_alarms, True)):
            at = {"x": shares.mean[kept], "low": shares.low[kept], "high": shares.high[kept]}
            series.append({"name": name, **at, "control": control})
        return Picture(
            kind="dots",
            title=f"Where {self.method} says yes",
            caption=f"Share of candidates that the method says yes of, by what is there ({self.sites}, judged as {self.kind}). "
            f"Mean and 95 % interval over {self.said.n} grammars. Filled: yes is right, a hit; open: yes is a false alarm.",
            alt="Points with intervals from 0 to 1, one row per truth: filled where yes is right, open where it is not.",
            data={
                "x_title": "share said yes",
                "x_range": [-0.02, 1.02],
                "categories": [f"{TRUTHS[i]} ({self.candidates[i]})" for i in kept],
                "series": series,
            },
        )


def told(interval: Interval) -> str:
    """Return "0.98 [0.95, 1.00]", without ends where there are none."""
    mean, low, high = (float(end) for end in (interval.mean, interval.low, interval.high))
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} [{low:.2f}, {high:.2f}]"

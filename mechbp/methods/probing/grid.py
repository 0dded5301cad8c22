"""What a set of probes found: scores per hook, position and node, and averaged over each position's own nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.probing.grid_picture import cells_picture, own_picture
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import told

Scores = Mapping[str, Mapping[str, Interval]]
"""Metric -> target -> interval."""

OwnNodes = Mapping[str, Int[np.ndarray, " position"]]
"""Target -> the node that belongs to each position, -1 where none does."""


MOST_TOLD = 4
"""Targets that a summary names."""


@dataclass(frozen=True, eq=False, repr=False)
class ProbeScores(Brief):
    """Held-out scores of one set of features: the model's, or a control's."""

    cells: Scores
    """Axes [hook, position, node]; NaN where nothing was fitted, and R^2 where the target is constant."""
    own: Scores
    """Axis [hook]: each position's probe of its own node, pooled over the positions that have one. R^2 is 1 - pooled SSE /
    pooled SST, the others are means. Sequences were resampled, so positions of one sequence stay together."""
    per_example: Mapping[str, Mapping[str, Float64[np.ndarray, "hook example"]]]
    """Target -> statistic -> its value per held-out sequence, averaged over positions. R^2 stands as its two
    parts, squared_error and squared_total."""


@dataclass(frozen=True, eq=False, repr=False)
class ProbeGrid(Shown):
    """Probes of every target at every hook and position, with controls of the same shapes."""

    hooks: tuple[str, ...]
    n_positions: int
    own: OwnNodes
    """As given to `probe`; -1 everywhere for targets that were not."""
    n_nodes: Mapping[str, int]
    """Nodes per target."""
    model: ProbeScores
    controls: Mapping[str, ProbeScores]
    """"random_init": the control model's activations. "shuffled": targets permuted over sequences or groups. "tokens": the
    token at this position, one-hot, and nothing else (equal for all hooks). `baselines` by their own names."""
    penalty: Mapping[str, Float64[np.ndarray, "hook position node"]]
    """Absolute L2 penalty of each of the model's probes."""
    n_train: int
    n_validation: int
    n_test: int
    floor: float
    """Probe outputs were raised to this before the KL."""
    unconverged: int
    """Logistic fits, all sources together, that stopped before their gradient was small."""

    @property
    def r2(self) -> dict[str, Float64[np.ndarray, "hook position node"]]:
        """Held-out R^2 pooled over symbols, 1 - SSE / SST, with SST about the mean over the training split."""
        return self._means("r2")

    @property
    def kl_nats(self) -> dict[str, Float64[np.ndarray, "hook position node"]]:
        """Held-out mean D(target || probe), nats."""
        return self._means("kl_nats")

    @property
    def accuracy(self) -> dict[str, Float64[np.ndarray, "hook position node"]]:
        """Share of held-out sequences where the probe's argmax is the target's (any of them, if tied)."""
        return self._means("accuracy")

    @property
    def cross_entropy_nats(self) -> dict[str, Float64[np.ndarray, "hook position node"]]:
        """Held-out mean cross-entropy of symbol probes, nats."""
        return self._means("cross_entropy_nats")

    def interval(self, metric: str, target: str, source: str = "model") -> Interval:
        """Return scores [hook, position, node] with intervals; `source` is "model" or a control."""
        return self._find(self._source(source).cells, metric, target)

    def own_mean(self, metric: str, target: str, source: str = "model") -> Interval:
        """Return scores [hook] of each position's own node, pooled over the positions that have one, with intervals."""
        return self._find(self._source(source).own, metric, target)

    def at_own(self, metric: str, target: str, source: str = "model") -> Interval:
        """Return scores [hook, position] of each own node, at the positions that have one."""
        whole = self.interval(metric, target, source)
        positions = np.flatnonzero(self.own[target] >= 0)
        if not len(positions):
            raise InputError(f"at_own: no position has a node of {target!r} of its own; pass probe(..., own=...).")
        where = (slice(None), positions, self.own[target][positions])
        return Interval(whole.mean[where], whole.low[where], whole.high[where], whole.n, whole.level)

    def picture(
        self, target: str | None = None, *, metric: str | None = None, own: bool = False, node: int | None = None
    ) -> Picture:
        """Draw the scores of one target, the first one unless named: hook x position, or with `own` hook by hook.

        metric: "r2" by default, "accuracy" for symbols. Cells are those of each position's own node where nodes were given to
        `probe`, of one `node` if asked for, else of every node, a panel each. With `own` the scores of own nodes, pooled over
        positions, stand beside all controls, with intervals.
        Raises InputError for a target, metric or node that is not here, and for `own` where no position has a node of its own.
        """
        name, measure = self._chosen(target, metric)
        if own:
            if not (self.own[name] >= 0).any():
                raise InputError(
                    f"ProbeGrid: no position has a node of {name!r} of its own.\n"
                    "Pass probe(..., own={target: [position]}); for trees own_nodes of mechbp.theory.tree.leaves says which."
                )
            sources = {"model": self.own_mean(measure, name)} | {
                source: self.own_mean(measure, name, source) for source in self.controls
            }
            return own_picture(self.hooks, name, measure, sources)
        if node is not None and node not in range(self.n_nodes[name]):
            raise InputError(f"ProbeGrid: {name!r} has nodes 0..{self.n_nodes[name] - 1}, got node={node!r:.20}.")
        return cells_picture(
            self.hooks,
            name,
            measure,
            self.interval(measure, name),
            {source: self.interval(measure, name, source) for source in self.controls},
            self.own[name] if node is None else np.full(self.n_positions, node),
        )

    def summary(self) -> str:
        """Return sizes, and of every target the best score with its interval and its controls, one line each for up to four."""
        lines = [
            f"probes at {len(self.hooks)} hooks x {self.n_positions} positions; n = {self.n_train:,} sequences to fit, "
            f"{self.n_validation:,} to choose penalties, {self.n_test:,} held out"
        ]
        for target in list(self.n_nodes)[:MOST_TOLD]:
            lines.append(self._best(target))
        if len(self.n_nodes) > MOST_TOLD:
            lines.append(f"and {len(self.n_nodes) - MOST_TOLD} more targets; to_dataframe() has them all")
        return "\n".join(lines)

    def _best(self, target: str) -> str:
        """Of one target the mean over cells, and the cell that beats its best control by most; of own nodes where there are any.

        The best cell itself is often one where a control is as good: a leaf at its own position, a prior.
        """
        _, metric = self._chosen(target, None)
        owned = bool((self.own[target] >= 0).any())
        scores = self.own_mean(metric, target) if owned else self.interval(metric, target)
        if np.isnan(scores.mean).all():
            return f"{target}: {metric} is undefined everywhere"
        rivals = {name: (self.own_mean if owned else self.interval)(metric, target, name).mean for name in self.controls}
        best = np.fmax.reduce([np.nan_to_num(rival, nan=-np.inf) for rival in rivals.values()]) if rivals else 0.0
        lead = np.where(np.isfinite(best), scores.mean - best, scores.mean)
        where = np.unravel_index(int(np.nanargmax(lead)), scores.mean.shape)
        controls = {name: rival[where] for name, rival in rivals.items()}
        place = self.hooks[where[0]] + (", own nodes" if owned else f", position {where[1]}, node {where[2]}")
        beside = ", ".join(f"{name} {value:.3g}" for name, value in controls.items())
        mean = f"{target}: mean {metric} {np.nanmean(scores.mean):.3g}; "
        lead_of = "farthest ahead of its controls" if beside else "best"
        return f"{mean}{lead_of} {told(scores[where])} at {place}" + (f"; its controls: {beside}" if beside else "")

    def _chosen(self, target: str | None, metric: str | None) -> tuple[str, str]:
        name = next(iter(self.n_nodes)) if target is None else target
        if name not in self.n_nodes:
            raise InputError(f"ProbeGrid: no target {name!r:.40} here; there are {', '.join(self.n_nodes):.200}.")
        kinds = [kind for kind, found in self.model.cells.items() if name in found]
        measure = metric or ("r2" if "r2" in kinds else "accuracy")
        if measure not in kinds:
            raise InputError(f"ProbeGrid: no metric {measure!r:.40} of {name!r} here; there are {', '.join(kinds)}.")
        return name, measure

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per hook, position, target and node, with every metric, its interval and its controls in columns."""
        frames = []
        for target, n_nodes in self.n_nodes.items():
            axes = [self.hooks, range(self.n_positions), [target], range(n_nodes)]
            frame = pd.MultiIndex.from_product(axes, names=["hook", "position", "target", "node"]).to_frame(index=False)
            for metric, found in self.model.cells.items():
                if target in found:
                    interval = found[target]
                    frame[metric], frame[f"{metric}_low"] = interval.mean.ravel(), interval.low.ravel()
                    frame[f"{metric}_high"] = interval.high.ravel()
                    for name, control in self.controls.items():
                        frame[f"{metric}_{name}"] = control.cells[metric][target].mean.ravel()
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def to_dict(self, cells: bool = True) -> dict[str, object]:
        """Return everything but per-example values for JSON; without `cells`, only the scores of own nodes."""
        sources = {"model": self.model, **self.controls}
        plain = {
            "hooks": list(self.hooks),
            "n_positions": self.n_positions,
            "n_nodes": dict(self.n_nodes),
            "n_train": self.n_train,
            "n_validation": self.n_validation,
            "n_test": self.n_test,
            "floor": self.floor,
            "unconverged": self.unconverged,
            "own": {name: _plain(scores.own) for name, scores in sources.items()},
        }
        return {**plain, "cells": {name: _plain(scores.cells) for name, scores in sources.items()}} if cells else plain

    def _means(self, metric: str) -> dict[str, np.ndarray]:
        return {target: interval.mean for target, interval in self.model.cells.get(metric, {}).items()}

    def _source(self, source: str) -> ProbeScores:
        if source != "model" and source not in self.controls:
            raise InputError(f"ProbeGrid: no source {source!r}; there are model, {', '.join(self.controls)}.")
        return self.model if source == "model" else self.controls[source]

    @staticmethod
    def _find(scores: Scores, metric: str, target: str) -> Interval:
        if metric not in scores or target not in scores[metric]:
            known = ", ".join(f"{m} of {t}" for m, found in scores.items() for t in list(found)[:3])
            raise InputError(f"ProbeGrid: no {metric!r} of {target!r} here. There are, among others: {known}.")
        return scores[metric][target]


def _plain(scores: Scores) -> dict[str, dict[str, object]]:
    return {metric: {target: interval.to_dict() for target, interval in found.items()} for metric, found in scores.items()}

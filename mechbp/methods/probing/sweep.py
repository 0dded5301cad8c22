"""One pass over activations: decompose the features of every hook and position once, and fit and score all probes on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.arguments import as_array, told
from mechbp.brief import Brief
from mechbp.errors import InputError, TooFewSequences
from mechbp.hooks import to_array
from mechbp.methods.probing.grid import OwnNodes, ProbeScores
from mechbp.methods.probing.logistic import fit_logistic
from mechbp.methods.probing.ridge import Features, Spectrum, Targets, fit_ridge
from mechbp.methods.probing.scores import METRICS, STATISTICS, PerExample, Truth, linear_scores, softmax_scores
from mechbp.methods.probing.targets import Split, TargetBank
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.shared_bootstrap import LEVEL, Resampling

SMALL_VOCABULARY = 256


@dataclass(frozen=True, eq=False, repr=False)
class Labels(Brief):
    """One bank of targets, cut along the split."""

    bank: TargetBank
    train: Targets
    held: Targets
    truth: Truth
    fitted: list[np.ndarray | slice]
    """Per position, the nodes to probe."""
    own: list[dict[str, int]]
    """Per position, the node of each target that is the position's own."""

    @classmethod
    def of(cls, bank: TargetBank, split: Split, own: OwnNodes, only_own: bool) -> Labels:
        """Cut a bank along the split, and find each position's own nodes; with `only_own` no others are fitted."""
        train, held, test = (np.ascontiguousarray(bank.values[..., part]) for part in (split.train, split.validation, split.test))
        found: list[dict[str, int]] = [{} for _ in range(len(next(iter(own.values()))))]
        for name, where in bank.slices.items():
            for position in np.flatnonzero(own[name] >= 0):
                found[position][name] = where.start + int(own[name][position])
        fitted = [np.array(sorted(nodes.values()), np.int64) if only_own else slice(None) for nodes in found]
        return cls(bank, train, held, Truth.of(test, train.mean(axis=-1, keepdims=True)), fitted, found)

    def asks(self, position: int) -> bool:
        """Return whether any node is to be read at a position."""
        nodes = self.fitted[position]
        return isinstance(nodes, slice) or len(nodes) > 0

    def shuffled(self, split: Split, rng: np.random.Generator) -> Labels:
        """Return the labels permuted over sequences, or over groups, within each part."""
        parts = ((self.train, split.train), (self.held, split.validation), (self.truth.values, split.test))
        train, held, test = (np.ascontiguousarray(values[..., split.shuffle(part, rng)]) for values, part in parts)
        return Labels(self.bank, train, held, Truth.of(test, train.mean(axis=-1, keepdims=True)), self.fitted, self.own)


def checked_own(
    own: OwnNodes | None, only_own: bool, banks: Sequence[TargetBank], n_positions: int
) -> dict[str, Int[np.ndarray, " position"]]:
    """Return the node of every target that belongs to each position, -1 for targets not given.

    Raises InputError for targets that are not probed, and for arrays that are no nodes, one per position.
    """
    n_nodes = {name: where.stop - where.start for bank in banks for name, where in bank.slices.items()}
    found = {name: np.full(n_positions, -1) for name in n_nodes}
    if own is not None and not isinstance(own, Mapping):
        raise InputError(f"probe: own must be {{target: [position]}}, got {told(own)}.")
    for name, nodes in (own or {}).items():
        array = as_array(nodes, "probe", f"own nodes of {told(name)}", f"integers [{n_positions}]")
        if name not in n_nodes or array.shape != (n_positions,) or array.dtype.kind not in "iu":
            raise InputError(
                f"probe: own must map targets ({', '.join(n_nodes)}) to integers [{n_positions}], one per position,\n"
                f"got {array.dtype} {list(array.shape)} for {name!r}."
            )
        if array.min() < -1 or array.max() >= n_nodes[name]:
            raise InputError(f"probe: own nodes of {name!r} must lie in 0..{n_nodes[name] - 1}, or be -1 for none.")
        found[name] = array
    if only_own and not any((nodes >= 0).any() for nodes in found.values()):
        raise InputError("probe: only_own=True needs own={target: [position]}, with a node of its own for some position.")
    return found


@dataclass(frozen=True, eq=False, repr=False)
class OneHot(Brief):
    """Stands for an activation that shows the token at its position and nothing else.

    One feature per token of a small vocabulary, so that all positions weigh penalties alike; of a large one, per token that
    occurs at the position.
    """

    tokens: Int[np.ndarray, "n position"]

    def check(self, split: Split) -> None:
        """Raise TooFewSequences where some position has as many features as there are distinct training sequences."""
        for position, column in enumerate(self.tokens.T):
            d = len(self._shown(column))
            if d >= split.n_distinct_train:
                raise TooFewSequences(
                    f"probe: the control 'tokens' has {d} features at position {position}, one per token, but only "
                    f"{split.n_distinct_train} distinct training sequences.\n"
                    f"Give more sequences, or leave this control out: controls=('shuffled',)."
                )

    def features(self) -> Iterator[Features]:
        """Float64 features [n, d] of every position, made one at a time: vocabularies can be large."""
        for column in self.tokens.T:
            yield (column[:, None] == self._shown(column)).astype(np.float64)

    def _shown(self, column: Int[np.ndarray, " n"]) -> Int[np.ndarray, " d"]:
        """The tokens that have a feature at a position."""
        vocabulary = int(self.tokens.max()) + 1
        return np.arange(vocabulary) if vocabulary <= SMALL_VOCABULARY else np.unique(column)


@dataclass(frozen=True, eq=False)
class Sweep:
    """How to fit and score, whatever the features."""

    split: Split
    resampling: Resampling
    penalties: Sequence[float]
    floor: float

    def run(self, activations: Mapping[str, Tensor | OneHot], labels: Mapping[str, Sequence[Labels]]) -> dict[str, ScoreTable]:
        """Return one table per set of labels; all sets share the features and their decomposition."""
        n_positions = len(next(iter(labels.values()))[0].own)
        tables = {name: ScoreTable(len(activations), banks, self.resampling) for name, banks in labels.items()}
        for hook, (name, activation) in enumerate(activations.items()):
            for position, features in enumerate(self._features(name, activation, n_positions)):
                if not any(label.asks(position) for banks in labels.values() for label in banks):
                    continue
                spectrum = Spectrum.of(features[self.split.train])
                held, test = (spectrum.rotate(features[part]) for part in (self.split.validation, self.split.test))
                for source, banks in labels.items():
                    for bank, label in enumerate(banks):
                        self._probe(tables[source], (hook, position, bank), label, spectrum, held, test)
        return tables

    def _features(self, name: str, activation: Tensor | OneHot, n_positions: int) -> Iterator[Features]:
        """Float64 features [n, d] of every position."""
        if isinstance(activation, OneHot):
            yield from activation.features()
            return
        array = to_array(activation)
        if array.ndim < 3 or array.shape[1] != n_positions:
            raise InputError(f"probe: {name} has shape {list(array.shape)}, expected [n, {n_positions} positions, ...].")
        d = int(np.prod(array.shape[2:]))
        if d >= self.split.n_distinct_train:
            raise TooFewSequences(
                f"probe: {name} has {d} features but only {self.split.n_distinct_train} distinct training sequences; "
                f"a linear map would fit them by counting.\nGive more sequences, several times {d}."
            )
        for position in range(n_positions):
            yield array[:, position].reshape(len(array), d).astype(np.float64)

    def _probe(
        self, table: ScoreTable, where: tuple[int, int, int], label: Labels, spectrum: Spectrum, held: Features, test: Features
    ) -> None:
        """Fit and score the probes of one bank at one hook and position."""
        nodes = label.fitted[where[1]]
        truth = label.truth.nodes(nodes)
        if truth.values.shape[1] == 0:
            return
        if label.bank.kind == "distribution":
            fit = fit_ridge(spectrum, label.train[:, nodes], held, label.held[:, nodes], self.penalties)
            scores = linear_scores(fit.predict(test), truth, self.floor)
            scores["squared_total"] = truth.squared_total
            table.add(where, scores, fit.penalty)
        else:
            softmax = fit_logistic(spectrum, label.train[:, nodes])
            table.unconverged += not softmax.converged
            table.add(where, softmax_scores(softmax.predict(test), truth), softmax.penalty)


class ScoreTable:
    """Collects the scores of one source, probe by probe: intervals per cell, and per example the mean over own nodes."""

    def __init__(self, n_hooks: int, labels: Sequence[Labels], resampling: Resampling) -> None:
        self.labels, self.resampling, self.unconverged = labels, resampling, 0
        n_positions = len(labels[0].own)
        self._owners = Counter(target for label in labels for own in label.own for target in own)  # positions per target
        self._ends: list[dict[str, np.ndarray]] = []  # bank -> metric -> [mean/low/high, hook, position, node]
        self._penalties: list[np.ndarray] = []  # bank -> [hook, position, node]
        self._own: dict[str, dict[str, np.ndarray]] = {}  # target -> statistic -> [hook, example]
        for label in labels:
            shape = (n_hooks, n_positions, label.truth.values.shape[1])
            self._ends.append({metric: np.full((3, *shape), np.nan) for metric in METRICS[label.bank.kind]})
            self._penalties.append(np.full(shape, np.nan))
            for target in dict.fromkeys(name for own in label.own for name in own):
                zeros = {name: np.zeros((n_hooks, len(resampling.counts))) for name in STATISTICS[label.bank.kind]}
                self._own[target] = zeros

    def add(self, where: tuple[int, int, int], scores: Mapping[str, PerExample], penalty: float | np.ndarray) -> None:
        """Enter the per-example scores of the nodes probed at (hook, position, bank)."""
        hook, position, bank = where
        label = self.labels[bank]
        nodes = label.fitted[position]
        self._penalties[bank][hook, position, nodes] = penalty
        for metric, ends in self._ends[bank].items():
            interval = self._interval(metric, scores)
            for end, values in zip(ends, (interval.mean, interval.low, interval.high), strict=True):
                end[hook, position, nodes] = values
        for target, node in label.own[position].items():
            row = node if isinstance(nodes, slice) else int(np.searchsorted(nodes, node))
            for statistic, values in scores.items():
                self._own[target][statistic][hook] += values[row] / self._owners[target]

    def scores(self, repeats: int = 1) -> ProbeScores:
        """Return what was collected; `repeats` copies the scores of a single hook along the hook axis."""
        cells: dict[str, dict[str, Interval]] = {}
        pooled: dict[str, dict[str, Interval]] = {}
        own = {
            target: {statistic: np.repeat(values, repeats, axis=0) for statistic, values in found.items()}
            for target, found in self._own.items()
        }
        for label, by_metric in zip(self.labels, self._ends, strict=True):
            for metric, ends in by_metric.items():
                for target, nodes in label.bank.slices.items():
                    mean, low, high = np.repeat(ends[..., nodes], repeats, axis=1)
                    cells.setdefault(metric, {})[target] = Interval(mean, low, high, len(self.resampling.counts), LEVEL)
                    if target in own:
                        pooled.setdefault(metric, {})[target] = self._interval(metric, own[target])
        return ProbeScores(cells, pooled, own)

    def penalties(self) -> dict[str, Float64[np.ndarray, "hook position node"]]:
        """Return the absolute penalty of every probe, by target."""
        banks = zip(self.labels, self._penalties, strict=True)
        return {target: values[..., nodes] for label, values in banks for target, nodes in label.bank.slices.items()}

    def _interval(self, metric: str, scores: Mapping[str, np.ndarray]) -> Interval:
        if metric == "r2":
            return self.resampling.explained(scores["squared_error"], scores["squared_total"])
        return self.resampling.mean(scores[metric])

"""One probe for all positions: what is written in the same directions wherever a leaf stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, capture, matching_hooks, to_array
from mechbp.methods.probing.logistic import fit_logistic
from mechbp.methods.probing.ridge import Spectrum
from mechbp.methods.probing.targets import Split, split_sequences
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import frame, panel, told
from mechbp.randomness import checked_generator
from mechbp.theory.tree.leaves import own_nodes


@dataclass(frozen=True, eq=False, repr=False)
class SharedProbe(Shown):
    """Held-out accuracy of classifiers that know no position, for each leaf's own ancestors."""

    hooks: tuple[str, ...]
    fitted_on: tuple[int, ...]
    """Leaf positions whose activations the classifier was fitted on."""
    accuracy: Interval
    """[hook, target], mean over all leaf positions; sequences were resampled."""
    by_position: Float64[np.ndarray, "hook target leaf"]
    n_train: int
    """Sequences; each gives one example per fitted position."""
    n_test: int

    def picture(self, by_position: bool = False) -> Picture:
        """Draw held-out accuracy, hook by hook, or at every leaf if `by_position`."""
        targets = range(self.accuracy.mean.shape[1])
        caption = (
            f"Classifiers that know no position, fitted on leaves {', '.join(map(str, self.fitted_on))} of n = {self.n_train:,} "
            f"sequences, scored on all leaves of {self.n_test:,} others"
        )
        if by_position:
            leaves = self.by_position.shape[2]
            data = {
                "rows": list(self.hooks),
                "columns": [str(leaf) for leaf in range(leaves)],
                "value_title": "held-out accuracy",
                "column_title": "leaf",
                "range": [0, 1],
                "panels": [panel(f"target {target}", self.by_position[:, target]) for target in targets],
            }
            alt = f"Heat maps of accuracy by hook and leaf, one per target ({len(targets)})."
            return Picture(kind="heatmap", title="One probe for all positions", caption=f"{caption}.", alt=alt, data=data)
        return Picture(
            kind="dots",
            title="One probe for all positions",
            caption=f"{caption}; {self.accuracy.level:.0%} bootstrap intervals.",
            alt=f"Dots with intervals by hook: accuracy for {len(targets)} targets.",
            data={
                "x_title": "held-out accuracy",
                "categories": list(self.hooks),
                "series": [{"name": f"target {target}", **points(self.accuracy[:, target], "x")} for target in targets],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per hook and target: the accuracy with its interval."""
        axes = {"hook": self.hooks, "target": range(self.accuracy.mean.shape[1])}
        return frame(axes, {"accuracy": self.accuracy}).assign(n=self.n_test)

    def summary(self) -> str:
        """Return the best hook of up to four targets with its interval, and the sizes."""
        best = self.accuracy.mean.argmax(axis=0)
        lines = [
            f"target {target}: best accuracy {told(self.accuracy[hook, target])} at {self.hooks[hook]}"
            for target, hook in enumerate(best)
        ][:4]
        return "\n".join([*lines, f"fitted on {self.n_train:,} sequences, n = {self.n_test:,} held out"])


def shared_probe(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    symbols: Mapping[str, Int[np.ndarray, "n _nodes"]],
    hooks: str | Iterable[str],
    *,
    positions: Sequence[int],
    n_leaves: int,
    rng: np.random.Generator,
) -> SharedProbe:
    """Fit one classifier per hook and target on the given leaf positions together, and score it on every leaf.

    The first `n_leaves` positions are the leaves. `symbols` are the nodes of one depth of the tree each; the target at a leaf is
    the symbol of its own ancestor there.
    (Source: Garnier-Brun et al. 2025, Fig. 12: probes trained on the first and last token, tested on all.)
    Raises InputError for positions that are no leaves, or symbols that are no level of the tree.
    """
    checked_generator(rng, "shared_probe")
    rows = np.asarray(tokens)
    fitted = tuple(int(p) for p in positions)
    if not fitted or not all(0 <= p < n_leaves for p in fitted):
        raise InputError(f"shared_probe: positions must be leaves, 0..{n_leaves - 1}, got {list(fitted)}.")
    targets = [_own_ancestors(name, np.asarray(nodes), n_leaves) for name, nodes in symbols.items()]
    split = split_sequences(rows, rng)
    names = matching_hooks(model, hooks)
    hits = np.stack([_hits(to_array(a), targets, split, fitted) for a in capture(model, tokens, names).values()], axis=1)
    return SharedProbe(
        hooks=names,
        fitted_on=fitted,
        accuracy=bootstrap_mean(hits.mean(axis=3), rng),
        by_position=hits.mean(axis=0),
        n_train=len(split.train),
        n_test=len(split.test),
    )


def _own_ancestors(name: str, nodes: np.ndarray, leaves: int) -> Int[np.ndarray, "n leaf"]:
    if nodes.dtype.kind not in "iu" or nodes.ndim != 2 or leaves % nodes.shape[1]:
        raise InputError(
            f"shared_probe: {name!r} must be integer symbols of one depth of a tree of {leaves} leaves, "
            f"got {nodes.dtype} {list(nodes.shape)}."
        )
    return nodes[:, own_nodes({name: nodes}, leaves, leaves)[name]]


def _hits(
    activation: np.ndarray, targets: Sequence[np.ndarray], split: Split, fitted: tuple[int, ...]
) -> Float64[np.ndarray, "test target leaf"]:
    """Return 1 where the classifier names the ancestor."""
    leaves, width = targets[0].shape[1], int(np.prod(activation.shape[2:]))
    train = activation[split.train][:, list(fitted)].reshape(-1, width).astype(np.float64)
    spectrum = Spectrum.of(train)
    test = spectrum.rotate(activation[split.test][:, :leaves].reshape(-1, width).astype(np.float64))
    found = np.empty((len(split.test), len(targets), leaves))
    for t, target in enumerate(targets):
        one_hot = np.eye(int(target.max()) + 1)[:, None, target[split.train][:, list(fitted)].ravel()]
        said = fit_logistic(spectrum, one_hot).predict(test)[:, 0].argmax(axis=0)
        found[:, t] = said.reshape(-1, leaves) == target[split.test]
    return found

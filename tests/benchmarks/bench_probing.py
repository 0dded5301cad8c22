"""Time ridge probes of every tree node against a scikit-learn loop over the same cells, on the same activations.

Both fit, at every hook and position, every node of three beliefs with the same penalties, choose the penalty on the same
validation part and predict the same held-out part. The loop refits per penalty, as scikit-learn has to.
"""

import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from mechbp.methods.ridge import Spectrum, fit_ridge
from mechbp.processes.grammar import TreeGrammar
from mechbp.processes.tree import FilteredTree
from mechbp.randomness import rng

PENALTIES = (1e-6, 1e-4, 1e-2, 1.0)
CELLS, N, D = 4, 4000, 64
REPEATS = 3


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Features [cell, example, d] and beliefs [symbol, node, example] of all 93 nodes x messages of a depth-4 tree."""
    tree = FilteredTree(TreeGrammar.random(4), 4)
    tokens = tree.sample(N, rng(0, "bench")).tokens
    beliefs = tree.beliefs(tokens)
    kinds = (beliefs.upward, beliefs.downward, beliefs.marginals)
    targets = np.ascontiguousarray(np.concatenate([kind[d] for kind in kinds for d in range(5)], axis=1).transpose(2, 1, 0))
    draw = rng(1, "bench")
    maps = draw.normal(size=(CELLS, 64, D))
    return np.cos(np.eye(4)[tokens].reshape(N, 64) @ maps), targets


def shared(features: np.ndarray, targets: np.ndarray, train: slice, held: slice, test: slice) -> np.ndarray:
    """Predictions from one decomposition per cell."""
    found = []
    for cell in features:
        spectrum = Spectrum.of(cell[train])
        fit = fit_ridge(spectrum, targets[..., train], spectrum.rotate(cell[held]), targets[..., held], PENALTIES)
        found.append(fit.predict(spectrum.rotate(cell[test])))
    return np.stack(found)


def loop(features: np.ndarray, targets: np.ndarray, train: slice, held: slice, test: slice) -> np.ndarray:
    """The same predictions from one scikit-learn fit per cell, node and penalty."""
    found = np.empty((len(features), *targets.shape[:2], test.stop - test.start))
    for index, cell in enumerate(features):
        scale = np.square(cell[train] - cell[train].mean(axis=0)).sum() / D
        for node in range(targets.shape[1]):
            y = targets[:, node].T
            fits = [Ridge(alpha=penalty * scale).fit(cell[train], y[train]) for penalty in PENALTIES]
            errors = [np.square(fit.predict(cell[held]) - y[held]).sum() for fit in fits]
            found[index, :, node] = fits[int(np.argmin(errors))].predict(cell[test]).T
    return found


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Median CPU time in seconds over REPEATS runs, which load by other processes moves little, and the result."""
    times, result = [], np.empty(0)
    for _ in range(REPEATS):
        start = time.process_time()
        result = run()
        times.append(time.process_time() - start)
    return float(np.median(times)), result


def main() -> None:
    """Print both times, their ratio and the largest difference between predictions."""
    features, targets = problem()
    parts = slice(0, 2400), slice(2400, 3200), slice(3200, 4000)
    with threadpool_limits(1):
        ours_s, ours = timed(lambda: shared(features, targets, *parts))
        peer_s, peer = timed(lambda: loop(features, targets, *parts))
    probes = CELLS * targets.shape[1]
    print(f"{probes} ridge probes, {N} sequences, d = {D}, {len(PENALTIES)} penalties, one thread, median of {REPEATS} (CPU s)")
    print(f"scikit-learn loop {peer_s:.2f} s, shared decomposition {ours_s:.3f} s: ratio {peer_s / ours_s:.0f}")
    print(f"largest difference of predictions {np.abs(ours - peer).max():.1e}")


if __name__ == "__main__":
    main()

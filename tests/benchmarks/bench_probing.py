"""Time the probing grid of a trained model against a scikit-learn loop over the same cells, on the same activations.

The grid: after every block of tree-mlm-k0, at every position, every node of the upward and downward messages and the
marginals. Both sides fit with the same penalties, choose each node's penalty on the same validation part and predict the same
held-out part. The loop fits one estimator per cell and penalty, as scikit-learn has to; it runs on a random subset of the
cells of every hook and position, and its time is scaled to the grid. Predictions are compared on all cells of the subset.

scikit-learn is timed with its default solver, the fast one. It factors the Gram matrix, whose condition number leaves it an
error of about 1e-8 at the smallest penalty; so predictions are held against its `svd` solver, which has none, on the same
cells and penalties, and the distance of the default solver from that one is printed beside.
"""

import time
from itertools import pairwise

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

import mechbp
from mechbp.methods.probing.ridge import PENALTIES, Spectrum, fit_ridge

RUN, HOOKS, N = "tree-mlm-k0", "blocks.*.hook_resid_post", 4000
LOOP_NODES = 2
"""Nodes that the loop fits at each hook and position, drawn at random."""
REPEATS = 3
LEAST_RATIO, LARGEST_DIFFERENCE = 50, 1e-8


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Activations [hook x position, example, d] and beliefs [symbol, node, example] of all nodes and messages."""
    run = mechbp.load(RUN)
    sample = run.process.sample(N, mechbp.rng(0, "bench", "probing"))
    beliefs = run.process.beliefs(sample.tokens)
    kinds = (beliefs.upward, beliefs.downward, beliefs.marginals)
    targets = np.concatenate([kind[depth] for kind in kinds for depth in sorted(kind)], axis=1)
    captured = mechbp.capture(run.model, sample.tokens, HOOKS)
    features = np.concatenate([value.double().numpy().transpose(1, 0, 2) for value in captured.values()])
    return np.ascontiguousarray(features), np.ascontiguousarray(targets.transpose(2, 1, 0))


def shared(features: np.ndarray, targets: np.ndarray, parts: list[slice], kept: np.ndarray) -> tuple[float, np.ndarray]:
    """CPU seconds for the predictions of all cells, one decomposition per hook and position; those of the kept nodes."""
    start = time.process_time()
    train, held, test = (np.ascontiguousarray(targets[..., part]) for part in parts)
    found = np.empty((len(features), targets.shape[0], kept.shape[1], test.shape[-1]))
    for index, cell in enumerate(features):
        spectrum = Spectrum.of(cell[parts[0]])
        fit = fit_ridge(spectrum, train, spectrum.rotate(cell[parts[1]]), held, PENALTIES)
        predicted = fit.predict(spectrum.rotate(cell[parts[2]]))
        found[index] = predicted[:, kept[index]]
    return time.process_time() - start, found


def loop(
    features: np.ndarray, targets: np.ndarray, parts: list[slice], kept: np.ndarray, solver: str = "auto"
) -> tuple[float, np.ndarray]:
    """CPU seconds for the predictions of the kept nodes from one scikit-learn fit per cell and penalty, and the predictions."""
    train, held, test = parts
    found = np.empty((len(features), targets.shape[0], kept.shape[1], test.stop - test.start))
    scales = [np.square(cell[train] - cell[train].mean(axis=0)).sum() / cell.shape[1] for cell in features]  # not its to pay
    start = time.process_time()
    for index, cell in enumerate(features):
        for row, node in enumerate(kept[index]):
            y = targets[:, node].T
            fits = [Ridge(alpha=penalty * scales[index], solver=solver).fit(cell[train], y[train]) for penalty in PENALTIES]
            errors = [np.square(fit.predict(cell[held]) - y[held]).sum() for fit in fits]
            found[index, :, row] = fits[int(np.argmin(errors))].predict(cell[test]).T
    return time.process_time() - start, found


def main() -> int:
    """Print both times, their ratio and the largest difference between predictions; return 1 if either misses its bound."""
    features, targets = problem()
    bounds = [0, 6 * N // 10, 8 * N // 10, N]
    parts = [slice(*ends) for ends in pairwise(bounds)]
    n_nodes = targets.shape[1]
    draw = mechbp.rng(1, "bench", "probing")
    kept = np.stack([draw.choice(n_nodes, LOOP_NODES, replace=False) for _ in features])
    with threadpool_limits(1):
        runs = [shared(features, targets, parts, kept) for _ in range(REPEATS)]
        loop_s, fast = loop(features, targets, parts, kept)
        theirs = loop(features, targets, parts, kept, solver="svd")[1]
    ours_s, ours = float(np.median([seconds for seconds, _ in runs])), runs[0][1]
    peer_s = loop_s * n_nodes / LOOP_NODES
    ratio, difference = peer_s / ours_s, float(np.abs(ours - theirs).max())
    probes = len(features) * n_nodes
    print(f"{RUN}: {len(features)} hooks x positions, {n_nodes} nodes: {probes} ridge probes of {len(targets)} symbols")
    print(f"{N} sequences, d = {features.shape[-1]}, {len(PENALTIES)} penalties, one thread, CPU seconds")
    print(
        f"scikit-learn loop {peer_s:.1f} s, scaled from {loop_s:.1f} s for {kept.size} random cells; "
        f"shared decomposition {ours_s:.2f} s, median of {REPEATS}"
    )
    print(f"ratio {ratio:.0f} (at least {LEAST_RATIO})")
    print(
        f"largest difference of predictions on those cells {difference:.1e} (at most {LARGEST_DIFFERENCE:.0e}); "
        f"scikit-learn's default solver {np.abs(fast - theirs).max():.1e}"
    )
    return int(ratio < LEAST_RATIO or difference > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    raise SystemExit(main())

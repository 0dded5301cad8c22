"""Time all single-mask posteriors and the root posterior of one batch: mechbp against two plain implementations.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.bench_belief_propagation

Peers, same inputs, same run, interleaved so that load hits all alike: `einsum`, batched NumPy with one einsum per message and
level (the two-step contraction, which is faster than the three-operand einsum); `loop`, one sequence at a time.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from scipy import __version__ as scipy_version

from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

VOCAB_SIZE, DEPTH, BATCH, LOOP_BATCH, REPEATS = 4, 4, 4096, 64, 15


def einsum_posteriors(tree: FilteredTree, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Belief propagation at filter level 0, batched, straight from the equations."""
    rules, q = tree.grammar.rules, tree.vocab_size
    up = [np.vstack([np.eye(q), np.ones(q)])[tokens]]
    for _ in range(tree.depth):
        below = up[0].reshape(len(tokens), -1, 2, q)
        half = np.einsum("abc,njc->njab", rules, below[:, :, 1])
        message = np.einsum("njab,njb->nja", half, below[:, :, 0])
        up.insert(0, message / message.sum(-1, keepdims=True))
    down = np.broadcast_to(tree.grammar.root_prior, up[0].shape)
    root = down * up[0]
    for d in range(tree.depth):
        below = up[d + 1].reshape(len(tokens), -1, 2, q)
        pairs = np.einsum("abc,nja->njbc", rules, down)
        left = np.einsum("njbc,njc->njb", pairs, below[:, :, 1])
        right = np.einsum("njbc,njb->njc", pairs, below[:, :, 0])
        message = np.stack([left, right], axis=2).reshape(up[d + 1].shape)
        down = message / message.sum(-1, keepdims=True)
    return down, (root / root.sum(-1, keepdims=True))[:, 0]


def loop_posteriors(tree: FilteredTree, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same, sequence by sequence and node by node."""
    rules, depth, identity = tree.grammar.rules, tree.depth, np.vstack([np.eye(tree.vocab_size), np.ones(tree.vocab_size)])
    leaves, roots = [], []
    for sequence in tokens:
        up = {(depth, j): identity[token] for j, token in enumerate(sequence)}
        for d in range(depth - 1, -1, -1):
            for j in range(2**d):
                message = rules @ up[d + 1, 2 * j + 1] @ up[d + 1, 2 * j]
                up[d, j] = message / message.sum()
        down = {(0, 0): tree.grammar.root_prior}
        for d in range(depth):
            for j in range(2**d):
                pairs = np.tensordot(down[d, j], rules, 1)
                left, right = pairs @ up[d + 1, 2 * j + 1], up[d + 1, 2 * j] @ pairs
                down[d + 1, 2 * j], down[d + 1, 2 * j + 1] = left / left.sum(), right / right.sum()
        root = tree.grammar.root_prior * up[0, 0]
        leaves.append([down[depth, j] for j in range(2**depth)])
        roots.append(root / root.sum())
    return np.array(leaves), np.array(roots)


def measure(repeats: int = REPEATS) -> dict[str, object]:
    """Return microseconds per sequence of the three, their ratios, the largest disagreement, and the circumstances."""
    tree = FilteredTree(TreeGrammar.random(VOCAB_SIZE), depth=DEPTH)
    tokens = tree.sample(BATCH, rng(0, "bench", "belief_propagation")).tokens

    def own(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answers = tree.posteriors(tokens)
        return answers.leaves, answers.root

    runs: dict[str, tuple[Callable, np.ndarray]] = {
        "mechbp": (own, tokens),
        "einsum": (lambda tokens: einsum_posteriors(tree, tokens), tokens),
        "loop": (lambda tokens: loop_posteriors(tree, tokens), tokens[:LOOP_BATCH]),
    }
    answers = {name: run(batch) for name, (run, batch) in runs.items()}  # also the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (run, batch) in runs.items():
            start = time.perf_counter()
            run(batch)
            seconds[name].append((time.perf_counter() - start) / len(batch))
    us = {name: 1e6 * median(values) for name, values in seconds.items()}
    return {
        "mechbp_us": us["mechbp"],
        "einsum_us": us["einsum"],
        "loop_us": us["loop"],
        "einsum_over_mechbp": us["einsum"] / us["mechbp"],
        "loop_over_mechbp": us["loop"] / us["mechbp"],
        "max_difference": max(
            float(np.abs(peer[:LOOP_BATCH] - ours[:LOOP_BATCH]).max())
            for name in ("einsum", "loop")
            for peer, ours in zip(answers[name], answers["mechbp"], strict=True)
        ),
        "batch": BATCH,
        "repeats": repeats,
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "unset"),
        "versions": f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy_version}",
    }


def main() -> int:
    """Print the figures; 1 if the implementations disagree."""
    figures = measure()
    print(f"Exact posteriors of 16 leaves and the root, q = {VOCAB_SIZE}, depth {DEPTH}, microseconds per sequence (medians)")
    for name, value in figures.items():
        print(f"  {name:20s} {value:.3g}" if isinstance(value, float) else f"  {name:20s} {value}")
    return int(figures["max_difference"] > 1e-12)


if __name__ == "__main__":
    raise SystemExit(main())

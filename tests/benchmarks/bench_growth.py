"""Measure how costs grow: the exponent of a power law fitted to CPU seconds, beside the largest that theory allows.

Exact belief propagation sends one message per node, so that it is linear in leaves; a message contracts the rules [q, q, q] with
one message at a time, q^3 steps each. That is an upper bound: below a few tens of symbols, memory traffic of size q^2 or q and
the fixed cost of a call weigh more. Probes share one decomposition of the features, so that only the right-hand sides grow with
their number. A patched cell costs the same whichever it is, after the unpatched runs: linear beyond them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import mechbp
from mechbp.methods.patching.patch import patch
from mechbp.methods.probing.ridge import PENALTIES, Spectrum, fit_ridge
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar

RUN, REPEATS, SLACK = "tree-mlm-k0", 5, 0.25
"""A measured exponent may exceed the expected one by SLACK: timings of a busy machine are no straight line."""


class Growth(NamedTuple):
    """One cost, as a function of one size."""

    name: str
    expected: str
    largest: float
    """Largest exponent that the theory allows."""
    sizes: tuple[int, ...]
    prepare: Callable[[int], Callable[[], object]]
    """Size -> the work to be timed."""
    beyond_first: bool = False
    """Whether to fit what is added to the first size, so that a fixed start does not count."""


def exponent(sizes: tuple[int, ...], seconds: np.ndarray, *, beyond_first: bool = False) -> float:
    """Return the slope of log seconds over log size, of all or of what is added to the first size."""
    size = np.array(sizes)
    if beyond_first:
        size, seconds = size[1:] - size[0], np.maximum(seconds[1:] - seconds[0], 1e-9)
    return float(np.polyfit(np.log(size), np.log(seconds), 1)[0])


def medians(work: list[Callable[[], object]], repeats: int = REPEATS) -> np.ndarray:
    """Return median CPU seconds of each piece of work, all sizes in turn so that load hits them alike."""
    for each in work:
        each()
    seconds = np.empty((repeats, len(work)))
    for repeat in range(repeats):
        for index, each in enumerate(work):
            start = time.process_time()
            each()
            seconds[repeat, index] = time.process_time() - start
    return np.median(seconds, axis=0)


def belief_propagation(vocab_size: int, depth: int, n: int) -> Callable[[], object]:
    """All single-mask posteriors of n sequences."""
    tree = FilteredTree(TreeGrammar.random(vocab_size), depth=depth)
    tokens = tree.sample(n, mechbp.rng(0, "bench", "growth", vocab_size, depth)).tokens
    return lambda: tree.posteriors(tokens)


def leaves_of_tree(n_leaves: int) -> Callable[[], object]:
    """The same for trees of so many leaves, a power of 2."""
    return belief_propagation(4, n_leaves.bit_length() - 1, 512)


def probes(n_targets: int) -> Callable[[], object]:
    """Ridge probes of 4 symbols at so many nodes, decomposition of the features included."""
    draw = mechbp.rng(0, "bench", "growth", "probes")
    train, held = draw.normal(size=(2, 2000, 64))
    targets = draw.normal(size=(4, n_targets, 2000))

    def fit() -> object:
        spectrum = Spectrum.of(train)
        return fit_ridge(spectrum, targets, spectrum.rotate(held), targets, PENALTIES)

    return fit


def patching(n_positions: int) -> Callable[[], object]:
    """A sweep over so many positions before every block."""
    model = mechbp.load(RUN).model
    clean, corrupted = mechbp.rng(0, "bench", "growth", "patching").integers(4, size=(2, 256, 16))
    positions = list(range(n_positions))
    return lambda: patch(model, clean, corrupted, lambda logits: logits[:, 5, 1], "blocks.*.hook_resid_pre", positions=positions)


GROWTHS = (
    Growth("belief propagation, leaves", "1", 1.0, (16, 32, 64, 128, 256), leaves_of_tree),
    Growth("belief propagation, symbols", "<= 3", 3.0, (4, 8, 16, 32), lambda symbols: belief_propagation(symbols, 3, 256)),
    Growth("ridge probes, targets", "0 to 1", 1.0, (1, 4, 16, 64), probes),
    Growth("patching, cells beyond 2 x 4", "1", 1.0, (2, 4, 8, 16), patching, beyond_first=True),
)


def main() -> int:
    """Print sizes, milliseconds and exponents; return 1 if a cost grows faster than theory allows."""
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"CPU milliseconds, one thread, medians of {REPEATS}; exponent measured (expected)")
    verdicts = []
    with threadpool_limits(1):
        for growth in GROWTHS:
            seconds = medians([growth.prepare(size) for size in growth.sizes])
            found = exponent(growth.sizes, seconds, beyond_first=growth.beyond_first)
            verdicts.append(found <= growth.largest + SLACK)
            steps = "  ".join(f"{size}: {1e3 * each:.3g}" for size, each in zip(growth.sizes, seconds, strict=True))
            print(
                f"  {'ok' if verdicts[-1] else 'BEYOND':6s} {growth.name:30s} {found:5.2f} ({growth.expected:6s})   {steps}",
                flush=True,
            )
    torch.set_num_threads(torch_threads)
    return int(not all(verdicts))


if __name__ == "__main__":
    raise SystemExit(main())

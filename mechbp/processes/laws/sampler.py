"""The law of the sampler: sequences are drawn as often as the joint says."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import chdtrc

from mechbp.errors import ContractError
from mechbp.processes.laws.sequences import Sequences, number_of
from mechbp.processes.process import Process

N_FIRST = 1_000_000
N_SECOND = 8_000_000
"""Sequences of the second sample, drawn only where the first is SUSPICIOUS; it alone decides then."""
SUSPICIOUS = 0.2
ALPHA = 1e-6
"""A faultless sampler is refused this often."""
LEAST_EXPECTED = 10.0
"""Sequences expected less often are counted together."""


def check_sampler(process: Process[Any], sequences: Sequences, rng: np.random.Generator) -> None:
    """Draw sequences and hold their counts against the joint's probabilities with a G-test."""
    for n in (N_FIRST, N_SECOND):
        counts = np.sum([_counts(process, sequences, rng) for _ in range(n // N_FIRST)], axis=0)
        expected = n * sequences.probability
        g, freedom = _g_statistic(counts, expected)
        p_value = chdtrc(freedom, g) if freedom else 1.0
        if p_value < ALPHA / 2:
            worst = np.argmax((counts - expected) ** 2 / expected)
            raise ContractError(
                "sampler",
                f"G = {g:.1f} with {freedom} degrees of freedom (p = {p_value:.1e}) over {n:,} sequences;\n"
                f"{sequences.tokens[worst]} was drawn {counts[worst]:,} times, expected {expected[worst]:,.1f}.",
            )
        if p_value > SUSPICIOUS:
            return


def _counts(process: Process[Any], sequences: Sequences, rng: np.random.Generator) -> np.ndarray:
    """How often each sequence is among N_FIRST drawn."""
    tokens = process.sample(N_FIRST, rng).tokens
    length = sequences.tokens.shape[1]
    if tokens.shape != (N_FIRST, length):
        raise ContractError("sampler", f"expected [{N_FIRST}, {length}] like the joint, got {list(tokens.shape)}.")
    drawn = number_of(tokens, sequences.base)
    place = np.searchsorted(sequences.number, drawn).clip(max=len(sequences.number) - 1)
    impossible = (sequences.number[place] != drawn) | (tokens >= sequences.base).any(axis=1)
    if impossible.any():
        n = impossible.sum()
        raise ContractError("sampler", f"{n:,} of {N_FIRST:,} sequences have probability 0, {tokens[impossible][0]} is one.")
    return np.bincount(place, minlength=len(sequences.number))


def _g_statistic(counts: np.ndarray, expected: np.ndarray) -> tuple[float, int]:
    """Twice the log-likelihood ratio of the counts, rare sequences counted together, and its degrees of freedom."""
    rising = np.argsort(expected)
    n_rare = max(int((expected < LEAST_EXPECTED).sum()), 1)
    if expected[rising[:n_rare]].sum() < LEAST_EXPECTED:
        n_rare += 1
    observed = np.append(counts[rising[n_rare:]], counts[rising[:n_rare]].sum())
    wanted = np.append(expected[rising[n_rare:]], expected[rising[:n_rare]].sum())
    seen = observed > 0
    g = 2 * (observed[seen] * np.log(observed[seen] / wanted[seen])).sum()
    return max(float(g), 0.0), len(wanted) - 1

"""Layers of attention that carry out the constrained update to rounding: tables and patterns from the equations themselves."""

import numpy as np

import mechbp
from mechbp.processes.chain.constrained import token_beliefs
from mechbp.processes.chain.library import mess3
from mechbp.theory.chain.constrained_attention import lags_of_heads
from mechbp.theory.chain.first_block import OneBlock

LENGTH = 9
WIDTH = 64
SETTINGS = {0.55: mess3(0.15, 0.6), -0.5: mess3(0.5, 0.6)}


def ideal_pattern(zeta):
    """Attention that satisfies Eq. 13 or 19 exactly; the diagonal takes what is left of every row."""
    heads = [(1, 1, [0.45] + 8 * [0.29])] if zeta > 0 else [(2, 2, 9 * [0.24]), (1, 2, 9 * [0.745])]
    patterns = []
    for first, step, start in heads:
        pattern = np.zeros((LENGTH, LENGTH))
        for source in range(LENGTH):
            for lag in range(first, LENGTH - source, step):
                pattern[source + lag, source] = abs(zeta) ** (lag - first) * start[source]
        patterns.append(pattern + np.diag(1 - pattern.sum(axis=1)))
    return np.stack(patterns)


def ideal_layer(zeta, seed=0):
    """Tables that carry out the constrained update exactly, embedded in a random plane of 64 dimensions."""
    hmm = SETTINGS[zeta]
    pattern = ideal_pattern(zeta)
    lags = lags_of_heads(ideal_pattern(zeta), zeta)
    shift = token_beliefs(hmm.transitions, hmm.start, "bayes") - hmm.start
    factors = []
    for head, reach in enumerate(lags):
        factor = np.ones(LENGTH)
        for m in range(LENGTH - reach.first):
            factor[m] = zeta**reach.first / pattern[head, m + reach.first, m]
        factors.append(factor)
    embed = 1 - sum(np.diagonal(pattern[h]) * factor for h, factor in enumerate(factors))
    plane = np.linalg.qr(mechbp.rng(seed, "plane").normal(size=(WIDTH, 3)))[0].T
    written = np.stack([factor[:, None, None] * shift for factor in factors]) @ plane
    return hmm, pattern, lags, shift, OneBlock(embed[:, None, None] * shift @ plane + 0.3, written, np.full(WIDTH, 0.1))

"""The least cross-entropy of linear logits: quadrature against enumeration, sampling, and the printed constants."""

from itertools import product
from math import factorial

import numpy as np
import pytest
from scipy.special import gamma

import mechbp
from mechbp.theory.topics.floors import LdaCorpus, corpus_floors
from mechbp.theory.topics.linear_logits import best_linear_logits, linear_ce, linear_ce_at


@pytest.mark.parametrize(
    ("topics", "alpha", "n", "contrast"), [(3, 0.7, 6, 4.0), (2, 0.1, 9, -2.0), (5, 2.5, 4, 9.0), (3, 1.0, 0, 3.0)]
)
def test_quadrature_is_enumeration(topics, alpha, n, contrast):
    corpus = LdaCorpus(n_topics=topics, words_per_topic=4, alpha=alpha)
    total = 0.0
    a = topics * alpha
    for counts in product(range(n + 1), repeat=topics):
        if sum(counts) == n:
            chance = factorial(n) * gamma(a) / gamma(a + n)
            chance *= np.prod([gamma(alpha + k) / gamma(alpha) / factorial(k) for k in counts])
            logits = contrast * np.array(counts) / (n + 2)
            share = (alpha + np.array(counts)) / (a + n)
            total += chance * (np.log(4) + np.log(np.exp(logits).sum()) - share @ logits)
    assert linear_ce_at(corpus, contrast, n) == pytest.approx(total, abs=1e-11)


def test_printed_optimum():
    corpus = LdaCorpus()
    found = best_linear_logits(corpus)
    assert found.contrast == pytest.approx(5.666, abs=1e-3)
    assert found.ce_nats == pytest.approx(3.3643, abs=2 * 0.0007)
    assert found.ce_nats < min(linear_ce(corpus, found.contrast + shift) for shift in (-0.05, 0.05))
    assert found.ce_nats - corpus_floors(corpus).ce_nats == pytest.approx(0.19, abs=5e-3)


def test_the_loss_is_that_of_sampled_documents():
    rng = mechbp.rng(0, "linear logits")
    n = 200_000
    length = rng.integers(100, 151, size=n)
    selected = rng.binomial(length, 0.15)
    visible = length - selected
    counts = rng.multinomial(visible, rng.dirichlet(np.full(10, 0.1), size=n))
    logits = 5.666 * counts / (visible + 2)[:, None]
    share = (0.1 + counts) / (1 + visible)[:, None]
    losses = np.log(10) + np.log(np.exp(logits).sum(axis=1)) - (share * logits).sum(axis=1)
    mean = (selected * losses).sum() / selected.sum()
    deviation = (selected * (losses - mean)).std() / selected.mean() / np.sqrt(n)
    assert deviation < 1e-3
    assert abs(mean - linear_ce(LdaCorpus(), 5.666)) < 4 * deviation


def test_a_contrast_of_zero_is_guessing():
    assert linear_ce(LdaCorpus(), 0.0) == pytest.approx(np.log(100), abs=1e-10)

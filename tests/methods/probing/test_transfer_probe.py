"""A linear read-out finds what is linear in the features, and nothing where nothing is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mechbp.errors import InputError
from mechbp.methods.probing.transfer_probe import read_out
from mechbp.randomness import rng


def world(n, seed=0):
    """Features [n, 3, 2] whose six numbers, weighted, decide between three labels, with noise."""
    draw = rng(seed, "world")
    features = draw.standard_normal((n, 3, 2))
    scores = features.reshape(n, 6) @ rng(0, "map").standard_normal((6, 3)) * 2 + 0.5 * draw.gumbel(size=(n, 3))
    return features, scores.argmax(axis=1)


def test_it_equals_scikit_learn_at_the_same_penalty():
    (features, labels), (unseen, _) = world(600), world(100, seed=1)
    found = read_out(features, labels, unseen, 3, penalties=[1e-2])
    rows = features.reshape(600, 6)
    scale = np.linalg.eigvalsh(np.cov(rows.T, bias=True) * 600).mean()
    peer = LogisticRegression(C=1 / (1e-2 * scale), tol=1e-10, max_iter=5000).fit(rows, labels)
    np.testing.assert_allclose(found.probabilities, peer.predict_proba(unseen.reshape(100, 6)), rtol=0, atol=3e-3)
    assert found.n == 600 and found.converged and found.penalty == 1e-2


def test_unseen_examples_are_named_and_noise_is_not():
    (features, labels), (unseen, truth) = world(800), world(2000, seed=1)
    assert (read_out(features, labels, unseen, 3).probabilities.argmax(1) == truth).mean() > 0.85
    shuffled = read_out(features, rng(0, "shuffle").permutation(labels), unseen, 3).probabilities
    assert (shuffled.argmax(1) == truth).mean() < 0.55
    assert shuffled.max() < 0.7  # the penalty was chosen to claim little


def test_more_features_than_examples_choose_a_strong_penalty():
    draw = rng(0, "wide")
    features, labels = draw.standard_normal((500, 800)), draw.integers(2, size=500)
    unseen = draw.standard_normal((50, 800))
    found = read_out(features, labels, unseen, 2)
    assert found.penalty >= 0.1
    assert (found.probabilities == read_out(features, labels, unseen, 2, [found.penalty]).probabilities).all()


@pytest.mark.parametrize(
    ("n", "labels", "wide", "message"),
    [
        (9, np.zeros(9, int), 2, "need features"),
        (20, np.zeros(19, int), 2, "need features"),
        (20, np.zeros(20, int), 3, "need features"),
        (20, np.full(20, 2), 2, "labels must be in 0..1, got 2..2"),
        (20, np.full(20, -1), 2, "labels must be in 0..1, got -1..-1"),
    ],
)
def test_what_does_not_fit_is_refused(n, labels, wide, message):
    with pytest.raises(InputError, match=message):
        read_out(np.zeros((n, 2)), labels, np.zeros((5, wide)), 2)

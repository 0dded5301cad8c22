"""Two-layer probes: they read what no linear probe can, and nothing where there is nothing."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.probing.two_layer_probe import fit_two_layer


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(4000, 6))


def accuracy(features, labels, shuffled=False):
    draw = np.random.default_rng(1)
    train = labels[:, :3000]
    probe = fit_two_layer(features[:3000], draw.permuted(train, axis=1) if shuffled else train, 2, draw, epochs=40)
    return (probe.predict(features[3000:]) == labels[:, 3000:]).mean(axis=1)


def test_it_reads_a_product_of_signs_that_no_linear_probe_reads(features):
    """The sign of a product has no correlation with either factor: a linear probe is right half of the time."""
    labels = np.stack([features[:, 0] * features[:, 1] > 0, features[:, 2] > 0]).astype(int)
    found = accuracy(features, labels)
    assert found.min() > 0.95
    design = np.hstack([features, np.ones((4000, 1))])
    linear = design @ np.linalg.lstsq(design[:3000], 2.0 * labels[0, :3000] - 1, rcond=None)[0] > 0
    assert abs((linear[3000:] == labels[0, 3000:]).mean() - 0.5) < 0.06


def test_it_reads_nothing_of_shuffled_labels(features):
    labels = (features[:, :1].T > 0).astype(int)
    assert abs(accuracy(features, labels, shuffled=True)[0] - 0.5) < 0.06


def test_targets_do_not_share_anything(features):
    """A target is fitted alike with and without a second one beside it, but for the weights it starts from."""
    labels = np.stack([features[:, 0] * features[:, 1] > 0, features[:, 2] > 0]).astype(int)
    assert abs(accuracy(features, labels)[0] - accuracy(features, labels[:1])[0]) < 0.03


def test_one_seed_gives_one_fit_and_arguments_are_checked(features):
    labels = (features[:, :1].T > 0).astype(int)
    one, two = (fit_two_layer(features, labels, 2, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.predict(features), two.predict(features))
    with pytest.raises(InputError, match=r"labels must be in 0\.\.1"):
        fit_two_layer(features, labels + 1, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="need labels"):
        fit_two_layer(features[:10], labels[:, :10], 2, np.random.default_rng(0))

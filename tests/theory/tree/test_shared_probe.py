"""One probe for all positions reads what is written alike everywhere, and only that."""

import numpy as np
import pytest
import torch
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval
from mechbp.randomness import rng
from mechbp.theory.tree.shared_probe import SharedProbe, shared_probe


class Written(HookedRootModule):
    """Writes row i of the features [n, leaf, d] where the tokens are row i of `world`."""

    def __init__(self, features):
        super().__init__()
        self.features, self.hook_x = features, HookPoint()
        self.cfg = None
        self.setup()
        self.eval()

    def forward(self, tokens):
        return self.hook_x(self.features[tokens[:, 0] // tokens.shape[1]])


def world(n=800, leaves=4, q=3):
    """Distinct token rows, and the symbols of the two nodes at depth 1."""
    draw = rng(0, "world")
    return np.arange(n * leaves).reshape(n, leaves), draw.integers(q, size=(n, 2))


def features(nodes, order_of, leaves=4, q=3):
    """One-hot of each leaf's parent, relabelled by `order_of[leaf]`, with a little noise."""
    own = nodes[:, np.arange(leaves) * 2 // leaves]
    written = np.stack([np.eye(q)[order_of[leaf][own[:, leaf]]] for leaf in range(leaves)], axis=1)
    return torch.from_numpy(written + 0.01 * rng(0, "noise").standard_normal(written.shape)).float()


SAME = [np.arange(3)] * 4
OTHER_INSIDE = [np.arange(3), np.array([1, 2, 0]), np.array([1, 2, 0]), np.arange(3)]


def read(order_of, positions):
    tokens, nodes = world()
    return shared_probe(
        Written(features(nodes, order_of)),
        tokens,
        {"parent": nodes},
        "hook_x",
        positions=positions,
        n_leaves=4,
        rng=rng(0, "probe"),
    )


def test_the_same_directions_are_read_everywhere_from_two_positions():
    found = read(SAME, (0, 3))
    assert found.by_position.shape == (1, 1, 4) and (found.by_position == 1).all()
    assert float(found.accuracy.mean[0, 0]) == 1 and found.fitted_on == (0, 3) and found.n_test == 160


def test_other_directions_inside_are_missed_by_the_ends_alone():
    found = read(OTHER_INSIDE, (0, 3)).by_position[0, 0]
    assert (found[[0, 3]] == 1).all() and (found[[1, 2]] == 0).all()
    np.testing.assert_allclose(read(OTHER_INSIDE, (0, 3)).accuracy.mean, 0.5)


def test_every_position_named_is_fitted():
    """The left half of the leaves writes into other directions than the right half."""
    tokens, nodes = world()
    written = features(nodes, SAME)
    halves = torch.zeros(800, 4, 6)
    halves[:, :2, :3], halves[:, 2:, 3:] = written[:, :2], written[:, 2:]
    for positions, right in (((0, 3), [1, 1, 1, 1]), ((0, 1), [1, 1, 0, 0]), ((3,), [0, 0, 1, 1])):
        found = shared_probe(
            Written(halves), tokens, {"x": nodes}, "hook_x", positions=positions, n_leaves=4, rng=rng(0, "probe")
        )
        assert ((found.by_position[0, 0] == 1) == np.array(right)).all()


def test_what_is_not_there_is_guessed():
    tokens, nodes = world()
    noise = torch.from_numpy(rng(0, "noise").standard_normal((800, 4, 3))).float()
    found = shared_probe(Written(noise), tokens, {"parent": nodes}, "hook_x", positions=range(4), n_leaves=4, rng=rng(0, "probe"))
    assert abs(float(found.accuracy.mean[0, 0]) - 1 / 3) < 0.08


@pytest.mark.parametrize("positions", [(), (4,), (-1, 0)])
def test_positions_that_are_no_leaves(positions):
    with pytest.raises(InputError, match=r"positions must be leaves, 0\.\.3"):
        read(SAME, positions)


def test_symbols_that_are_no_level():
    tokens, nodes = world()
    model = Written(features(nodes, SAME))
    for wrong in (np.zeros((800, 3), int), nodes.astype(float)):
        with pytest.raises(InputError, match="must be integer symbols of one depth"):
            shared_probe(model, tokens, {"x": wrong}, "hook_x", positions=(0,), n_leaves=4, rng=rng(0, "probe"))


def test_positions_are_drawn_only_when_they_are_asked_for():
    tokens, nodes = world()
    found = shared_probe(
        Written(features(nodes, SAME)), tokens, {"parent": nodes}, "hook_x", positions=range(4), n_leaves=4, rng=rng(0, "probe")
    )
    whole, leaves = found.picture(), found.picture(by_position=True)
    assert (whole.kind, leaves.kind, leaves.data["columns"]) == ("dots", "heatmap", ["0", "1", "2", "3"])
    np.testing.assert_allclose(leaves.data["panels"][0]["values"], found.by_position[:, 0], rtol=1e-4)


@pytest.mark.parametrize("n", [1, 4, 5])
def test_four_targets_are_told(n):
    accuracy = Interval(np.full((2, n), 0.5), np.full((2, n), 0.4), np.full((2, n), 0.6), 30)
    found = SharedProbe(("a", "b"), (0,), accuracy, np.full((2, n, 4), 0.5), 60, 30)
    lines = found.summary().splitlines()
    assert len(lines) == min(n, 4) + 1 and lines[-1] == "fitted on 60 sequences, n = 30 held out"
    assert all(line.startswith(f"target {i}: best accuracy 0.5 [0.4, 0.6] at a") for i, line in enumerate(lines[:-1]))

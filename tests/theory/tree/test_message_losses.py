"""Shares of messages removed: exact inference without a message loses all of it and nothing else."""

import numpy as np
import pytest

from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.message_losses import centred_log, message_effects, message_losses
from mechbp.theory.tree.sibling_subtrees import hide, under_sibling

N = 300
HIDDEN = np.arange(N) % 8


@pytest.fixture(scope="module", params=[0, 1])
def case(request):
    tree = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), 3, request.param)
    tokens = tree.sample(N, rng(0, "losses")).tokens
    return tree, tokens, message_effects(tree, tokens, HIDDEN), tree.leave_one_out(tokens)[np.arange(N), HIDDEN]


@pytest.mark.parametrize("height", range(3))
def test_a_deleted_message_is_lost_whole_and_alone(case, height: int) -> None:
    tree, tokens, effects, exact = case
    seen = ~under_sibling(tree, HIDDEN, height)
    without = tree.beliefs(hide(tree, tokens, HIDDEN), seen).marginals[3][np.arange(N), HIDDEN]
    found = message_losses(effects, exact, without, rng(1))
    np.testing.assert_allclose(found.share.mean, np.eye(3)[height], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.share.low, np.eye(3)[height], rtol=0, atol=1e-9)
    lead = found.lead(height)
    assert float(lead.low) == pytest.approx(1) and float(found.lead((height + 1) % 3).high) == pytest.approx(-1)


def test_half_of_a_message_is_half_a_share_whatever_the_model(case) -> None:
    _, _, effects, exact = case
    model = exact**0.7 / (exact**0.7).sum(axis=-1, keepdims=True)  # an edit is judged by what it changes
    logs = centred_log(model) - 0.5 * effects[:, 1] + 0.2 * effects[:, 0]
    edited = np.exp(logs) / np.exp(logs).sum(axis=-1, keepdims=True)
    found = message_losses(effects, model, edited, rng(1))
    np.testing.assert_allclose(found.share.mean, [-0.2, 0.5, 0], rtol=0, atol=1e-9)
    assert float(found.lead(1).mean) == pytest.approx(0.5) and float(found.lead(2).mean) == pytest.approx(-0.5)


def test_intervals_cover_what_sequences_disagree_about(case) -> None:
    _, _, effects, exact = case
    noise = rng(2).normal(size=(40, *exact.shape))
    covered = []
    for draw in noise:
        edited = np.exp(centred_log(exact) - 0.3 * effects[:, 2] + draw)
        found = message_losses(effects, exact, edited / edited.sum(axis=-1, keepdims=True), rng(3))
        covered.append((found.share.low <= [0, 0, 0.3]) & (found.share.high >= [0, 0, 0.3]))
    assert np.mean(covered) > 0.85

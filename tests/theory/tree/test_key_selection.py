"""Which key is chosen: information against belief propagation, planted preferences, and a model that avoids MASK."""

import numpy as np
import pytest
import torch
from pattern_model import PatternModel

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.attention import named_pattern
from mechbp.theory.tree.key_selection import avoidance_of_hidden, preference_for_information, sibling_shares, told_by_leaf
from mechbp.theory.tree.sibling_subtrees import hide, under_sibling

N = 240
HIDDEN = np.arange(N) % 8


def tree_of(level: int = 0) -> FilteredTree:
    return FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), 3, level)


@pytest.mark.parametrize(("level", "height"), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (2, 1)])
def test_what_a_leaf_tells_is_what_inference_from_it_alone_finds(level: int, height: int) -> None:
    tree = tree_of(level)
    told = told_by_leaf(tree, height)
    for leaf in range(8):
        tokens = np.tile(np.arange(4)[:, None], (1, 8))
        alone = tree.beliefs(tokens, np.tile(np.arange(8) == leaf, (4, 1))).marginals[3 - height][:, leaf >> height]
        prior = np.broadcast_to(tree.priors[3 - height][leaf >> height], alone.shape)
        np.testing.assert_allclose(told[leaf], kl_nats(alone, prior), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="carry no symbols"):
        told_by_leaf(tree_of(2), 2)


@pytest.mark.parametrize("slope", [0.4, -0.2])
def test_a_planted_preference_is_found_free_of_places(slope: float) -> None:
    tree = tree_of()
    tokens = tree.sample(N, rng(0, "keys")).tokens
    told = told_by_leaf(tree, 2)[np.arange(8), tokens][under_sibling(tree, HIDDEN, 2)].reshape(N, 4)
    places = rng(1).normal(size=(8, 4))[HIDDEN] + rng(2).normal(size=(N, 1))
    found = preference_for_information(tree, tokens, HIDDEN, slope * told + places, 3, rng(3))
    assert float(found.mean) == pytest.approx(slope) and found.low <= found.mean <= found.high
    blind = preference_for_information(tree, tokens, HIDDEN, places + rng(4).normal(size=(N, 4)), 3, rng(3))
    assert blind.low < 0 < blind.high


def test_shares_are_of_the_subtree_that_a_block_reads() -> None:
    tree = tree_of()
    patterns = np.random.default_rng(0).dirichlet(np.ones(8), size=(N, 3, 2, 8))
    shares = sibling_shares(tree, patterns, HIDDEN, 3)
    row = patterns[2, 2, :, 2, 4:].mean(axis=0)  # leaf 2 of sequence 2 is hidden; block 3 reads the other half
    np.testing.assert_allclose(shares[2], row / row.sum(), rtol=0, atol=1e-12)


class Averse(PatternModel):
    """Looks at no hidden leaf."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        pattern = (tokens != 4).float()[:, None, None, :].expand(-1, 2, 8, -1)
        for layer in range(3):
            self.hook_dict[f"blocks.{layer}.attn.hook_pattern"](pattern / pattern.sum(dim=-1, keepdim=True))
            self.hook_dict[f"blocks.{layer}.hook_resid_post"](pattern)
        return pattern[:, 0, :, :4]


def test_a_model_that_avoids_hidden_leaves_is_seen_to() -> None:
    tree = tree_of()
    tokens = tree.sample(N, rng(0, "keys")).tokens
    for model, expected in ((Averse(named_pattern("uniform", 3, 2, 8)), 1), (PatternModel(named_pattern("uniform", 3, 2, 8)), 0)):
        own = mean_pattern(model, hide(tree, tokens, HIDDEN)).within
        for block in (2, 3):
            found = avoidance_of_hidden(model, tree, tokens, HIDDEN, own, block, rng(1))
            assert float(found.mean) == pytest.approx(expected / 2 ** (block - 1), abs=1e-6)
    with pytest.raises(InputError, match="one leaf; ask block 2 or later"):
        avoidance_of_hidden(Averse(named_pattern("uniform", 3, 2, 8)), tree, tokens, HIDDEN, own, 1, rng(1))

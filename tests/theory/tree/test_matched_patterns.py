"""Patterns from matched sequences, on models whose attention is known to depend on the keys' leaves and nothing else."""

import numpy as np
import pytest
import torch
from pattern_model import PatternModel

from mechbp.errors import InputError
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.attention import named_pattern
from mechbp.theory.tree.leaves import lca_level
from mechbp.theory.tree.matched_patterns import frozen_parts, matched_rows, static_given_leaf, with_rows
from mechbp.theory.tree.sibling_subtrees import hide

TREE = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), depth=3)
N = 64
SAMPLE = TREE.sample(N, rng(0, "matched"))
HIDDEN = np.arange(N) % 8
SHOWN = hide(TREE, SAMPLE.tokens, HIDDEN)
ROWS = np.arange(N)


class Selector(PatternModel):
    """Block m looks at the sibling subtree m levels up, each leaf of it by what its own symbol is worth."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.patterns = self.chosen(tokens)
        stream = torch.nn.functional.one_hot(tokens, 6).float()
        for layer in range(3):
            seen = self.hook_dict[f"blocks.{layer}.attn.hook_pattern"](self.patterns[layer].clone())
            stream = torch.tanh(stream + torch.einsum("bhqk,bkd,hde->bqe", seen, stream, self.mixing[layer]))
            stream = self.hook_dict[f"blocks.{layer}.hook_resid_post"](stream)
        return stream[..., :4]

    def chosen(self, tokens: torch.Tensor) -> torch.Tensor:
        worth = torch.tensor(named_pattern("sibling-subtree", 3, 2, 8), dtype=torch.float32)[:, None]
        weights = worth * torch.exp(2 * self.keys[tokens])[None, :, None, None, :]
        return weights / weights.sum(dim=-1, keepdim=True)


MODEL = Selector(named_pattern("sibling-subtree", 3, 2, 8))
OWN = mean_pattern(MODEL, SHOWN).within


def test_what_decides_a_pattern_is_what_must_be_shared() -> None:
    found = matched_rows(MODEL, TREE, SAMPLE, HIDDEN, OWN, rng(1))
    for name, patterns in found.items():
        other = np.ones((N, 8), bool)
        other[ROWS, HIDDEN] = False
        moved = np.abs(patterns - OWN).max(axis=(1, 2, 4))  # [sequence, query]
        assert moved[other].max() == 0, name
        assert (moved[~other].max() < 1e-6) == ("keys' leaves" in name), name


def test_a_model_of_fewer_blocks_than_levels_is_matched_block_by_block() -> None:
    three, two = (matched_rows(MODEL, TREE, SAMPLE, HIDDEN, OWN[:, :n], rng(1)) for n in (3, 2))
    for name, patterns in two.items():
        assert patterns.shape == OWN[:, :2].shape and np.isfinite(patterns).all() and name in three


def test_a_model_of_more_blocks_than_levels_is_refused() -> None:
    with pytest.raises(InputError, match="no subtree for block 4"):
        matched_rows(MODEL, TREE, SAMPLE, HIDDEN, np.concatenate([OWN, OWN[:, :1]], axis=1), rng(1))


def test_static_patterns_know_which_leaf_is_hidden() -> None:
    static = static_given_leaf(MODEL, TREE, 50, rng(2))
    assert static.shape == (8, 3, 2, 8, 8)
    hidden_weight = np.exp(2 * MODEL.keys.numpy())[TREE.mask_token]
    seen = np.exp(2 * MODEL.keys.numpy())[:4]
    share = static[0, 1, 0, 2, :2]  # block 2: leaf 2 looks at leaves 0 and 1, of which 0 is hidden
    assert abs(share.sum() - 1) < 1e-5
    bounds = sorted([(hidden_weight / (hidden_weight + seen.min())), (hidden_weight / (hidden_weight + seen.max()))])
    assert bounds[0] - 1e-6 <= share[0] <= bounds[1] + 1e-6


def test_parts_made_static_are_those_named() -> None:
    levels = lca_level(8)
    own = np.random.default_rng(0).dirichlet(np.ones(8), size=(N, 3, 2, 8))
    static = np.random.default_rng(1).dirichlet(np.ones(8), size=(N, 3, 2, 8))
    parts = frozen_parts(own, static, HIDDEN, levels)
    for name, patterns in parts.items():
        np.testing.assert_allclose(patterns.sum(axis=-1), 1, rtol=0, atol=1e-12, err_msg=name)
    np.testing.assert_array_equal(parts["all"], static)
    np.testing.assert_array_equal(parts["block 2"][:, 1], static[:, 1])
    np.testing.assert_array_equal(parts["block 2"][:, [0, 2]], own[:, [0, 2]])
    np.testing.assert_array_equal(parts["hidden row"][ROWS, :, :, HIDDEN], static[ROWS, :, :, HIDDEN])
    np.testing.assert_array_equal(parts["other rows"][ROWS, :, :, HIDDEN], own[ROWS, :, :, HIDDEN])
    one = parts["hidden row"] == own
    assert one.all(axis=(1, 2, 4)).sum() == N * 7  # every row but one per sequence
    np.testing.assert_array_equal(with_rows(parts["other rows"], HIDDEN, static[ROWS, :, :, HIDDEN]), static)

    def mass(patterns: np.ndarray, level: int) -> np.ndarray:
        return (patterns * (levels == level)).sum(axis=-1)

    for level in range(4):
        there = np.broadcast_to(levels == level, own.shape)
        for name, masses, shares in (("which leaf", own, static), ("which level", static, own)):
            np.testing.assert_allclose(mass(parts[name], level), mass(masses, level), rtol=0, atol=1e-12)
            within = parts[name] / mass(parts[name], level)[..., None]
            expected = shares / mass(shares, level)[..., None]
            np.testing.assert_allclose(within[there], expected[there], rtol=0, atol=1e-10)

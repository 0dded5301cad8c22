"""Distances to the ladder of oracles: the exact answers themselves, both directions, and which oracle is nearest."""

import numpy as np
import pytest
import torch
from pattern_model import PatternModel

import mechbp
from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.attention import block_average, named_pattern
from mechbp.theory.tree.oracle_distances import AskedOnce, answers_with_patterns, ask_once, lead_of, oracle_distances
from mechbp.theory.tree.static_patterns import static_distances

TREE = FilteredTree(TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper"), depth=3, filter_level=1)
TOKENS = TREE.sample(40, rng(0, "oracles")).tokens
HIDDEN = np.arange(40) % 8


def test_every_oracle_answers_about_the_hidden_leaf_alone() -> None:
    asked = ask_once(TREE, TOKENS, HIDDEN)
    assert asked.own == 1 and asked.oracles.shape == (40, 4, 4)
    assert (asked.shown[np.arange(40), HIDDEN] == TREE.mask_token).all() and ((asked.shown != TOKENS).sum(axis=1) == 1).all()
    for k in range(4):
        exact = FilteredTree(TREE.grammar, 3, k).beliefs(asked.shown).marginals[3][np.arange(40), HIDDEN]
        np.testing.assert_allclose(asked.oracles[:, k], exact, rtol=0, atol=1e-12)


def test_the_root_is_asked_for_after_the_leaves() -> None:
    asked = ask_once(TREE, TOKENS)
    assert (asked.shown[:, -1] == TREE.root_token).all() and (asked.read == 8).all()
    np.testing.assert_allclose(asked.oracles[:, 1], TREE.beliefs(TOKENS).marginals[0][:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", range(4))
def test_an_oracle_is_nearest_to_itself(level: int) -> None:
    asked = ask_once(TREE, TOKENS, HIDDEN)
    distances = oracle_distances(asked.oracles[:, level], asked.oracles)
    np.testing.assert_allclose(distances[..., level], 0, rtol=0, atol=1e-12)
    own = lead_of(level, distances, rng(0))
    assert own.nearest == (level, level) and own.low > 0
    other = lead_of((level + 1) % 4, distances, rng(0))
    assert other.nearest == (level, level) and other.high < 0


def test_both_directions_are_told_apart() -> None:
    asked = ask_once(TREE, TOKENS, HIDDEN)
    answers = np.full((40, 4), 0.25)
    found = oracle_distances(answers, asked.oracles)
    np.testing.assert_allclose(found[:, 0, 2], kl_nats(asked.oracles[:, 2], answers), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[:, 1, 2], kl_nats(answers, asked.oracles[:, 2]), rtol=0, atol=1e-12)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 0.01


def test_a_lead_in_one_direction_or_on_average_only_is_none() -> None:
    one_way = np.full((50, 2, 2), 0.2)
    one_way[:, 0, 0] = 0.1
    one_way[:, 1, 1] = 0.1
    found = lead_of(0, one_way + rng(0).normal(size=(50, 1, 1)), rng(1))
    assert found.nearest == (0, 1) and found.low < 0 < found.high
    noisy = np.zeros((50, 2, 2))
    noisy[..., 0] = rng(0).normal(0.001, 1, size=(50, 1))
    assert lead_of(0, noisy, rng(1)).low < 0 < lead_of(0, noisy, rng(1)).high


def test_static_patterns_are_those_of_the_model_averaged_level_by_level() -> None:
    asked = ask_once(TREE, TOKENS, HIDDEN)
    pattern = np.random.default_rng(1).dirichlet(np.ones(8), size=(3, 2, 8))
    found = static_distances(PatternModel(pattern), asked, 8)
    np.testing.assert_allclose(found.mean, found.unedited, atol=1e-4)  # the model's patterns depend on nothing
    for kept in range(-1, 3):
        expected = PatternModel(block_average(pattern, kept))(torch.tensor(asked.shown))
        answers = expected[np.arange(40), HIDDEN].double().softmax(-1).numpy()
        np.testing.assert_allclose(found.by_level[kept], oracle_distances(answers, asked.oracles), atol=1e-4)
    assert found.levels is found.by_level[2]
    uniform = answers_with_patterns(PatternModel(pattern), asked, named_pattern("uniform", 3, 2, 8))
    np.testing.assert_allclose(found.by_level[-1], oracle_distances(uniform, asked.oracles), atol=1e-6)
    assert np.abs(found.by_level[-1] - found.unedited).max() > 0.01


def test_a_hidden_leaf_must_exist() -> None:
    with pytest.raises(InputError, match=r"one leaf in 0\.\.7 per sequence"):
        ask_once(TREE, TOKENS, HIDDEN + 1)
    with pytest.raises(InputError, match="one leaf"):
        ask_once(TREE, TOKENS, HIDDEN[:3])


@pytest.mark.parametrize("n_leaves", [4, 3])  # all positions, or all but a ROOT query
def test_answers_are_those_of_a_plain_edit(n_leaves: int) -> None:
    model = build_model(ModelConfig(n_layers=2, n_heads=2, d_model=8, d_mlp=8), d_vocab=5, d_vocab_out=3, n_ctx=4, seed=0)
    draw = rng(0, "patterns")
    tokens, read = draw.integers(5, size=(7, 4)), draw.integers(4, size=7)
    patterns = draw.dirichlet(np.ones(n_leaves), size=(2, 2, n_leaves))
    found = answers_with_patterns(model, AskedOnce(tokens, read, np.full((7, 1, 3), 1 / 3), 0), patterns)

    def replaced(layer):
        def change(pattern):
            new = torch.from_numpy(patterns[layer]).to(pattern)
            left = 1 - pattern[:, :, :n_leaves, n_leaves:].sum(-1, keepdim=True)
            pattern[:, :, :n_leaves, :n_leaves] = new * left
            return pattern

        return change

    with torch.no_grad(), mechbp.edit(model, {f"blocks.{m}.attn.hook_pattern": replaced(m) for m in range(2)}):
        expected = model(torch.from_numpy(tokens))[torch.arange(7), torch.from_numpy(read)].double().softmax(-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)

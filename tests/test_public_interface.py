"""The calls that scripts outside the repository make, in the forms that are promised to stay."""

import numpy as np
import pytest
import torch

import mechbp

GRAMMAR = mechbp.TreeGrammar.random(vocab_size=4, sigma=1.0, seed=0, recipe="paper")


@pytest.mark.parametrize("filter_level", range(5))
def test_trees(filter_level):
    tree = mechbp.FilteredTree(GRAMMAR, depth=4, filter_level=filter_level)
    assert (tree.grammar, tree.depth, tree.filter_level) == (GRAMMAR, 4, filter_level)
    sample = tree.sample(50, mechbp.rng(0, "demo"))
    assert sample.tokens.shape == (50, 16) and sample.root.shape == (50,)
    beliefs = tree.beliefs(sample.tokens, observed=None)
    depths = sorted({0, *range(filter_level, 5)})
    for messages in (beliefs.upward, beliefs.downward, beliefs.marginals):
        assert sorted(messages) == depths
        assert all(messages[d].shape == (50, 2**d, 4) and messages[d].dtype == np.float64 for d in depths)
    assert all(sample.nodes[d].shape == (50, 2**d) for d in depths)
    assert beliefs.log_evidence.shape == (50,)
    np.testing.assert_allclose(tree.leave_one_out(sample.tokens), beliefs.downward[4], rtol=0, atol=1e-12)


def test_own_rules_make_a_grammar():
    assert np.array_equal(mechbp.TreeGrammar(GRAMMAR.rules).rules, GRAMMAR.rules)
    np.testing.assert_allclose(GRAMMAR.rules.sum(axis=(1, 2)), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name, positions", [("tree-mlm-k0", 16), ("tree-root-k0", 17)])
def test_runs_and_methods(name, positions):
    run = mechbp.load(name)
    assert not run.model.training and len(run.digest) == 64
    assert type(run.at(run.steps[0])) is type(run.model)
    assert run.config.training.steps == run.steps[-1]

    watched = mechbp.load(f"{name}-s1")  # another seed, stored along training
    assert watched.steps[0] == 0 and len(watched.steps) >= 20 and watched.at(watched.steps[3]).cfg.n_layers == 4

    sample = run.process.sample(400, mechbp.rng(0, "demo", name))
    tokens = np.hstack([sample.tokens, np.full((400, 1), run.process.root_token)])[:, :positions]
    acts = mechbp.capture(run.model, tokens, ["blocks.*.hook_resid_post"])
    assert [acts[f"blocks.{layer}.hook_resid_post"].shape for layer in range(4)] == [(400, positions, 64)] * 4
    assert "blocks.0.attn.hook_pattern" in str(mechbp.hook_table(run.model))

    with mechbp.edit(run.model, {"blocks.1.hook_resid_post": torch.zeros_like}) as running:
        run.model(torch.from_numpy(tokens[:2]))
    assert sum(running.firings.values()) == 1

    beliefs = run.process.beliefs(sample.tokens)
    grid = mechbp.probe(
        run.model, tokens, {"parent": beliefs.upward[3]}, hooks=["blocks.*.hook_resid_post"], rng=mechbp.rng(0, "probe")
    )
    assert grid.r2["parent"].shape == grid.kl_nats["parent"].shape == (4, positions, 8)
    assert len(grid.to_dataframe()) == 4 * positions * 8

    def metric(logits):
        return logits[:, -1, 0]

    hooks = ["blocks.*.hook_resid_pre", "blocks.*.attn.hook_z"]
    effects = mechbp.patch(run.model, tokens[:8], tokens[8:16], metric, hooks=hooks)
    assert effects.normalized.shape == (8, 2 * 4 * positions) and len(effects.to_dataframe()) == 2 * 4 * positions
    match = mechbp.compare_attention(run.model, tokens[:50], "sibling-subtree")
    again = mechbp.compare_attention(run.model, tokens[:50], match.reference)
    assert match.js_nats.mean.shape == (4, 1)
    np.testing.assert_array_equal(match.js_nats.mean, again.js_nats.mean)

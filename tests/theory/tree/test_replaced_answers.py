"""Answers with replaced patterns are those of a plain loop of edits, and the nearest oracle is told in either direction."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.divergence import kl_nats
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng
from mechbp.theory.tree.replaced_answers import answers_with_patterns, followed


@pytest.mark.parametrize("n_leaves", [4, 3])  # all positions, or all but a ROOT query
def test_answers_are_those_of_a_plain_edit(n_leaves):
    model = build_model(ModelConfig(n_layers=2, n_heads=2, d_model=8, d_mlp=8), d_vocab=5, d_vocab_out=3, n_ctx=4, seed=0)
    draw = rng(0, "patterns")
    tokens, read = draw.integers(5, size=(7, 4)), draw.integers(4, size=7)
    patterns = draw.dirichlet(np.ones(n_leaves), size=(2, 2, n_leaves))
    found = answers_with_patterns(model, tokens, patterns, read)

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


def test_the_two_directions_can_follow_two_oracles():
    answers = np.tile([0.90, 0.10], (50, 1))
    oracles = {0: np.tile([1.0, 0.0], (50, 1)), 1: np.tile([0.6, 0.4], (50, 1))}  # sure, and doubtful
    found = followed(answers, oracles, rng(0))
    assert found.nearest == (0, 1)  # an oracle's zero costs 27.6 nats times the model's doubt
    for k, exact in oracles.items():
        assert found.oracle_to_answers_nats.mean[k] == pytest.approx(kl_nats(exact, answers).mean())
        assert found.answers_to_oracle_nats.mean[k] == pytest.approx(kl_nats(answers, exact).mean())
    assert found.lead[0].mean == pytest.approx(np.ptp(found.oracle_to_answers_nats.mean))
    assert all(lead.low > 0 for lead in found.lead)

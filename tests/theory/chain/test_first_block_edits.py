"""Tables of one block: what is put back unchanged changes nothing, and profiles find the form that was planted."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.chain.library import mess3
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain import first_block_edits
from mechbp.theory.chain.constrained_values import loose_fit
from mechbp.theory.chain.first_block import mean_pattern_over, one_block
from mechbp.theory.chain.first_block_edits import answers_under, predicted_lengths, profile, with_values
from mechbp.theory.chain.prefix_activations import prefix_answers

LENGTH = 4


@pytest.fixture(scope="module")
def model():
    """Random weights, but for queries of 0: attention is uniform and a mean pattern is every word's own."""
    config = ModelConfig(n_layers=1, n_heads=2, d_model=16, d_mlp=16, attention="causal")
    built = build_model(config, d_vocab=3, d_vocab_out=3, n_ctx=LENGTH, seed=0)
    with torch.no_grad():
        built.blocks[0].attn.W_Q.zero_()
    return built


def test_own_tables_and_own_pattern_give_own_answers(model):
    words = enumerate_words(mess3(0.15, 0.6), LENGTH)
    block = one_block(model, 3, LENGTH)
    pattern = mean_pattern_over(model, words)
    assert pattern.spread.max() < 1e-3
    own = prefix_answers(model, words)
    np.testing.assert_allclose(answers_under(model, words, block, pattern.mean), own, rtol=0, atol=1e-5)
    swapped = with_values(block, [np.roll(written, 1, axis=1) for written in block.written])
    assert np.abs(answers_under(model, words, swapped, pattern.mean) - own).max() > 1e-3
    assert np.abs(answers_under(model, words, block, np.stack([np.eye(LENGTH)] * 2)) - own).max() > 1e-3


def test_one_block_is_finished_from_prefixes_alone(model, monkeypatch):
    """Every prefix once, instead of every word at every position."""
    monkeypatch.setattr(first_block_edits, "rewritten_answers", None)
    words = enumerate_words(mess3(0.15, 0.6), LENGTH)
    found = answers_under(model, words, one_block(model, 3, LENGTH), mean_pattern_over(model, words).mean)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=0, atol=1e-5)


def test_later_blocks_are_run_on_whole_words():
    """They mix positions, so that what holds for the prefixes of one block does not for two."""
    config = ModelConfig(n_layers=2, n_heads=2, d_model=16, d_mlp=16, attention="causal")
    deep = build_model(config, d_vocab=3, d_vocab_out=3, n_ctx=LENGTH, seed=0)
    with torch.no_grad():
        deep.blocks[0].attn.W_Q.zero_()
        deep.blocks[1].attn.W_Q.mul_(30)
    words = enumerate_words(mess3(0.15, 0.6), LENGTH)
    pattern = mean_pattern_over(deep, words).mean
    found = answers_under(deep, words, one_block(deep, 3, LENGTH), pattern)
    np.testing.assert_allclose(found, prefix_answers(deep, words), rtol=0, atol=1e-5)


def test_a_planted_profile_is_found_and_noise_is_seen():
    draw = mechbp.rng(0, "profile")
    mean = draw.normal(size=(6, 8))
    shape = draw.normal(size=(3, 8))
    factor = np.array([0.5, 1.5, 1.0, 0.8, 1.2, 1.0])
    shape -= shape.mean(axis=0)
    written = mean[:, None] + factor[:, None, None] * shape
    found = profile(written)
    assert found.share == pytest.approx(1) and found.factor.mean() == pytest.approx(1)
    np.testing.assert_allclose(found.factor, factor, rtol=1e-9)
    np.testing.assert_allclose(found.values(), written, rtol=0, atol=1e-10)
    np.testing.assert_allclose(predicted_lengths(found, 3 * factor[:4]), factor, rtol=1e-9)  # proportions count, not scale
    assert profile(written + draw.normal(size=written.shape)).share < 0.8


def test_the_looser_fit_leaves_out_what_it_scores():
    draw = mechbp.rng(0, "loose")
    predicted = draw.normal(size=(7, 3, 3))
    assert loose_fit(predicted @ draw.normal(size=(3, 12)) + 5, predicted) == pytest.approx((1, 1))
    fitted, out = loose_fit(draw.normal(size=(7, 3, 12)), predicted)
    assert fitted > out and out < 0.2


def test_tables_and_patterns_that_do_not_fit_are_refused(model):
    words = enumerate_words(mess3(0.15, 0.6), LENGTH)
    block = one_block(model, 3, LENGTH)
    with pytest.raises(InputError, match=r"need a pattern \[2, 4, 4\]"):
        answers_under(model, words, block, np.ones((1, LENGTH, LENGTH)))
    with pytest.raises(InputError, match="with_values"):
        with_values(block, [block.written[0]])
    with pytest.raises(InputError, match="predicted_lengths"):
        predicted_lengths(profile(block.written[0]), np.ones(9))

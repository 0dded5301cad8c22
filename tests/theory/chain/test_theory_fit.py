"""Substitutes for a first block, and the distance of a model from the theory: known on ideal layers and on uniform attention."""

import numpy as np
import pytest
import torch
from ideal_layers import SETTINGS, ideal_layer

import mechbp
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.chain.library import mess3, rrxor
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain import substitutes as parts
from mechbp.theory.chain.constrained_attention import Lags, lags_of_heads, only_eigenvalue, pattern_fit, softmax_warp
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.prefix_activations import prefix_answers
from mechbp.theory.chain.substitutes import silenced, substitutes
from mechbp.theory.chain.theory_fit import theory_fit

WORD = 5


def model(n_heads=2, n_layers=1):
    config = ModelConfig(n_layers=n_layers, n_heads=n_heads, d_model=16, d_mlp=16, attention="causal")
    return build_model(config, d_vocab=3, d_vocab_out=3, n_ctx=WORD, seed=0)


@pytest.mark.parametrize("zeta", SETTINGS)
def test_an_ideal_layer_is_its_own_substitute(zeta):
    _, pattern, lags, _, block = ideal_layer(zeta)
    found = substitutes(block, pattern, zeta, lags)
    np.testing.assert_allclose(found.patterns[parts.DECAY], pattern, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.values[parts.PROFILE], block.written, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.values[parts.LENGTHS], block.written, rtol=0, atol=1e-10)
    assert found.shares == pytest.approx([1] * len(lags))
    for wrong in (parts.WARP, parts.UNIFORM, parts.NO_ATTENTION):
        assert np.abs(found.patterns[wrong] - pattern).max() > 0.05
    for wrong in (parts.EQUAL, parts.SWAPPED):
        assert np.abs(found.values[wrong] - block.written).max() > 0.05
    np.testing.assert_allclose(found.patterns[parts.UNIFORM].sum(axis=-1), 1)


def test_a_silenced_head_tells_nothing_and_the_other_stays():
    block = ideal_layer(-0.5)[-1]
    written = silenced(block, 0)
    assert np.ptp(written[0], axis=1).max() < 1e-12
    np.testing.assert_allclose(written[0].mean(axis=1), block.written[0].mean(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(written[1], block.written[1])


def test_heads_of_another_number_are_refused():
    _, pattern, lags, _, block = ideal_layer(-0.5)
    with pytest.raises(InputError, match="one pattern and one set of lags per head, got 1 and 2"):
        substitutes(block, pattern[:1], -0.5, lags)


def test_where_attention_is_uniform_the_mean_pattern_costs_nothing():
    built = model()
    with torch.no_grad():
        built.blocks[0].attn.W_Q.zero_()
        built.blocks[0].attn.b_Q.zero_()
    hmm = mess3(0.5, 0.6)
    words = enumerate_words(hmm, WORD)
    fit = theory_fit(built, words, hmm, mechbp.rng(0, "fit"))
    loss = exact_loss(prefix_answers(built, words), words, hmm)
    assert (fit.kl_nats, fit.missed) == pytest.approx((loss.mean_nats, loss.relative))
    assert fit.missed_mean == pytest.approx(fit.missed, rel=1e-5) and fit.missed_uniform == pytest.approx(fit.missed, rel=1e-5)
    assert abs(fit.missed_predicted / fit.missed - 1) > 1e-3  # the law is no uniform pattern
    # A[d, s] = 1 / (d + 1): from every own lag to the next, sums of 1 / (d + 3) over sums of 1 / (d + 1).
    odd = (1 / 4 + 1 / 5) / (1 / 2 + 1 / 3)
    assert fit.decay[0] == pytest.approx(odd, rel=1e-5) and len(fit.decay) == 2
    assert 0 < fit.parity < 1
    pattern = np.tril(np.ones((WORD, WORD))) / np.arange(1, WORD + 1)[:, None]
    lags = lags_of_heads(np.stack([pattern, pattern]), -0.2)
    warps = [1 - pattern_fit(pattern, softmax_warp(WORD, only_eigenvalue(hmm), reach), reach).r2 for reach in lags]
    assert fit.warp_missed == pytest.approx(np.mean(warps), rel=1e-5) and abs(fit.law_missed - fit.warp_missed) > 1e-3


def test_lags_of_one_or_many_heads_are_those_that_they_look_at_more():
    distance = np.subtract.outer(np.arange(WORD), np.arange(WORD))
    odd, even = (np.where((distance >= 0) & (distance % 2 == parity), 1.0, 0.1) * (distance >= 0) for parity in (1, 0))
    assert lags_of_heads(odd[None], -0.2) == (Lags(1, 2),) and lags_of_heads(even[None], -0.2) == (Lags(2, 2),)
    assert lags_of_heads(np.stack([odd, even, odd]), -0.2) == (Lags(1, 2), Lags(2, 2), Lags(1, 2))
    assert lags_of_heads(np.stack([even, odd]), -0.2) == (Lags(2, 2), Lags(1, 2))
    assert lags_of_heads(np.stack([odd, even, odd]), 0.2) == (Lags(1, 1),) * 3


def test_attention_that_depends_on_tokens_pays_for_a_mean_pattern():
    built = model()
    with torch.no_grad():
        built.blocks[0].attn.W_Q.mul_(30)
    hmm = mess3(0.5, 0.6)
    fit = theory_fit(built, enumerate_words(hmm, WORD), hmm, mechbp.rng(0, "fit"))
    assert abs(fit.missed_mean / fit.missed - 1) > 1e-4
    with torch.no_grad():  # the same model, now with uniform attention
        built.blocks[0].attn.W_Q.zero_()
        built.blocks[0].attn.b_Q.zero_()
    words = enumerate_words(hmm, WORD)
    uniform = exact_loss(prefix_answers(built, words), words, hmm).relative
    assert fit.missed_uniform == pytest.approx(uniform, rel=1e-5) and abs(fit.missed_mean / uniform - 1) > 1e-3


def test_depth_and_processes_without_a_theory_are_refused():
    hmm = mess3(0.5, 0.6)
    with pytest.raises(InputError, match="one block, got a model of 2"):
        theory_fit(model(n_layers=2), enumerate_words(hmm, WORD), hmm, mechbp.rng(0, "fit"))
    with pytest.raises(InputError, match="one real eigenvalue"):
        theory_fit(model(), enumerate_words(rrxor(), WORD), rrxor(), mechbp.rng(0, "fit"))

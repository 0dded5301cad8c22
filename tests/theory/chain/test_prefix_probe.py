"""Regression over words equals least squares written out, its splits leak what they should leak, and exact losses are sums."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import mechbp
from mechbp.errors import InputError
from mechbp.hooks import edit
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.chain.library import mess3, rrxor
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.prefix_activations import activations_and_answers, prefix_activations, prefix_answers
from mechbp.theory.chain.prefix_probe import word_probe

HMM = mess3(0.15, 0.6, length=5)
WORDS = enumerate_words(HMM, 5)
BELIEFS = WORDS.of_prefixes(WORDS.beliefs[:, 1:])


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(n_layers=2, n_heads=2, d_model=16, d_mlp=32, attention="causal")
    return build_model(config, d_vocab=3, d_vocab_out=3, n_ctx=5, seed=0)


@pytest.fixture(scope="module")
def features(model):
    return prefix_activations(model, WORDS, "blocks.1.hook_resid_post")["blocks.1.hook_resid_post"]


def test_activations_are_those_of_the_prefix_in_every_word(model, features):
    whole = mechbp.capture(model, WORDS.tokens, "blocks.1.hook_resid_post")["blocks.1.hook_resid_post"].numpy()
    np.testing.assert_allclose(features[WORDS.prefix], whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("weighting", ["count", "probability"])
def test_scores_equal_weighted_least_squares_over_words_and_positions(features, weighting):
    found = word_probe(features, {"belief": BELIEFS}, WORDS, rng=mechbp.rng(0), weighting=weighting, repeats=0)["belief"]
    x = features[WORDS.prefix.ravel()].astype(np.float64)
    y = BELIEFS[WORDS.prefix.ravel()]
    weight = np.repeat(WORDS.probability if weighting == "probability" else np.ones(len(WORDS.tokens)), 5)
    peer = LinearRegression().fit(x, y, sample_weight=weight)
    error = np.average(np.square(peer.predict(x) - y), axis=0, weights=weight)
    spread = np.average(np.square(y - np.average(y, axis=0, weights=weight)), axis=0, weights=weight)
    assert found.mse == pytest.approx(error.mean(), rel=1e-6)
    assert found.r2 == pytest.approx(1 - error.sum() / spread.sum(), abs=1e-8)
    np.testing.assert_allclose(found.map(x), peer.predict(x), rtol=0, atol=1e-5)
    assert np.isnan(found.held_out_r2)


def test_answers_are_those_of_runs_on_whole_words(model, features):
    said = model(mechbp.hooks.to_tokens(model, WORDS.tokens)).double().softmax(-1).detach().numpy()
    np.testing.assert_allclose(prefix_answers(model, WORDS), WORDS.of_prefixes(said), rtol=0, atol=1e-6)
    found, answers = activations_and_answers(model, WORDS, "blocks.1.hook_resid_post")
    np.testing.assert_array_equal(found["blocks.1.hook_resid_post"], features)
    np.testing.assert_array_equal(answers, prefix_answers(model, WORDS))
    place = torch.arange(5.0)[:, None] * torch.eye(16)[0]
    with edit(model, {"blocks.0.hook_resid_post": lambda value: value + place}):  # an edit of whole words, position by position
        edited = model(mechbp.hooks.to_tokens(model, WORDS.tokens)).double().softmax(-1).detach().numpy()
        np.testing.assert_allclose(prefix_answers(model, WORDS), WORDS.of_prefixes(edited), rtol=0, atol=1e-6)
    assert np.abs(edited - said).max() > 1e-3


def test_an_affine_function_is_read_exactly_and_shuffling_leaves_its_variance(features):
    target = features[:, :3].astype(np.float64) @ np.diag([1.0, 2.0, 3.0]) + 5
    found = word_probe(features, {"exact": target}, WORDS, rng=mechbp.rng(0), repeats=10)["exact"]
    assert found.r2 > 1 - 1e-9 and found.held_out_r2 > 1 - 1e-9
    row_weight = np.bincount(WORDS.prefix.ravel())
    variance = np.average(np.square(target - np.average(target, axis=0, weights=row_weight)), axis=0, weights=row_weight).mean()
    assert found.shuffled_mse == pytest.approx(variance, rel=0.15)


def test_splitting_words_leaks_prefixes_and_splitting_prefixes_does_not():
    words = enumerate_words(rrxor(), 8)
    beliefs = words.of_prefixes(words.beliefs[:, 1:])
    noise = np.random.default_rng(0).normal(size=(words.n_prefixes, 64))
    sequence, prefix = (
        word_probe(noise, {"b": beliefs}, words, rng=mechbp.rng(0), split=split, repeats=20)["b"]
        for split in ("sequence", "prefix")
    )
    assert sequence.r2 == pytest.approx(prefix.r2, abs=1e-9) and sequence.r2 > 0.15
    assert sequence.held_out_r2 > prefix.held_out_r2 + 0.2 and prefix.held_out_r2 < -0.2


def test_prefixes_counted_once_are_ordinary_least_squares():
    words = enumerate_words(rrxor(), 6)
    target = {"b": words.of_prefixes(words.beliefs[:, 1:])}
    draw = np.random.default_rng(0).normal(size=(words.n_prefixes, 6))
    found = word_probe(draw, target, words, rng=mechbp.rng(0), weighting="prefix", split="prefix", repeats=10, train_share=0.8)[
        "b"
    ]
    peer = LinearRegression().fit(draw, target["b"])
    assert found.mse == pytest.approx(np.square(peer.predict(draw) - target["b"]).mean(), rel=1e-9) and found.map.rank == 6
    assert found.held_out_r2 < found.r2 < 0.3


def test_many_features_are_read_by_the_least_norm_fit():
    """300 columns that mix 10 factors: more columns than rows, and most of them redundant."""
    words = enumerate_words(rrxor(), 6)
    target = {"b": words.of_prefixes(words.beliefs[:, 1:])}
    draw = np.random.default_rng(0)
    wide = draw.normal(size=(words.n_prefixes, 10)) @ draw.normal(size=(10, 300)) + 7
    found = word_probe(wide, target, words, rng=mechbp.rng(0), weighting="prefix", split="prefix", repeats=0)["b"]
    centred = wide - wide.mean(axis=0)
    weights = np.linalg.lstsq(centred, target["b"] - target["b"].mean(axis=0), rcond=1e-9)[0]
    assert found.map.rank == 10
    np.testing.assert_allclose(found.map.weights, weights, rtol=0, atol=1e-9)


def test_published_constants_of_token_and_position():
    """A regression on the last token and its position alone leaves an error of .03094 on Mess3(.05, .85)."""
    words = enumerate_words(mess3(0.05, 0.85), 10)
    place = words.last_position
    token = words.tokens.ravel()[words.first_of_prefix]
    features = np.hstack([np.eye(10)[place], np.eye(3)[token]])
    found = word_probe(features, {"b": words.of_prefixes(words.beliefs[:, 1:])}, words, rng=mechbp.rng(0), repeats=0)["b"]
    assert found.mse == pytest.approx(0.03094, abs=1e-5) and found.shuffled_mse == pytest.approx(0.1112, abs=5e-4)


def test_exact_loss_is_the_sum_over_words(model):
    said = model(mechbp.hooks.to_tokens(model, WORDS.tokens)).double().softmax(-1).detach().numpy()
    loss = exact_loss(WORDS.of_prefixes(said), WORDS, HMM)
    exact = HMM.predictive(WORDS.beliefs[:, 1:])
    by_hand = np.einsum("w,wtz->t", WORDS.probability, exact * np.log(exact / said))
    np.testing.assert_allclose(loss.kl_nats, by_hand, rtol=0, atol=1e-9)
    perfect = exact_loss(WORDS.of_prefixes(exact), WORDS, HMM)
    assert perfect.mean_nats == pytest.approx(0, abs=1e-12) and perfect.normalised == pytest.approx(1, abs=1e-12)
    uniform = exact_loss(np.full((WORDS.n_prefixes, 3), 1 / 3), WORDS, HMM)
    assert uniform.relative == pytest.approx(1, abs=1e-12)
    assert uniform.mean_nats + uniform.entropy_nats.mean() == pytest.approx(np.log(3), abs=1e-12)


@pytest.mark.parametrize("weighting", ["count", "probability"])
def test_a_constant_with_rounding_noise_has_no_r2(features, weighting):
    noise = mechbp.rng(0, "noise").normal(size=BELIEFS.shape)
    targets = {"constant": 0.1 + 1e-9 * noise, "nearly": 0.1 + 1e-5 * noise}
    found = word_probe(features, targets, WORDS, rng=mechbp.rng(0), weighting=weighting, repeats=2)
    assert np.isnan(found["constant"].r2) and np.isnan(found["constant"].held_out_r2)
    assert np.isfinite(found["nearly"].r2) and np.isfinite(found["nearly"].held_out_r2)


def test_nonsense_is_refused(features, tiny_encoder):
    with pytest.raises(InputError, match="one row for each of 363 prefixes"):
        word_probe(features[:-1], {"b": BELIEFS}, WORDS, rng=mechbp.rng(0))
    with pytest.raises(InputError, match="no weighting 'mass'"):
        word_probe(features, {"b": BELIEFS}, WORDS, rng=mechbp.rng(0), weighting="mass")
    with pytest.raises(InputError, match='pass split="prefix"'):
        word_probe(features, {"b": BELIEFS}, WORDS, rng=mechbp.rng(0), weighting="prefix")
    with pytest.raises(InputError, match="train_share must be between 0 and 1"):
        word_probe(features, {"b": BELIEFS}, WORDS, rng=mechbp.rng(0), train_share=1.0)
    with pytest.raises(InputError, match="looks ahead"):
        prefix_answers(tiny_encoder, WORDS)
    with pytest.raises(InputError, match="one answer for each"):
        exact_loss(np.full((2, 3), 1 / 3), WORDS, HMM)

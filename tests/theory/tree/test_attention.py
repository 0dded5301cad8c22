"""Planted patterns score as they must, masses sum to 1, and permutation p-values are uniform under the null."""

import copy

import numpy as np
import pytest
import torch
from pattern_model import PatternModel
from scipy.stats import kstest

from mechbp.errors import InputError
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.randomness import rng
from mechbp.theory.tree.attention import block_average, compare_attention, mass_by_level, named_pattern
from mechbp.theory.tree.leaves import lca_level, leaves_below_root, own_nodes

TOKENS = np.random.default_rng(0).integers(0, 4, size=(40, 16))
THEORY = named_pattern("sibling-subtree", 4, 1, 16)


def with_root(patterns: np.ndarray, to_root: float) -> np.ndarray:
    """The pattern with a ROOT query appended, to which every leaf sends `to_root`."""
    layers, heads, n, _ = patterns.shape
    whole = np.full((layers, heads, n + 1, n + 1), 1 / (n + 1))
    whole[..., :n, :n], whole[..., :n, n] = patterns * (1 - to_root), to_root
    return whole


def test_lca_levels_are_bit_lengths() -> None:
    levels = lca_level(32)
    assert all(levels[i, j] == (i ^ j).bit_length() for i in range(32) for j in range(32))
    with pytest.raises(InputError, match="power of two"):
        lca_level(6)


def test_positions_know_their_leaves_and_ancestors() -> None:
    assert [leaves_below_root(n, "x") for n in (2, 3, 16, 17)] == [2, 2, 16, 16]
    with pytest.raises(InputError, match="10 positions"):
        leaves_below_root(10, "x")
    targets = {"parents": np.zeros((1, 4)), "root": np.zeros((1, 1, 3))}
    own = own_nodes(targets, 16, 17)
    assert own["parents"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [-1]
    assert own["root"].tolist() == [0] * 16 + [-1]
    with pytest.raises(InputError, match="3 nodes, no depth"):
        own_nodes({"x": np.zeros((1, 3))}, 16, 16)
    with pytest.raises(InputError, match="16 leaves do not fit"):
        own_nodes(targets, 16, 15)


def test_the_sibling_subtree_pattern_is_written_out_for_four_leaves() -> None:
    first, second = named_pattern("sibling-subtree", 2, 1, 4)[:, 0]
    np.testing.assert_array_equal(first, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    np.testing.assert_array_equal(second, np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]) / 2)
    with pytest.raises(InputError, match="has 2 blocks on 4 leaves"):
        named_pattern("sibling-subtree", 3, 1, 4)


def test_a_model_that_is_the_theory_matches_it() -> None:
    match = compare_attention(PatternModel(THEORY), TOKENS, "sibling-subtree", rng=rng(0), permutations=199)
    np.testing.assert_allclose(match.js_nats.mean, 0, atol=1e-12)
    np.testing.assert_allclose(match.cosine.mean, 1, atol=1e-12)
    assert (match.p_js <= 0.01).all() and (match.p_cosine <= 0.01).all()
    assert match.uniform_js_nats[0, 0] > match.uniform_js_nats[3, 0] > 0.1


def test_a_uniform_model_is_as_near_to_every_relabelling() -> None:
    uniform = named_pattern("uniform", 4, 1, 16)
    match = compare_attention(PatternModel(uniform), TOKENS, "sibling-subtree", rng=rng(0), permutations=99)
    np.testing.assert_array_equal(match.p_js, 1)
    np.testing.assert_allclose(match.js_nats.mean, match.uniform_js_nats, atol=1e-6)
    np.testing.assert_allclose(match.js_nats.mean[:, 0], [hand_js(16, 2**layer) for layer in range(4)], atol=1e-6)


def hand_js(n: int, k: int) -> float:
    """JS of the uniform law on n leaves and that on k of them."""
    u, s = 1 / n, 1 / k
    middle = (u + s) / 2
    return (k * u * np.log(u / middle) + (n - k) * u * np.log(2) + k * s * np.log(s / middle)) / 2


def test_masses_sum_to_one_and_know_their_level() -> None:
    found = mass_by_level(mean_pattern(PatternModel(THEORY, wobble=0.3), TOKENS), rng(1))
    np.testing.assert_allclose(found.mass.mean.sum(axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(found.uniform, np.array([1, 1, 2, 4, 8]) / 16)
    assert [int(found.mass.mean[layer, 0].argmax()) for layer in range(4)] == [1, 2, 3, 4]
    assert (found.mass.low <= found.mass.mean).all() and (found.mass.mean <= found.mass.high).all()
    pure = mass_by_level(mean_pattern(PatternModel(THEORY), TOKENS), rng(1)).mass.mean[:, 0]
    np.testing.assert_allclose(pure, np.eye(5)[1:], atol=1e-6)


def test_root_is_dropped_renormalised_and_reported() -> None:
    tokens = np.hstack([TOKENS, np.full((len(TOKENS), 1), 5)])
    patterns = mean_pattern(PatternModel(with_root(THEORY, 0.25)), tokens, 16)
    np.testing.assert_allclose(patterns.mean, THEORY, atol=1e-6)
    np.testing.assert_allclose(patterns.to_rest, 0.25, atol=1e-6)
    np.testing.assert_allclose(patterns.from_rest, 1 / 17, atol=1e-6)
    assert compare_attention(PatternModel(with_root(THEORY, 0.25)), tokens, rng=rng(0), permutations=19).js_nats.mean.max() < 1e-6
    with pytest.raises(InputError, match="attends to none of the first 16"):
        mean_pattern(PatternModel(with_root(THEORY, 1.0)), tokens, 16)


def test_p_values_are_uniform_under_the_null() -> None:
    draw, p = np.random.default_rng(5), []
    theory = named_pattern("sibling-subtree", 2, 1, 16)
    for trial in range(100):
        relabel = draw.permutation(16)
        noisy = theory[..., relabel[:, None], relabel] + draw.gamma(0.3, size=theory.shape) * 0.2
        noisy /= noisy.sum(axis=-1, keepdims=True)
        match = compare_attention(PatternModel(noisy), TOKENS[:2], theory, rng=rng(trial), permutations=39, resamples=2)
        p.append(match.p_js[1, 0])
    assert kstest(np.array(p) - 1 / 80, "uniform").pvalue > 1e-3


def test_p_values_of_the_nearest_of_many_heads_are_uniform_under_the_null() -> None:
    draw, p = np.random.default_rng(5), []
    theory = named_pattern("sibling-subtree", 1, 8, 8)
    for trial in range(100):
        relabels = [draw.permutation(8) for _ in range(8)]
        noisy = np.stack([theory[:, head][:, relabel[:, None], relabel] for head, relabel in enumerate(relabels)], axis=1)
        noisy = noisy + draw.gamma(0.3, size=theory.shape) * 0.2
        noisy /= noisy.sum(axis=-1, keepdims=True)
        match = compare_attention(PatternModel(noisy), TOKENS[:2, :8], theory, rng=rng(trial), permutations=39, resamples=2)
        p.append([match.p_nearest_js[0], match.p_js.min()])
    corrected, uncorrected = np.transpose(p)
    assert kstest(corrected - 1 / 80, "uniform").pvalue > 1e-3
    assert kstest(uncorrected - 1 / 80, "uniform").pvalue < 1e-6  # the least of eight is no p-value


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_compared(dtype: torch.dtype, tiny_encoder) -> None:
    tokens = TOKENS[:, :4]
    full = compare_attention(tiny_encoder, tokens, rng=rng(0), permutations=9, control_model=tiny_encoder)
    half_model = copy.deepcopy(tiny_encoder).to(dtype)
    half = compare_attention(half_model, tokens, rng=rng(0), permutations=9, control_model=half_model)
    np.testing.assert_allclose(half.js_nats.mean, full.js_nats.mean, atol=5e-3)
    np.testing.assert_allclose(mean_pattern(half_model, tokens).within.sum(axis=-1), 1, atol=1e-6)


def test_one_example_says_nothing_of_the_spread() -> None:
    model = PatternModel(THEORY, wobble=0.3)
    match = compare_attention(model, TOKENS[:1], rng=rng(0), control_model=model, permutations=9)
    assert match.control_js_nats is not None and match.control_cosine is not None
    for interval in (match.js_nats, match.cosine, match.control_js_nats, match.control_cosine):
        assert np.isfinite(interval.mean).all() and np.isnan([interval.low, interval.high]).all()
    several = compare_attention(model, TOKENS[:2], rng=rng(0), permutations=9)
    assert (several.js_nats.low < several.js_nats.high).all()


def test_one_head_needs_no_correction() -> None:
    match = compare_attention(PatternModel(named_pattern("uniform", 4, 1, 16), wobble=0.3), TOKENS, rng=rng(0), permutations=39)
    np.testing.assert_array_equal(match.p_nearest_js, match.p_js[:, 0])
    np.testing.assert_array_equal(match.null_nearest_js_nats, match.null_js_nats[..., 0])


def test_block_average_preserves_rows_and_levels() -> None:
    draw = np.random.default_rng(2)
    for n in (16, 17):
        pattern = draw.dirichlet(np.ones(n), size=(2, 3, n))
        averaged = block_average(pattern, n_leaves=16)
        np.testing.assert_allclose(averaged.sum(axis=-1), 1, atol=1e-12)
        levels = lca_level(16)
        for level in range(5):
            values, given = (array[..., :16, :16][..., levels == level] for array in (averaged, pattern))
            np.testing.assert_allclose(values, np.broadcast_to(given.mean(axis=-1, keepdims=True), values.shape))
    for part in (np.s_[..., :16, 16], np.s_[..., 16, :16], np.s_[..., 16, 16]):  # to ROOT, from ROOT, and ROOT to itself: apart
        given = pattern[part].reshape(2, 3, -1).mean(axis=-1)
        np.testing.assert_allclose(
            averaged[part].reshape(2, 3, -1), np.broadcast_to(given[..., None], (2, 3, pattern[part].size // 6))
        )
    np.testing.assert_allclose(block_average(THEORY), THEORY, atol=1e-15)


def test_block_average_merges_the_levels_it_is_not_told_to_keep_apart() -> None:
    pattern = np.random.default_rng(3).dirichlet(np.ones(16), size=(1, 1, 16))
    levels = lca_level(16)
    merged = block_average(pattern, 1)[0, 0]
    for group in (levels == 0, levels == 1, levels >= 2):
        np.testing.assert_allclose(merged[group], pattern[0, 0][group].mean())
    np.testing.assert_allclose(block_average(pattern, -1), 1 / 16)
    np.testing.assert_array_equal(block_average(pattern, 3), block_average(pattern))  # one class is left for the last level
    with pytest.raises(InputError, match="distinct_levels must be >= -1, got -2"):
        block_average(pattern, -2)


@pytest.mark.parametrize("wrong", [{"permutations": 0}, {"resamples": 1}])
def test_too_few_draws_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="permutations must be an integer >= 1, got 0|resamples must be an integer >= 2, got 1"):
        compare_attention(PatternModel(THEORY), TOKENS, **wrong)


def test_control_and_custom_references_are_used() -> None:
    model, control = PatternModel(THEORY, wobble=0.2), PatternModel(named_pattern("uniform", 4, 1, 16))
    match = compare_attention(model, TOKENS, THEORY, rng=rng(0), control_model=control, permutations=19)
    assert match.control_js_nats is not None
    np.testing.assert_allclose(match.control_js_nats.mean, match.uniform_js_nats, atol=1e-6)
    assert (match.js_nats.low <= match.js_nats.mean).all() and (match.js_nats.mean <= match.js_nats.high).all()
    assert set(match.to_dict()) >= {"js_nats", "p_js", "null_js_nats_quantiles"}
    itself = compare_attention(PatternModel(THEORY), TOKENS, "block-average", rng=rng(0), permutations=9)
    np.testing.assert_allclose(itself.js_nats.mean, 0, atol=1e-9)
    for wrong in (THEORY[:2], THEORY * 2, "cousins"):
        with pytest.raises(InputError):
            compare_attention(model, TOKENS, wrong, rng=rng(0))

"""Attention by what query and key show, and patterns made of class weights, against loops and patterns written out by hand."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.hooks import capture
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.theory.topics.key_classes import (
    DIFF,
    HIDDEN,
    NO_QUERY,
    OTHER,
    OWN,
    SAME,
    SELF,
    WORD,
    KeyClasses,
    class_attention,
    class_weights,
    pattern_of_weights,
)
from mechbp.theory.topics.pairs import PairClasses, pair_class_test, topic_label_test
from mechbp.theory.topics.replaced_patterns import (
    BY_CLASS,
    MERGED,
    SHOWN_WORDS,
    UNIFORM,
    replaced_answers,
    replacement_weights,
)

TOPIC = np.array([0, 0, 1, 1])
KEYS = KeyClasses.of(PairClasses.of(TOPIC))
MASK, PAD = 4, 5


@pytest.fixture(scope="module")
def model():
    found = build_model(ModelConfig(n_layers=2, n_heads=2, d_model=8, d_mlp=8), d_vocab=6, d_vocab_out=4, n_ctx=6, seed=3)
    with torch.no_grad():
        for block in found.blocks:
            block.attn.W_Q *= 40  # so that patterns are far from uniform
    return found


@pytest.fixture(scope="module")
def shown():
    rng = mechbp.rng(0, "ids")
    ids = rng.integers(0, 4, (40, 6))
    ids[:, 0] = MASK
    ids[::2, 3] = MASK
    ids[::5, 5] = PAD
    return ids


def test_pairs_of_positions_are_sorted_by_what_they_show():
    found = KEYS.matrix(np.array([[MASK, 0, 0, 1, 2, MASK, PAD]]))[0]
    expected = [
        [OWN, WORD, WORD, WORD, WORD, OTHER, OTHER],
        [HIDDEN, SELF, SELF, SAME, DIFF, HIDDEN, HIDDEN],
        [HIDDEN, SELF, SELF, SAME, DIFF, HIDDEN, HIDDEN],
        [HIDDEN, SAME, SAME, SELF, DIFF, HIDDEN, HIDDEN],
        [HIDDEN, DIFF, DIFF, DIFF, SELF, HIDDEN, HIDDEN],
        [OTHER, WORD, WORD, WORD, WORD, OWN, OTHER],
        [NO_QUERY] * 7,
    ]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("all_seen", [True, False])
def test_sums_are_those_of_a_loop_over_pairs(model, shown, all_seen):
    unseen = np.zeros(shown.shape, bool) if all_seen else (shown == PAD) | (np.arange(6) == 4)
    found = class_attention(model, shown, KEYS, None if all_seen else unseen)
    patterns = np.stack([capture(model, shown, f"blocks.{layer}.attn.hook_pattern").popitem()[1].numpy() for layer in (0, 1)], 1)
    classes = KEYS.matrix(shown)
    sums = np.zeros((len(shown), 2, 2, NO_QUERY + 1))
    counts = np.zeros((len(shown), NO_QUERY + 1))
    by_word = np.zeros((2, 4, 4))
    for i, ids in enumerate(shown):
        n_keys = (~unseen[i]).sum()
        for q in range(6):
            for k in np.flatnonzero(~unseen[i]):
                sums[i, ..., classes[i, q, k]] += n_keys * patterns[i, ..., q, k]
                counts[i, classes[i, q, k]] += 1
                if max(ids[q], ids[k]) < 4 and q != k:
                    by_word[:, ids[q], ids[k]] += n_keys * patterns[i, ..., q, k].mean(), 1
    np.testing.assert_allclose(found.sums, sums[..., :-1], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.counts, counts[..., :-1])
    np.testing.assert_allclose(found.by_word, by_word[0] / by_word[1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.mean, (sums.sum(0) / counts.sum(0))[..., :-1], rtol=0, atol=1e-5)
    both = found.of_documents((SAME, DIFF))
    np.testing.assert_allclose(both[4], (sums[4, ..., [SAME, DIFF]].sum(0) / counts[4, [SAME, DIFF]].sum()), rtol=0, atol=1e-5)


def test_patterns_of_weights_give_each_key_its_weight():
    classes = torch.from_numpy(KEYS.matrix(np.array([[MASK, 0, 1, 2]])))
    weights = np.zeros((1, NO_QUERY))
    weights[0, [SELF, SAME, DIFF, WORD]] = 3, 2, 1, 5
    pattern = pattern_of_weights(classes, weights)[0, 0].numpy()
    expected = [[0, 1 / 3, 1 / 3, 1 / 3], [0, 1 / 2, 1 / 3, 1 / 6], [0, 1 / 3, 1 / 2, 1 / 6], [0, 1 / 5, 1 / 5, 3 / 5]]
    np.testing.assert_allclose(pattern, expected, rtol=0, atol=1e-12)
    unseen = np.array([[False, False, True, False]])
    fewer = pattern_of_weights(classes, weights, unseen)[0, 0].numpy()
    np.testing.assert_allclose(fewer[1:3], [[0, 3 / 4, 0, 1 / 4], [0, 2 / 3, 0, 1 / 3]], rtol=0, atol=1e-12)
    alone = pattern_of_weights(torch.from_numpy(KEYS.matrix(np.array([[MASK, MASK, PAD]]))), weights)
    np.testing.assert_allclose(alone, 1 / 3, rtol=0, atol=1e-12)  # no weight anywhere, and a position that asks nothing


def test_weights_are_class_means_and_merging_keeps_their_mass(model, shown):
    found = class_attention(model, shown, KEYS)
    weights = class_weights(found)
    np.testing.assert_allclose(weights, found.mean, rtol=0, atol=1e-12)
    merged = class_weights(found, merged=((SAME, DIFF),))
    counts = found.counts.sum(axis=0)
    for head in np.ndindex(2, 2):
        assert merged[(*head, SAME)] == merged[(*head, DIFF)]
        mass = (weights[head] * counts)[[SAME, DIFF]].sum()
        assert (merged[head] * counts)[[SAME, DIFF]].sum() == pytest.approx(mass, rel=1e-12)
    others = [SELF, HIDDEN, OWN, WORD, OTHER]
    np.testing.assert_array_equal(merged[..., others], weights[..., others])
    np.testing.assert_array_equal(replacement_weights(BY_CLASS, found), weights)
    np.testing.assert_array_equal(replacement_weights(MERGED, found), merged)
    assert (replacement_weights(UNIFORM, found) == 1).all()
    seen = replacement_weights(SHOWN_WORDS, found)
    assert (seen[..., [SELF, SAME, DIFF, WORD]] == 1).all() and (seen[..., [HIDDEN, OWN, OTHER]] == 0).all()
    with pytest.raises(InputError, match="unknown stand-in 'none'"):
        replacement_weights("none", found)


def test_answers_are_the_models_own_unless_something_is_replaced(model, shown):
    weights = replacement_weights(UNIFORM, class_attention(model, shown, KEYS))
    own = model(torch.from_numpy(shown)).double().softmax(-1).detach().numpy()
    np.testing.assert_allclose(replaced_answers(model, shown, KEYS, weights, ()), own, rtol=0, atol=1e-6)
    all_uniform = replaced_answers(model, shown, KEYS, weights)
    hooks = [(f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook: torch.full_like(pattern, 1 / 6)) for layer in (0, 1)]
    uniform = model.run_with_hooks(torch.from_numpy(shown), fwd_hooks=hooks).double().softmax(-1).detach().numpy()
    np.testing.assert_allclose(all_uniform, uniform, rtol=0, atol=1e-6)
    second = replaced_answers(model, shown, KEYS, weights, (1,))
    assert np.abs(second - all_uniform).max() > 1e-4 < np.abs(second - own).max()
    with pytest.raises(InputError, match="weights of 2 layers"):
        replaced_answers(model, shown, KEYS, weights, (2,))


def test_labels_of_several_topics_are_permuted_together():
    rng = mechbp.rng(0, "table")
    topics = np.zeros((3, 9))
    topics[np.arange(9) // 3, np.arange(9)] = 1
    topics[np.arange(3), [3, 6, 0]] = 1  # a ring: each borrows one word
    classes = PairClasses.of_sets(topics)
    assert classes.same[0, 1] and classes.same[3, 0] and classes.same[0, 7] and classes.different[1, 7]
    noise = rng.normal(size=(9, 9))
    assert pair_class_test(noise + 5 * classes.same, classes, mechbp.rng(0, "p"), 999) == pytest.approx(0.001, abs=0.005)
    assert pair_class_test(noise - 5 * classes.same, classes, mechbp.rng(0, "p"), 999) > 0.99
    ps = [pair_class_test(rng.normal(size=(9, 9)), classes, rng, 199) for _ in range(200)]
    assert 0.4 < np.mean(ps) < 0.6 and 2 <= np.sum(np.array(ps) <= 0.05) <= 20
    table = rng.normal(size=(4, 4))
    single = topic_label_test(table, TOPIC, mechbp.rng(0, "p"), 99)
    assert single == pair_class_test(table, PairClasses.of(TOPIC), mechbp.rng(0, "p"), 99)

"""Random Gram matrices that meet the conditions have the least loss, and breaking any one condition is seen and costs."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.theory.topics.gram import block_gap, gram_loss, gram_residual, optimal_gram
from mechbp.theory.topics.setting import TopicSetting

SETTINGS = [TopicSetting(10, 10, 2), TopicSetting(4, 3, 1, 0.4, 0.3, 0.25), TopicSetting(5, 2, 4, 0.3, 0.0, 1.0)]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("seed", range(5))
def test_random_optimal_matrices(setting, seed):
    gram, bias = optimal_gram(setting, mechbp.rng(seed, "gram"))
    assert gram_residual(gram, bias, setting).largest < 1e-15
    floor = 1 - 1 / (setting.topics_per_document * setting.words_per_topic)
    assert gram_loss(gram, bias, setting) == pytest.approx(floor, abs=1e-14)
    assert block_gap(gram, setting) == pytest.approx(1 / (setting.words_per_topic * setting.genuine), abs=1e-14)
    within = gram[:-1, :-1][: setting.words_per_topic]
    assert np.abs(within - within.mean(axis=0)).max() > 0.02, "the gauge is free, so entries must differ"


def test_printed_gap():
    setting = SETTINGS[0]
    gram, _ = optimal_gram(setting, mechbp.rng(0, "gram"))
    assert block_gap(gram, setting) == pytest.approx(0.115607, abs=5e-7)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("change", ["block", "offset", "mask column", "mask row", "mask bias"])
def test_every_condition_is_necessary(setting, change):
    gram, bias = optimal_gram(setting, mechbp.rng(1, "gram"))
    size = setting.words_per_topic
    broken = {"block": "contrast", "offset": "offset", "mask column": "offset", "mask row": "mask_row", "mask bias": "mask_row"}
    if change == "block":
        gram[0, size] += 0.01
        gram[size, 0] += 0.01
    elif change == "offset":
        bias[0] += 0.01
    elif change == "mask column":
        if setting.masked == 0:
            pytest.skip("without MASK keys its column is free")
        gram[0, -1] += 0.01
        gram[-1, 0] += 0.01
    elif change == "mask row":
        gram[-1, :size] += 0.01
        gram[:size, -1] += 0.01
    else:
        bias[-1] += 0.01
    residual = gram_residual(gram, bias, setting)
    assert getattr(residual, broken[change]) > 1e-4
    floor = 1 - 1 / (setting.topics_per_document * size)
    assert gram_loss(gram, bias, setting) > floor + 1e-9


def test_the_loss_is_an_expectation_over_words():
    setting = TopicSetting(3, 2, 2, 0.3, 0.2, 0.4)
    rng = mechbp.rng(0, "gram loss")
    half = rng.normal(size=(7, 7))
    gram = half + half.T
    bias = rng.normal(size=7)
    total = 0.0
    for support in ([0, 1], [0, 2], [1, 2]):
        theta = np.zeros(3)
        theta[support] = 0.5
        q = np.repeat(theta / 2, 2)
        a = 1 - 0.8 * 0.3
        p = np.append(a * q + 0.3 * 0.4 / 6, 0.3 * 0.4)
        out = gram @ p + bias
        total += sum(q[y] * np.square(out - np.eye(7)[y]).sum() for y in range(6)) / 3
    assert gram_loss(gram, bias, setting) == pytest.approx(total, abs=1e-12)


def test_refusals():
    setting = TopicSetting(3, 2)
    with pytest.raises(InputError, match=r"need \[7, 7\] and \[7\], words then MASK, got \(6, 6\)"):
        gram_residual(np.zeros((6, 6)), np.zeros(6), setting)
    with pytest.raises(InputError, match="must be symmetric"):
        gram_loss(np.triu(np.ones((7, 7))), np.zeros(7), setting)

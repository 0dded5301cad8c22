"""Optimal attention ratios: printed constants, the population loss as an independent judge, and minimality."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.theory.topics import hidden_key_ratio, optimal_attention_ratio
from mechbp.theory.topics.attention import best_attention, named_values, word_query_loss
from mechbp.theory.topics.population import population_loss
from mechbp.theory.topics.setting import TopicSetting

SETTINGS = [
    TopicSetting(10, 10, 2),
    TopicSetting(4, 3, 1, 0.4, 0.3, 0.25),
    TopicSetting(5, 2, 3, 0.3, 0.2, 0.7),
    TopicSetting(4, 3, 4, 0.2, 0.15, 0.3),
    TopicSetting(6, 2, 2, keep=0.3, random=0.2, keys="unselected", n_ids=19),
]


@pytest.mark.parametrize(
    ("values", "tau", "ratio"),
    [
        ("theory", 1, 1.000),
        ("theory", 2, 5.763),
        ("theory", 5, 8.185),
        ("blocks", 1, 5.195),
        ("blocks", 2, 11.838),
        ("blocks", 5, 12.462),
    ],
)
def test_printed_ratios(values, tau, ratio):
    assert optimal_attention_ratio(10, 10, tau, values).ratio == pytest.approx(ratio, abs=6e-4)


def test_printed_losses():
    found = optimal_attention_ratio(10, 10, 2)
    assert found.loss == pytest.approx(0.186103, abs=5e-7)
    assert found.uniform_loss == pytest.approx(0.190000, abs=1e-12)
    assert found.mask_ratio == 1


@pytest.mark.parametrize(("tau", "ratio", "mask_ratio", "loss"), [(2, 5.857, 1.344, 0.186069), (5, 8.738, 1.580, 0.190786)])
def test_printed_optimum_with_the_mask_key_free(tau, ratio, mask_ratio, loss):
    found = optimal_attention_ratio(10, 10, tau, mask_key="free")
    assert (found.ratio, found.mask_ratio) == pytest.approx((ratio, mask_ratio), abs=5e-4)
    assert found.loss == pytest.approx(loss, abs=5e-7)


def test_printed_total_loss_of_the_trained_model():
    found = optimal_attention_ratio(10, 10, 2, mask_key="free")
    assert found.ratio == pytest.approx(5.8568, abs=5e-5)
    assert found.mask_ratio == pytest.approx(1.3444, abs=5e-5)
    assert found.loss + 0.8 * (1 - 1 / 20) == pytest.approx(0.946069, abs=5e-7)


@pytest.mark.parametrize(("n_ids", "ratio", "loss", "uniform"), [(None, 11, 0.185833, 0.19), (104, 11.4, 0.182153, 0.186346)])
def test_printed_hidden_key_ratios(n_ids, ratio, loss, uniform):
    found = hidden_key_ratio(10, 10, 2, n_ids=n_ids)
    assert found.ratio == pytest.approx(ratio, abs=1e-12)
    assert found.loss == pytest.approx(loss, abs=5e-7)
    assert found.uniform_loss == pytest.approx(uniform, abs=5e-7)


@pytest.mark.parametrize(
    ("topics", "size", "tau", "keep", "random", "n_ids"), [(10, 10, 2, 0.1, 0.1, 104), (6, 4, 5, 0.3, 0.05, None)]
)
def test_the_hidden_key_ratio_is_where_the_loss_is_least_and_the_posterior_exact(topics, size, tau, keep, random, n_ids):
    found = hidden_key_ratio(topics, size, tau, keep, random, n_ids)
    setting = TopicSetting(topics, size, tau, keep=keep, random=random, keys="unselected", n_ids=n_ids)
    searched = best_attention(setting, named_values(setting, "blocks"))
    assert searched.ratio == pytest.approx(found.ratio, rel=1e-6)
    assert searched.loss == pytest.approx(found.loss, abs=1e-12)
    u = random / (topics * size if n_ids is None else n_ids)
    theta = np.full(tau, 1 / tau)
    posterior = u * theta / (keep * theta[0] / size + u)
    posterior[0] += keep * theta[0] / size / (keep * theta[0] / size + u)
    attended = np.append(found.ratio * theta[0], theta[1:])
    np.testing.assert_allclose(attended / attended.sum(), posterior, rtol=0, atol=1e-12)


def test_one_topic_per_document_leaves_hidden_keys_indifferent():
    found = hidden_key_ratio(10, 10, 1)
    assert found.loss == pytest.approx(found.uniform_loss, abs=1e-15)
    setting = TopicSetting(10, 10, 1, keys="unselected")
    assert best_attention(setting, named_values(setting, "blocks")).ratio == 1


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("values", ["theory", "blocks"])
def test_the_loss_is_that_of_the_population(setting, values):
    found = named_values(setting, values)
    written = found.matrix().T.copy()
    topic = np.append(np.arange(setting.n_words) // setting.words_per_topic, -1)
    for ratio, mask_ratio in ((1.0, 1.0), (3.7, 1.0), (0.4, 2.2)):
        scores = np.where(topic[:, None] == topic, np.log(ratio), 0.0)
        scores[:, -1] = np.log(mask_ratio)
        population = population_loss(scores, written, setting)
        expected = population.loss - population.masked_loss
        assert word_query_loss(setting, found, ratio, mask_ratio) == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("setting", SETTINGS[:4])
@pytest.mark.parametrize("mask_free", [False, True])
def test_no_other_weights_do_better(setting, mask_free):
    values = named_values(setting, "theory")
    found = best_attention(setting, values, mask_free)
    for log in np.linspace(-3, 5, 81):
        for mask_log in np.linspace(-2, 2, 21) if mask_free else [0.0]:
            assert word_query_loss(setting, values, np.exp(log), np.exp(mask_log)) >= found.loss - 1e-14


def test_refusals():
    with pytest.raises(InputError, match="at least 2 topics"):
        optimal_attention_ratio(1, 10, 1)
    with pytest.raises(InputError, match="no interior minimum"):
        optimal_attention_ratio(10, 10, 2, "blocks", random=0.0)
    with pytest.raises(InputError, match="random must be positive"):
        hidden_key_ratio(10, 10, 2, random=0.0)
    with pytest.raises(InputError, match="must be one of theory, blocks, got 'block'"):
        optimal_attention_ratio(10, 10, 2, "block")
    with pytest.raises(InputError, match="mask_key must be one of fixed, free"):
        optimal_attention_ratio(10, 10, 2, mask_key="loose")

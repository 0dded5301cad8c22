"""Loss and gradients of the population: a plain forward differentiated by torch, finite differences, and what theory predicts."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from plain_topics import plain

import mechbp
from mechbp.errors import InputError
from mechbp.theory.topics.parameters import TopicParameters, population_gradients
from mechbp.theory.topics.population import population_loss
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import optimal_values

SETTINGS = [
    TopicSetting(4, 3, 2, 0.4, 0.3, 0.25),
    TopicSetting(3, 2, 1, 0.15, 0.1, 0.1),
    TopicSetting(3, 2, 3, 0.6, 0.0, 0.5),
    TopicSetting(4, 2, 2, 0.3, 0.2, 0.3, keys="unselected", n_ids=11),
]
NAMES = [field.name for field in fields(TopicParameters)]


def random_parameters(setting, scale=0.7, tied=False, seed=0):
    """Weights of unequal widths, so that a transposed product would not go through."""
    rng = mechbp.rng(seed, "population")
    ids, words = setting.n_words + 1, setting.n_words
    d, d_head, d_value = 5, 4, 5 if tied else 6
    shapes = ((ids, d), (d, d_head), (d, d_head), (d, d_value), (d_value, words), (words,))
    parts = [scale * rng.normal(size=shape) for shape in shapes]
    if tied:
        parts[4] = parts[0][:words].T.copy()
    return TopicParameters(*parts)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("loss", ["squared", "ce"])
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_those_of_a_plain_forward(setting, loss, tied):
    parameters = random_parameters(setting, tied=tied)
    tensors = [torch.tensor(getattr(parameters, name), requires_grad=True) for name in NAMES]
    used = [*tensors[:4], tensors[0][:-1].T, tensors[5]] if tied else tensors
    expected = plain(used, setting, loss)
    expected.backward()
    found = population_gradients(parameters, setting, loss, tied)
    assert found.loss == pytest.approx(expected.item(), rel=1e-12)
    for name, tensor in zip(NAMES, tensors, strict=True):
        gradient = getattr(found.gradients, name)
        if tied and name == "unembed":
            assert not gradient.any()
            continue
        assert np.abs(gradient).max() > 1e-4
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("loss", ["squared", "ce"])
def test_gradients_are_finite_differences(loss):
    setting = SETTINGS[0]
    parameters = random_parameters(setting)
    gradients = population_gradients(parameters, setting, loss).gradients
    rng = mechbp.rng(1, "directions")
    for name in NAMES:
        here = getattr(parameters, name)
        direction = rng.normal(size=here.shape)
        ends = [
            population_gradients(replace(parameters, **{name: here + s * 1e-5 * direction}), setting, loss).loss for s in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / 2e-5
        assert (getattr(gradients, name) * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("loss", ["squared", "ce"])
def test_gradients_by_scores_and_values_are_finite_differences(loss):
    setting = SETTINGS[3]
    rng = mechbp.rng(2, "directions")
    scores, written = rng.normal(size=(9, 9)), rng.normal(size=(9, 8))
    found = population_loss(scores, written, setting, loss)
    for row, column in ((0, 0), (3, 5), (8, 2), (8, 7)):
        shift = np.zeros((9, 9))
        shift[row, column] = 1e-5
        slope = (
            population_loss(scores + shift, written, setting, loss).loss
            - population_loss(scores - shift, written, setting, loss).loss
        )
        assert found.score_gradient[row, column] == pytest.approx(slope / 2e-5, rel=1e-6, abs=1e-10)
        shift = shift[:, :8]
        slope = (
            population_loss(scores, written + shift, setting, loss).loss
            - population_loss(scores, written - shift, setting, loss).loss
        )
        assert found.written_gradient[row, column] == pytest.approx(slope / 2e-5, rel=1e-6, abs=1e-10)


def test_the_optimum_under_uniform_attention_has_the_printed_loss_and_no_value_gradient():
    setting = TopicSetting(10, 10, 2)
    written = optimal_values(10, 10).matrix().T.copy()
    found = population_loss(np.zeros((101, 101)), written, setting)
    assert found.loss == pytest.approx(0.95, abs=1e-12)
    assert found.masked_loss == pytest.approx(0.76, abs=1e-12)
    assert np.abs(found.written_gradient).max() < 1e-15


def test_the_printed_optimum_of_attention_is_stationary():
    setting = TopicSetting(10, 10, 2)
    topic = np.append(np.arange(100) // 10, -1)
    scores = np.where(topic[:, None] == topic, np.log(5.856777), 0.0)
    scores[:, -1] = np.log(1.344439)
    scores[-1] = 0.0  # a MASK query knows of no topic
    found = population_loss(scores, optimal_values(10, 10).matrix().T.copy(), setting)
    assert found.loss == pytest.approx(0.946069, abs=5e-7)
    assert np.abs(found.score_gradient[:-1]).max() < 1e-11
    away = population_loss(0.5 * scores, optimal_values(10, 10).matrix().T.copy(), setting)
    assert np.abs(away.score_gradient[:-1]).max() > 1e-7


@pytest.mark.parametrize("loss", ["squared", "ce"])
def test_at_zero_only_values_have_a_gradient(loss):
    setting = TopicSetting(4, 3, 2)
    zero = TopicParameters(np.eye(13), np.zeros((13, 13)), np.zeros((13, 13)), np.zeros((13, 12)), np.eye(12), np.zeros(12))
    found = population_gradients(zero, setting, loss).gradients
    assert not found.query.any() and not found.key.any()
    assert np.abs(found.value).max() > 1e-4


def test_constants_added_to_the_scores_of_a_query_change_nothing():
    setting = SETTINGS[0]
    parameters = random_parameters(setting)
    shifted = parameters.scores + np.linspace(-300, 300, 13)[:, None]
    first = population_loss(parameters.scores, parameters.written, setting, "ce")
    second = population_loss(shifted, parameters.written, setting, "ce")
    np.testing.assert_allclose(second.score_gradient, first.score_gradient, rtol=0, atol=1e-14)
    assert np.abs(first.score_gradient.sum(axis=1)).max() < 1e-15


def test_value_matrix_is_the_values_of_theory_without_the_bias():
    parameters = random_parameters(SETTINGS[0])
    np.testing.assert_allclose(parameters.value_matrix.T + parameters.bias, parameters.written, rtol=0, atol=1e-15)


def test_refusals():
    setting = TopicSetting(3, 2)
    with pytest.raises(InputError, match=r"need scores \[7, 7\] and written \[7, 6\]"):
        population_loss(np.zeros((6, 6)), np.zeros((7, 6)), setting)
    with pytest.raises(InputError, match="loss must be squared or ce"):
        population_loss(np.zeros((7, 7)), np.zeros((7, 6)), setting, "mse")

"""Idealised patterns against loops, matching against the closed form of a divergence from one key, and losses under patterns."""

import numpy as np
import pytest
import torch
from hand_sorter import attention_by_hand, hand_sorter
from scipy.special import logsumexp

import mechbp
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.asked import asked_lists
from mechbp.theory.sorting.attention_classes import class_attention
from mechbp.theory.sorting.idealised import (
    IDEALS,
    idealised_pattern,
    in_rank_order,
)
from mechbp.theory.sorting.replaced_patterns import REPLACEMENTS, answers_under, class_average_pattern, replaced_losses

PROCESS = SortedLists(11, 4)
PATTERN = "blocks.0.attn.hook_pattern"


@pytest.fixture(scope="module")
def tokens():
    return PROCESS.sample(200, mechbp.rng(0, "idealised")).tokens


@pytest.fixture(scope="module")
def random_model():
    config = ModelConfig(n_layers=1, n_heads=2, d_model=16, d_mlp=0, attention="causal")
    return build_model(config, d_vocab=12, d_vocab_out=12, n_ctx=9, seed=4)


def test_patterns_are_those_of_a_loop(tokens):
    lists = asked_lists(PROCESS, tokens)
    found = {name: idealised_pattern(lists, name, mechbp.rng(1)) for name in IDEALS}
    taken = np.zeros(4)
    for row, j in np.ndindex(200, 4):
        values = tokens[row, :4].tolist()
        larger = sorted(value for value in values if j == 0 or value > tokens[row, 4 + j])
        assert np.flatnonzero(found["answer"][row, j]).tolist() == [values.index(larger[0])]
        expected = np.zeros(8)
        expected[[values.index(value) for value in larger]] = 1 / len(larger)
        np.testing.assert_allclose(found["larger"][row, j], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found["list"][row, j], [0.25] * 4 + [0] * 4, rtol=0, atol=1e-12)
        (place,) = np.flatnonzero(found["another larger"][row, j])
        assert found["another larger"][row, j, place] == 1
        rank = larger.index(values[place])
        assert rank > 0 or larger == [values[place]]
        taken[rank] += j == 0
    assert abs(taken[1:] - 200 / 3).max() < 5 * np.sqrt(200 * 2 / 9) and taken[0] == 0  # all others alike


def test_another_larger_value_is_drawn_anew_for_every_sequence():
    lists = asked_lists(PROCESS, np.tile([[9, 3, 7, 5, 11, 3, 5, 7, 9]], (600, 1)))
    taken = idealised_pattern(lists, "another larger", mechbp.rng(6))[:, 0, :4].sum(axis=0)
    assert taken[1] == 0 and abs(taken[[0, 2, 3]] - 200).max() < 5 * np.sqrt(600 * 2 / 9)


def test_equal_answers_share_the_weight():
    process = SortedLists(4, 3, repeats=True)
    lists = asked_lists(process, np.array([[2, 1, 2, 4, 1, 2, 2]]))
    np.testing.assert_allclose(idealised_pattern(lists, "answer")[0, :, :3], [[0, 1, 0], [0.5, 0, 0.5], [0.5, 0, 0.5]])


def test_in_rank_order_the_answer_is_a_diagonal(tokens):
    lists = asked_lists(PROCESS, tokens)
    answer = np.zeros((200, 1, 8, 8))
    answer[:, 0, 4:] = idealised_pattern(lists, "answer")
    ordered = in_rank_order(answer, tokens, PROCESS)
    np.testing.assert_array_equal(ordered, np.broadcast_to(np.eye(4, 8), (200, 1, 4, 8)))
    model = hand_sorter(PROCESS, np.arange(11) < 5, steepness=0.7)
    found = in_rank_order(mechbp.capture(model, tokens, PATTERN)[PATTERN].numpy(), tokens, PROCESS)
    by_hand = np.stack([attention_by_hand(row, 4, 11, 0.7)[:, row[:4].argsort()] for row in tokens])
    np.testing.assert_allclose(found[:, 0, :, :4], by_hand, rtol=0, atol=1e-9)


def test_the_hand_made_sorter_loses_what_the_pattern_says(tokens):
    copies = 20.0
    model = hand_sorter(PROCESS, np.arange(11) < 5, steepness=3.0, copies=copies)
    found = replaced_losses(model, PROCESS, tokens, rng=mechbp.rng(4))
    assert found.names == REPLACEMENTS
    loss = found.cross_entropy_nats.mean(axis=1)
    left = 4 - np.arange(4)
    attended = copies / left  # logits of the values attended to; the other 12 - m outputs have 0
    expected = logsumexp(np.stack([attended + np.log(left), np.log(12.0 - left)]), axis=0) - attended
    np.testing.assert_allclose(loss[found.of("larger")], expected, rtol=0, atol=1e-9)
    whole = np.logaddexp(copies / 4 + np.log(4), np.log(8)) - copies / 4
    np.testing.assert_allclose(loss[found.of("list")], whole, rtol=0, atol=1e-9)
    np.testing.assert_allclose(loss[found.of("answer")], np.log1p(11 * np.exp(-copies)), rtol=0, atol=1e-9)
    control = found.hits[found.of("another larger")]
    assert not control[:, :3].any() and control[:, 3].all() and found.attended[found.of("another larger")].all()
    assert found.hits[found.of("own")].all() and found.attended[found.of("own")].all()
    summary = found.means(mechbp.rng(0))
    row = found.of("another larger")
    assert summary["accuracy"].mean[row] == 0.25 and summary["whole_lists"].mean[row] == 0
    assert summary["attended"].mean[row] == 1
    assert summary["cross_entropy_nats"].mean[found.of("list")] == pytest.approx(whole, abs=1e-9)
    one = replaced_losses(model, PROCESS, tokens, names=["another larger"], heads=(0,), rng=mechbp.rng(4))
    owned_by_other = (tokens[:, 5:] >= 5).all(axis=1)
    assert owned_by_other.any() and one.hits[0][owned_by_other, 0].all()  # head 1 still copies, head 0 looks at what it lacks


def test_patterns_are_written_where_it_is_asked_and_nowhere_else(tokens, random_model):
    lists = asked_lists(PROCESS, tokens)
    own = random_model(torch.from_numpy(tokens[:, :-1]))[:, 4:].detach().double().log_softmax(-1).numpy()
    found = replaced_losses(random_model, PROCESS, tokens, names=["own"])
    np.testing.assert_allclose(
        found.cross_entropy_nats[0], -np.take_along_axis(own, lists.answer[..., None], 2)[..., 0], rtol=0, atol=1e-5
    )
    pattern = idealised_pattern(lists, "larger")[:, None]

    def write(activation, hook):
        activation = activation.clone()
        activation[:, 1, 4:8] = torch.from_numpy(pattern[:, 0]).float()
        return activation

    by_hand = random_model.run_with_hooks(torch.from_numpy(tokens[:, :-1]), fwd_hooks=[(PATTERN, write)])[:, 4:]
    found = answers_under(random_model, lists, tokens, pattern, heads=(1,))
    np.testing.assert_allclose(found, by_hand.detach().double().log_softmax(-1).numpy(), rtol=0, atol=1e-5)
    assert np.abs(found - own).max() > 1e-2
    both = answers_under(random_model, lists, tokens, pattern)
    assert np.abs(found - both).max() > 1e-3


def test_class_averages_keep_the_mass_of_every_class(tokens, random_model):
    lists = asked_lists(PROCESS, tokens)
    patterns = mechbp.capture(random_model, tokens, PATTERN)[PATTERN].numpy()
    found = class_attention(patterns, tokens, PROCESS)
    pattern = class_average_pattern(found, lists)
    np.testing.assert_allclose(pattern.sum(axis=3), 1, rtol=0, atol=1e-12)
    whole = np.zeros((200, 2, 8, 8))
    whole[:, :, 4:] = pattern
    # Without repeats every sequence has as many keys of each class at a position, so that means are kept class by class.
    np.testing.assert_allclose(class_attention(whole, tokens, PROCESS).mean, found.mean, rtol=0, atol=1e-6)
    assert np.ptp(pattern[0, 0, 0, :4]) > 0
    for j in range(4):
        further = sorted(tokens[0, :4])[j + 1 :]
        weights = {round(pattern[0, 0, j, tokens[0, :4].tolist().index(value)], 12) for value in further}
        assert len(weights) <= 1
    alone = replaced_losses(random_model, PROCESS, tokens, names=["class averages"])
    given = answers_under(random_model, lists, tokens, pattern)
    np.testing.assert_allclose(
        alone.cross_entropy_nats[0], -np.take_along_axis(given, lists.answer[..., None], 2)[..., 0], rtol=0, atol=1e-6
    )


def test_what_does_not_fit_is_refused(tokens, random_model):
    lists = asked_lists(PROCESS, tokens)
    with pytest.raises(InputError, match="unknown pattern 'none'"):
        idealised_pattern(lists, "none")
    with pytest.raises(InputError, match="rng must be a numpy"):
        idealised_pattern(lists, "another larger")
    with pytest.raises(InputError, match="unknown pattern 'best'"):
        replaced_losses(random_model, PROCESS, tokens, names=["best"])
    with pytest.raises(InputError, match=r"heads 0\.\.1, got \(2,\)"):
        replaced_losses(random_model, PROCESS, tokens, heads=(2,))
    with pytest.raises(InputError, match="no pattern 'list' here"):
        replaced_losses(random_model, PROCESS, tokens, names=["own"]).of("list")

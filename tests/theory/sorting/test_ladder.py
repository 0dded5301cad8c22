"""The information ladder: printed digits, closed forms, and what the rungs lose on samples."""

from math import lgamma, log

import numpy as np
import pytest
from brute_sorting import all_lists

from mechbp.processes.sorting.rungs import Rung
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng
from mechbp.theory.sorting.ladder import information_ladder, rung_loss

PRINTED = {
    51: {"uniform": (3.9318, 1 / 51), "position": (3.0189, 0.0924), "token": (2.3835, 0.1961),
         "token and position": (2.3271, 0.1961), "list": (2.3026, 0.1), "larger": (1.5104, 0.2929), "sorted": (0.0, 1.0)},
    64: {"position": (3.2686, None), "token": (2.6294, None), "token and position": (2.5744, None)},
}  # fmt: skip


@pytest.mark.parametrize("v", PRINTED)
def test_published_sizes_have_the_printed_losses(v):
    ladder = information_ladder(SortedLists(v, 10))
    for name, (nats, accuracy) in PRINTED[v].items():
        assert ladder[name].mean_nats == pytest.approx(nats, abs=5e-5), name
        assert accuracy is None or ladder[name].mean_accuracy == pytest.approx(accuracy, abs=5e-5), name
    assert list(ladder) == ["uniform", "position", "token", "token and position", "list", "larger", "sorted"]


def test_the_first_value_without_the_list():
    ladder = information_ladder(SortedLists(51, 10))
    assert ladder["token"].cross_entropy_nats[0] == pytest.approx(2.4345, abs=5e-5)
    np.testing.assert_allclose(ladder["token and position"].accuracy, 10 / 51, rtol=0, atol=1e-12)


def test_readers_of_the_list_have_closed_forms():
    ladder = information_ladder(SortedLists(64, 12))
    assert ladder["list"].mean_nats == pytest.approx(log(12), abs=1e-12)
    assert ladder["larger"].mean_nats == pytest.approx(lgamma(13) / 12, abs=1e-12)
    assert ladder["larger"].mean_accuracy == pytest.approx(sum(1 / k for k in range(1, 13)) / 12, abs=1e-12)


@pytest.mark.parametrize(
    "design",
    [
        {"vocab_size": 8, "length": 3},
        {"vocab_size": 8, "length": 3, "window": 5},
        {"vocab_size": 9, "length": 3, "gap": 3},
        {"vocab_size": 4, "length": 4, "repeats": True},
    ],
    ids=str,
)
def test_losses_are_expectations_over_all_lists(design):
    lists, table = SortedLists(**design), all_lists(**design)
    tokens = np.array([[*drawn, lists.separator, *sorted(drawn)] for drawn in table])
    probability = np.array([float(p) for p in table.values()])
    truth = tokens[:, lists.length + 1 :]
    for name, loss in information_ladder(lists).items():
        answers = Rung(lists, name).predictive(tokens)
        chosen = np.take_along_axis(answers, truth[..., None], axis=-1)[..., 0]
        np.testing.assert_allclose(loss.cross_entropy_nats, probability @ -np.log(chosen), rtol=0, atol=1e-12)
        most = answers.max(axis=-1)
        ties = np.isclose(answers, most[..., None], rtol=0, atol=1e-12).sum(axis=-1)
        hits = np.isclose(chosen, most, rtol=0, atol=1e-12) / ties
        np.testing.assert_allclose(loss.accuracy, probability @ hits, rtol=0, atol=1e-12)


def test_knowing_more_never_costs():
    for lists in (SortedLists(51, 10), SortedLists(51, 10, window=15), SortedLists(51, 10, gap=4)):
        nats = {name: loss.mean_nats for name, loss in information_ladder(lists).items()}
        assert nats["uniform"] > nats["position"] > nats["token and position"] > nats["sorted"] == 0
        assert nats["token"] > nats["token and position"] and nats["list"] > nats["larger"] > nats["sorted"]


def test_samples_lose_what_the_ladder_says():
    lists = SortedLists(51, 10, window=30)
    tokens = lists.sample(6000, rng(0, "ladder")).tokens
    for name in ("position", "token", "larger"):
        rung = Rung(lists, name)
        chosen = np.take_along_axis(rung.predictive(tokens), tokens[:, 11:, None], axis=-1)[..., 0]
        lost = -np.log(chosen).mean(axis=1)
        assert abs(lost.mean() - rung_loss(rung).mean_nats) < 4 * lost.std() / np.sqrt(len(lost)) + 1e-12


def test_with_repeats_readers_of_the_list_have_no_rung():
    found = information_ladder(SortedLists(5, 3, repeats=True))
    assert list(found) == ["uniform", "position", "token", "token and position", "sorted"]

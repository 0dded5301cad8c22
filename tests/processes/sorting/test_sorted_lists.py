"""Lists are drawn as the design says, their answers are exact, and whatever is no such list is refused by name."""

import numpy as np
import pytest
from brute_sorting import all_lists

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.processes.process import Process, Sample
from mechbp.processes.sorting.draws import draw_distinct
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng

DESIGNS = {
    "published": SortedLists(),
    "window": SortedLists(51, 10, window=15),
    "gaps": SortedLists(51, 10, gap=4),
    "one to one": SortedLists(4, 4),
    "tiny": SortedLists(3, 2),
    "tiny window": SortedLists(4, 2, window=3),
    "tiny gaps": SortedLists(4, 2, gap=2),
    "window and gaps": SortedLists(7, 3, window=6, gap=2),
    "repeats": SortedLists(3, 2, repeats=True),
    "repeats in a window": SortedLists(3, 2, window=2, repeats=True),
    "one value": SortedLists(2, 1),
    "many values": SortedLists(201, 10),
}
LISTED = {
    "plain": {"vocab_size": 6, "length": 3},
    "whole": {"vocab_size": 4, "length": 4},
    "window": {"vocab_size": 6, "length": 3, "window": 4},
    "narrowest": {"vocab_size": 5, "length": 3, "window": 3},
    "gaps": {"vocab_size": 8, "length": 3, "gap": 3},
    "window and gaps": {"vocab_size": 8, "length": 3, "window": 6, "gap": 2},
    "repeats": {"vocab_size": 4, "length": 3, "repeats": True},
    "repeats in a window": {"vocab_size": 5, "length": 3, "window": 3, "repeats": True},
}


@pytest.mark.parametrize("name", DESIGNS)
def test_every_design_keeps_the_contract(name, unchecked):
    process = DESIGNS[name]
    assert isinstance(process, Process) and isinstance(process.sample(2, rng(0)), Sample)
    mechbp.check_process(process, rng(1, "contract", name))


def test_the_small_one_is_the_same_design():
    assert SortedLists(51, 10, gap=4).small() == SortedLists(51, 2, gap=4)
    assert SortedLists(51, 10, window=15).small() == SortedLists(51, 2, window=15)
    assert DESIGNS["tiny"].small() is DESIGNS["tiny"]


@pytest.mark.parametrize("name", LISTED)
def test_evidence_is_that_of_all_lists_written_out(name):
    lists = SortedLists(**LISTED[name])
    expected = all_lists(**LISTED[name])
    tokens = np.array([[*values, lists.separator, *sorted(values)] for values in expected])
    found = np.exp(lists.log_evidence(tokens))
    np.testing.assert_allclose(found, [float(p) for p in expected.values()], rtol=0, atol=1e-15)
    np.testing.assert_allclose(found.sum(), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LISTED)
def test_lists_of_every_split_are_drawn_as_often_as_they_should(name):
    """In every order; what is left of the design by a split keeps its proportions."""
    lists = SortedLists(**LISTED[name])
    expected = all_lists(**LISTED[name])
    for split in (None, "train"):
        values = lists.sample(60_000, rng(0, "frequencies", name), split).tokens[:, : lists.length]
        found, counts = np.unique(values, axis=0, return_counts=True)
        wanted = np.array([float(expected[tuple(row)]) for row in found.tolist()])
        assert split == "train" or len(found) == len(expected)
        wanted = 60_000 * wanted / wanted.sum()
        chi_squared = ((counts - wanted) ** 2 / wanted).sum()
        assert chi_squared < len(wanted) + 5 * np.sqrt(2 * len(wanted)), (split, chi_squared, len(wanted))


def test_the_answer_is_the_next_larger_value_of_the_list():
    lists = SortedLists(vocab_size=6, length=3)
    tokens = np.array([[4, 0, 3, 6, 0, 3, 4], [5, 4, 3, 6, 3, 4, 5]])
    found = lists.predictive(tokens)
    assert found.shape == (2, 3, 7) and found.dtype == np.float64
    assert (found.argmax(axis=-1) == [[0, 3, 4], [3, 4, 5]]).all() and (np.sort(found)[..., -1] == 1).all()
    assert (found.sum(axis=-1) == 1).all() and (lists.beliefs(tokens) == found).all()


def test_published_sequences():
    lists = mechbp.processes.sorting.sorted_lists.SortedLists(vocab_size=51, length=10)
    tokens = lists.sample(1000, rng(0, "published")).tokens
    assert tokens.shape == (1000, 21) and tokens.dtype == np.int64
    assert (tokens[:, 10] == 51).all() and (np.delete(tokens, 10, axis=1) < 51).all()
    assert (np.diff(tokens[:, 11:]) > 0).all() and (np.sort(tokens[:, :10]) == tokens[:, 11:]).all()
    order = tokens[:, :10].argsort(axis=1).argsort(axis=1)
    assert np.abs(order.mean(axis=0) - 4.5).max() < 4 * np.sqrt(8.25 / 1000), "some place prefers small values"


def test_sampling_is_a_function_of_the_generator_alone():
    lists = SortedLists(12, 4)
    for split in (None, "validation"):
        one, same, other = (lists.sample(40, rng(seed, "lists"), split).tokens for seed in (0, 0, 1))
        assert (one == same).all() and not (one == other).all()
    assert lists.sample(0, rng(0), "test").tokens.shape == (0, 9)


WRONG = {
    "SEP = 6 stands inside the list": [6, 0, 3, 6, 0, 3, 4],
    "no SEP = 6 stands at position 3": [4, 0, 3, 5, 0, 3, 4],
    "two values of the list are closer than 1": [4, 4, 3, 6, 3, 4, 4],
    "what follows SEP is not the list in ascending order": [4, 0, 3, 6, 0, 4, 3],
}


@pytest.mark.parametrize("reason", WRONG)
def test_tokens_that_are_no_list_are_refused_by_name(reason):
    lists = SortedLists(6, 3)
    tokens = np.array([[4, 0, 3, 6, 0, 3, 4], WRONG[reason], WRONG[reason]])
    for answer in (lists.predictive, lists.beliefs, lists.log_evidence):
        with pytest.raises(ImpossibleEvidence, match=f"example 1 has probability 0 .2 of 3 examples.: {reason}") as refusal:
            answer(tokens)
        assert refusal.value.example == 1


def test_lists_of_another_design_are_refused():
    one_apart = np.array([[4, 0, 3, 6, 0, 3, 4]])
    with pytest.raises(ImpossibleEvidence, match="two values of the list are closer than 2"):
        SortedLists(6, 3, gap=2).predictive(one_apart)
    with pytest.raises(ImpossibleEvidence, match="the list spans more than 4 values"):
        SortedLists(6, 3, window=4).predictive(one_apart)
    assert SortedLists(6, 3, window=5).predictive(one_apart).shape == (1, 3, 7)
    repeated = np.array([[4, 4, 3, 6, 3, 4, 4]])
    assert (SortedLists(6, 3, repeats=True).predictive(repeated)[0].argmax(axis=-1) == [3, 4, 4]).all()


def test_wrong_shapes_and_ids():
    lists = SortedLists(6, 3)
    with pytest.raises(InputError, match=r"shape \[n, 7\] \(a list of 3, SEP, the list sorted\), got \[1, 6\]"):
        lists.predictive(np.array([[4, 0, 3, 6, 0, 3]]))
    with pytest.raises(InputError, match="token 7 of example 0, position 4 is out of range"):
        lists.predictive(np.array([[4, 0, 3, 6, 7, 3, 4]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be an integer in 1..1024, got 0"),
        ({"length": 2.5}, "length must be an integer in 1..512, got 2.5"),
        ({"vocab_size": 5, "length": 6}, "6 values at least 1 apart need a range of 6, there are 5"),
        ({"vocab_size": 9, "length": 4, "gap": 3}, "4 values at least 3 apart need a range of 10, there are 9"),
        ({"vocab_size": 9, "length": 4, "window": 3}, "4 values at least 1 apart need a range of 4, there are 3"),
        ({"window": 52}, "a window of 52 does not fit into 51 values"),
        ({"gap": 2, "repeats": True}, "lists with repeats have no least gap, got gap 2"),
        ({"gap": True}, "gap must be an integer"),
        ({"repeats": 1}, "repeats must be True or False, got 1"),
    ],
)
def test_designs_that_hold_no_list(settings, message):
    with pytest.raises(InputError, match=message):
        SortedLists(**settings)


def test_requests_that_make_no_sense():
    lists = SortedLists(6, 3)
    with pytest.raises(InputError, match="n must be an integer >= 0, got -1"):
        lists.sample(-1, rng(0))
    with pytest.raises(InputError, match="rng must be a numpy.random.Generator"):
        lists.sample(1, 0)
    with pytest.raises(InputError, match="split must be None or one of train, validation, test, got 'held-out'"):
        lists.sample(1, rng(0), "held-out")
    with pytest.raises(LimitExceeded, match=r"1 windows of 51 values have 1\.2e\+17 lists of 10"):
        SortedLists().joint()


def test_a_seed_names_the_same_lists_as_long_as_there_is_one_window():
    """Training data are named by a seed, so a draw that says nothing must not be made: it would move all that follow."""
    one, other = rng(0), rng(0)
    drawn = SortedLists(7, 3).sample(40, one).tokens
    assert (drawn[:, :3] == draw_distinct(40, 3, 7, other)).all() and one.bit_generator.state == other.bit_generator.state

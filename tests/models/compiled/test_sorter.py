"""Compiled sorters: right on every list, and wrong without a head exactly where they should be."""

import math

import numpy as np
import pytest
import torch
from sorter_cases import every_list, weight_circuits

from mechbp.errors import InputError
from mechbp.hooks import capture, edit
from mechbp.models.compiled.sorter import compile_sorter, scores
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng

KINDS = ("splitting", "suppression", "both", "overlap")
Z = "blocks.0.attn.hook_z"


def logits(sorter, tokens, without=()):
    def cut(z):
        z[:, :, list(without)] = 0
        return z

    with torch.no_grad(), edit(sorter.model, {Z: cut}):
        return sorter.model(torch.from_numpy(tokens[:, :-1]))[:, sorter.lists.length :].numpy()


def right(sorter, tokens, without=()):
    """Whether the true value's logit is strictly the largest, answer by answer."""
    found = logits(sorter, tokens, without)
    truth = tokens[:, sorter.lists.length + 1 :]
    n, length = truth.shape
    return np.array(
        [[all(found[i, k, truth[i, k]] > np.delete(found[i, k], truth[i, k])) for k in range(length)] for i in range(n)]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("v", "n"), [(8, 3), (12, 4)])
def test_every_list_is_sorted(v, n, kind):
    lists, tokens = every_list(v, n, orders=v == 8)
    assert right(compile_sorter(lists, kind), tokens).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("design", [{}, {"window": 15}, {"gap": 5}], ids=str)
def test_lists_of_published_size_are_sorted(kind, design):
    lists = SortedLists(51, 10, **design)
    assert right(compile_sorter(lists, kind), lists.sample(60, rng(0, "compiled sorter")).tokens).all()


@pytest.mark.parametrize("owned", [None, [0, 2, 4], [7], range(8), []], ids=str)
@pytest.mark.parametrize("kind", ["splitting", "both"])
def test_without_its_owner_exactly_the_owned_values_are_lost(kind, owned):
    lists, tokens = every_list(8, 3)
    sorter = compile_sorter(lists, kind, owned=owned)
    r = set(range(4) if owned is None else owned)
    truth = tokens[:, 4:]
    without = right(sorter, tokens, [0])
    np.testing.assert_array_equal(without, ~np.isin(truth, list(r)))
    assert without.mean() == 1 - len(r) / 8
    np.testing.assert_array_equal(right(sorter, tokens, [1]), np.isin(truth, list(r)))


def test_a_suppressor_costs_confidence_and_no_answer():
    lists, tokens = every_list(12, 4)
    sorter = compile_sorter(lists, "suppression", confidence=12.0, suppression=0.75)
    assert right(sorter, tokens, [1]).all() and not right(sorter, tokens, [0]).any()

    def likeliest(without):
        return torch.from_numpy(logits(sorter, tokens, without)).softmax(dim=-1).amax(dim=-1).numpy()

    assert (likeliest([1]) - likeliest([]) > 0.2).all()
    np.testing.assert_allclose(logits(sorter, tokens), 0.25 * logits(sorter, tokens, [1]), rtol=0, atol=1e-12)


def test_either_head_of_an_overlap_will_do():
    lists, tokens = every_list(8, 3)
    sorter = compile_sorter(lists, "overlap")
    assert right(sorter, tokens, [0]).all() and right(sorter, tokens, [1]).all() and not right(sorter, tokens, [0, 1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_hold_the_circuits_that_are_promised(kind):
    sorter = compile_sorter(SortedLists(12, 4), kind, idle_heads=1)
    ov, qk = weight_circuits(sorter.model)
    np.testing.assert_array_equal(ov, sorter.ov)
    np.testing.assert_array_equal(qk, sorter.qk)
    for head, truth in enumerate(sorter.truth):
        diagonal = np.diag(ov[head])
        assert truth.copies == set(np.flatnonzero(diagonal > 0)) and truth.suppresses == set(np.flatnonzero(diagonal < 0))
    assert [truth.idle for truth in sorter.truth] == [False, False, True]


def test_what_each_kind_copies():
    r, rest, everything = frozenset({1, 5}), frozenset({0, 2, 3, 4}), frozenset(range(6))
    expected = {
        "splitting": [(r, set()), (rest, set())],
        "suppression": [(everything, set()), (set(), everything)],
        "both": [(r, set()), (rest, r)],
        "overlap": [(everything, set()), (everything, set())],
    }
    for kind, heads in expected.items():
        owned = r if kind in ("splitting", "both") else None
        sorter = compile_sorter(SortedLists(6, 2), kind, owned=owned)
        assert [(truth.copies, truth.suppresses) for truth in sorter.truth] == heads, kind
    assert np.diag(compile_sorter(SortedLists(6, 2), "both", owned=r, confidence=8.0).ov[1]).tolist() == [8, -4, 8, 8, 8, -4]


def test_scores_follow_the_formula():
    found = scores(5)
    for row in range(6):
        q = -1 if row == 5 else row
        assert found[row].tolist() == [-5.0 * (k - q) if k > q else -30.0 for k in range(5)]


def test_attention_goes_to_the_next_larger_value_of_the_list():
    lists, tokens = every_list(8, 3)
    pattern = capture(compile_sorter(lists).model, tokens[:, :-1], "*hook_pattern")["blocks.0.attn.hook_pattern"].numpy()
    for i, sequence in enumerate(tokens):
        for k in range(3):
            at = int(np.flatnonzero(sequence[:3] == sequence[4 + k])[0])
            assert (pattern[i, :, 3 + k, at] > 1 - 1 / (math.exp(5) - 1)).all()
    assert (pattern[:, :, 3:, 3:] == 0).all(), "not even 1e-300 on SEP and what follows"


def test_a_suppressor_may_read_the_answer_instead():
    lists, tokens = every_list(8, 3)
    sorter = compile_sorter(lists, "suppression", suppressor_reads="answer")
    pattern = capture(sorter.model, tokens[:, :-1], "*hook_pattern")["blocks.0.attn.hook_pattern"].numpy()
    for k in range(3):
        even = [0] * 3 + [1 / (k + 1)] * (k + 1) + [0] * (2 - k)
        np.testing.assert_allclose(pattern[:, 1, 3 + k], np.tile(even, (len(tokens), 1)), rtol=0, atol=1e-15)
    assert right(sorter, tokens).all() and right(sorter, tokens, [1]).all()
    assert [truth.reads for truth in sorter.truth] == ["list", "answer"]
    lost = logits(sorter, tokens)[:, 2] - logits(sorter, tokens, [1])[:, 2]
    assert lost[0, tokens[0, 4]] == pytest.approx(-10 / 3, abs=1e-12), "b_1 has a third of the attention"


def test_idle_heads_write_nothing():
    lists, tokens = every_list(8, 3)
    plain, wide = compile_sorter(lists), compile_sorter(lists, idle_heads=2)
    assert wide.model.cfg.n_heads == 4 and len(wide.truth) == 4
    np.testing.assert_array_equal(logits(wide, tokens, [2, 3]), logits(wide, tokens))
    np.testing.assert_allclose(logits(wide, tokens), logits(plain, tokens), rtol=0, atol=1e-13)


def test_every_dimension_has_a_name():
    sorter = compile_sorter(SortedLists(8, 3))
    assert sorter.slots.d_model == sorter.model.cfg.d_model == 2 * 8 + 4
    assert [line.split("  ")[0] for line in sorter.slot_table().splitlines()[1:]] == ["token", "in list", "in answer", "answer"]
    assert sorter.process is sorter.lists and not sorter.model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lists": 51}, "lists must be SortedLists, got int"),
        ({"lists": SortedLists(6, 3, repeats=True)}, "with repeats the next value need not be larger"),
        ({"kind": "split"}, "kind must be one of 'splitting', 'suppression', 'both', 'overlap', got 'split'"),
        ({"kind": "overlap", "owned": [1]}, "owned is for kinds that split values between heads, got it with 'overlap'"),
        ({"owned": [1, 8]}, r"owned must hold values in 0..7, got \[1, 8\]"),
        ({"owned": [-1]}, "owned must hold values in 0..7"),
        ({"confidence": 0.0}, "need a finite confidence > 0"),
        ({"confidence": float("inf")}, "need a finite confidence > 0"),
        ({"suppression": 1.0}, "From 1 on the suppressor would cancel the copies"),
        ({"suppressor_reads": "answer"}, "'answer' with kind 'suppression', got 'answer' with 'splitting'"),
        ({"kind": "suppression", "suppressor_reads": "all"}, "suppressor_reads must be 'list'"),
        ({"idle_heads": 9}, "idle_heads must be an integer in 0..8, got 9"),
        ({"idle_heads": True}, "idle_heads must be an integer"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        compile_sorter(**{"lists": SortedLists(8, 3), **arguments})

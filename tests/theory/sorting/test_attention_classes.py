"""Attention by class of key against loops over single keys, and the order among larger values against loops over pairs."""

import numpy as np
import pytest
from hand_sorter import hand_sorter

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.asked import BEFORE_ALL, asked_lists
from mechbp.theory.sorting.attention_classes import ANSWER, CLASSES, FURTHER, NO_KEY, class_attention, key_classes

DESIGNS = [SortedLists(9, 4), SortedLists(12, 3, window=6, gap=2), SortedLists(4, 5, repeats=True)]


def drawn(process, n=40, positions=None):
    """Sequences and random causal patterns."""
    draw = mechbp.rng(3, "patterns")
    tokens = process.sample(n, draw).tokens
    size = positions or 2 * process.length
    weights = np.tril(draw.random((n, 2, size, size)) ** 4)
    return tokens, weights / weights.sum(axis=-1, keepdims=True)


def class_by_hand(tokens, query, key, n):
    """The class of one key in words."""
    if key > query:
        return None
    if key < n:
        current = -1 if query == n else tokens[query]
        if tokens[key] == tokens[query + 1]:
            return "answer"
        return "further" if tokens[key] > current else "current" if tokens[key] == current else "below"
    return "own position" if key == query else "separator" if key == n else "outputs"


@pytest.mark.parametrize("process", DESIGNS, ids=str)
def test_masses_are_sums_over_single_keys(process):
    tokens, patterns = drawn(process)
    n = process.length
    found = class_attention(patterns, tokens, process)
    mass = np.zeros((len(tokens), 2, n, len(CLASSES)))
    counts = np.zeros((len(tokens), n, len(CLASSES)), int)
    for row, j, key in np.ndindex(len(tokens), n, 2 * n):
        name = class_by_hand(tokens[row], n + j, key, n)
        if name is not None:
            mass[row, :, j, CLASSES.index(name)] += patterns[row, :, n + j, key]
            counts[row, j, CLASSES.index(name)] += 1
    np.testing.assert_allclose(found.mass, mass, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.mass.sum(axis=-1), 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean_uniform, (counts / counts.sum(-1, keepdims=True)).mean(axis=0), rtol=0, atol=1e-12)
    for head, j, member in np.ndindex(2, n, len(CLASSES)):
        total = counts[:, j, member].sum()
        expected = mass[:, head, j, member].sum() / total if total else np.nan
        with np.errstate(all="raise"):  # classes without a key are left out, not divided by
            np.testing.assert_allclose(found.per_key[head, j, member], expected, rtol=0, atol=1e-12)
    over = found.over_asked(mechbp.rng(0))
    np.testing.assert_allclose(over.mean, mass.mean(axis=(0, 2)), rtol=0, atol=1e-12)
    assert (over.low <= over.mean).all() and (over.mean <= over.high).all()


def test_one_sequence_written_out():
    process = SortedLists(9, 3)
    tokens = np.array([[7, 2, 5, 9, 2, 5, 7]])
    lists = asked_lists(process, tokens)
    np.testing.assert_array_equal(lists.current, [[BEFORE_ALL, 2, 5]])
    np.testing.assert_array_equal(lists.answer, [[2, 5, 7]])
    np.testing.assert_array_equal(lists.place_of_rank, [[1, 2, 0]])
    names = [[CLASSES[c] if c != NO_KEY else "-" for c in row] for row in key_classes(lists)[0]]
    assert names == [
        ["further", "answer", "further", "own position", "-", "-"],
        ["further", "current", "answer", "separator", "own position", "-"],
        ["answer", "below", "current", "separator", "outputs", "own position"],
    ]


def test_the_hand_made_sorter_looks_at_the_answer():
    process = SortedLists(9, 4)
    tokens = process.sample(60, mechbp.rng(1)).tokens
    model = hand_sorter(process, np.arange(9) < 4)
    hook = "blocks.0.attn.hook_pattern"
    for shown in (tokens, tokens[:, :-1]):  # with and without the last token, which nobody asks beyond
        found = class_attention(mechbp.capture(model, shown, hook)[hook].numpy(), tokens, process)
        assert found.mean[:, :, ANSWER].min() > 0.99
        assert found.mass[..., [ANSWER, FURTHER]].sum(axis=-1).min() > 1 - 1e-9


def test_what_does_not_fit_is_refused():
    process = SortedLists(9, 4)
    tokens, patterns = drawn(process)
    with pytest.raises(InputError, match=r"need patterns \[40, head, query, key\] of 8 or 9 positions, got \[40, 2, 7, 7\]"):
        class_attention(patterns[:, :, :7, :7], tokens, process)
    with pytest.raises(InputError, match=r"need patterns \[39,"):
        class_attention(patterns, tokens[1:], process)
    with pytest.raises(ImpossibleEvidence):
        class_attention(patterns, tokens[:, ::-1].copy(), process)

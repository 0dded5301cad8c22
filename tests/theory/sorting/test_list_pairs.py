"""Pairs of lists against enumeration of every list, question and legal change of small designs."""

from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from brute_sorting import all_lists

import mechbp
from mechbp.errors import InputError, TooFewSequences
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import in_split
from mechbp.theory.sorting.list_pairs import KINDS, MOVES_ANSWER, list_pairs

DESIGNS = [{"vocab_size": 6, "length": 3}, {"vocab_size": 9, "length": 3, "gap": 2}, {"vocab_size": 8, "length": 3, "window": 5}]


def answer_of(values, current):
    return min((value for value in values if value > current), default=None)


def legal_changes(values, lists, kind):
    """{(question, rank): new values} of one kind, from the words of the definition alone."""
    found = {}
    ordered = sorted(values)
    for asked, rank in product(range(len(values)), repeat=2):
        allowed = {
            "answer": rank == asked, "overtaken": rank == asked < len(values) - 1, "further": rank > asked,
            "current": rank == asked - 1, "below": rank < asked - 1,
        }[kind]  # fmt: skip
        if not allowed:
            continue
        found[asked, rank] = []
        for new in range(20):
            changed = tuple(new if value == ordered[rank] else value for value in values)
            if new == ordered[rank] or changed not in lists:
                continue
            same_rank = sorted(changed)[rank] == new
            if same_rank if kind != "overtaken" else new > ordered[rank + 1]:
                found[asked, rank].append(changed)
    return found


def joint_by_hand(design, kind):
    """{(base, source, question): probability} of candidates with a legal change."""
    lists = all_lists(**design)
    joint = Counter()
    for values, probability in lists.items():
        changes = legal_changes(values, lists, kind)
        questions = {asked for asked, _ in changes}
        for (asked, _), options in changes.items():
            ranks = sum(other == asked for other, _ in changes)
            for changed in options:
                joint[values, changed, asked] += probability * Fraction(1, len(questions) * ranks * len(options))
    total = sum(joint.values())
    return {pair: float(weight / total) for pair, weight in joint.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_pairs_are_drawn_as_enumeration_says(design, kind):
    process = SortedLists(**design)
    n = 30_000
    pairs = list_pairs(process, kind, n, mechbp.rng(0, kind), split=None)
    length = process.length
    drawn = Counter(
        (tuple(base[:length].tolist()), tuple(source[:length].tolist()), int(asked))
        for base, source, asked in zip(pairs.base, pairs.source, pairs.asked, strict=True)
    )
    expected = joint_by_hand(design, kind)
    assert set(drawn) <= set(expected)
    excess = sum((drawn[pair] - n * p) ** 2 / (n * p) for pair, p in expected.items())
    assert excess < len(expected) + 6 * np.sqrt(2 * len(expected))  # chi-square of mean k, variance 2 k


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_keep_what_their_kind_says(kind):
    process = SortedLists(51, 10)
    pairs = list_pairs(process, kind, 400, mechbp.rng(1, kind))
    for sequences in (pairs.base, pairs.source):
        assert np.isfinite(process.log_evidence(sequences)).all()
        assert in_split(sequences[:, :10], "test").all()
    rows = np.arange(400)
    differs = pairs.base != pairs.source
    assert (differs[:, :10].sum(axis=1) == 1).all() and differs[rows, pairs.place].all()
    before, after = pairs.answers
    current = pairs.base[rows, pairs.query]
    for row in rows:
        above = -1 if pairs.asked[row] == 0 else pairs.base[row, pairs.query[row]]
        assert before[row] == answer_of(pairs.base[row, :10], above)
    assert (before != after).all() if kind in MOVES_ANSWER else (before == after).all()
    seen = np.arange(21) <= pairs.query[:, None]
    changes_seen = (differs & seen).sum(axis=1)
    assert (changes_seen == (2 if kind in ("current", "below") else 1)).all()
    assert ((current != pairs.source[rows, pairs.query]) == (kind == "current")).all()
    old, new = (sequences[rows, pairs.place] for sequences in (pairs.base, pairs.source))
    if kind in MOVES_ANSWER:
        old, new = before, after
    np.testing.assert_array_equal(pairs.old, old)
    np.testing.assert_array_equal(pairs.new, new)
    logits = torch.from_numpy(mechbp.rng(2).normal(size=(400, 20, 52)))
    by_hand = [float(logits[row, pairs.query[row], new[row]] - logits[row, pairs.query[row], old[row]]) for row in rows]
    np.testing.assert_allclose(pairs.metric(logits).numpy(), by_hand, rtol=0, atol=1e-12)
    assert len(set(pairs.asked.tolist())) >= 8 and len(set(pairs.place.tolist())) == 10


def test_the_question_can_be_fixed_and_equal_seeds_give_equal_pairs():
    process = SortedLists(32, 6)
    pairs = list_pairs(process, "further", 50, mechbp.rng(0), asked=3)
    assert (pairs.asked == 3).all() and (pairs.query == 9).all()
    again = list_pairs(process, "further", 50, mechbp.rng(0), asked=3)
    np.testing.assert_array_equal(pairs.source, again.source)


def test_what_there_is_none_of_is_refused():
    with pytest.raises(InputError, match="without repeats"):
        list_pairs(SortedLists(5, 3, repeats=True), "answer", 5, mechbp.rng(0))
    with pytest.raises(InputError, match=r"kind 'below' in lists of 4 can be asked at 2\.\.3, got 1"):
        list_pairs(SortedLists(9, 4), "below", 5, mechbp.rng(0), asked=1)
    with pytest.raises(InputError, match=r"kind 'further' in lists of 4 can be asked at 0\.\.2, got 3"):
        list_pairs(SortedLists(9, 4), "further", 5, mechbp.rng(0), asked=3)
    with pytest.raises(TooFewSequences, match="none of 2"):
        list_pairs(SortedLists(4, 4), "answer", 5, mechbp.rng(0), split=None)

"""Pairs whose futures differ: three exact answers against the filter itself, and what is kept of what was drawn."""

import numpy as np
import pytest

import mechbp
from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.library import golden_mean, mess3, rrxor
from mechbp.theory.chain.future_pairs import future_pairs

CASES = {"mess3": (mess3(0.05, 0.85), False), "rrxor": (rrxor(), False), "rrxor, alike": (rrxor(), True)}


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_of_filters(case):
    hmm, alike = CASES[case]
    pairs = future_pairs(hmm, 3, 7, 30, mechbp.rng(0, case), alike_now=alike)
    assert len(pairs) == 30 and pairs.own.shape == (30, 4, hmm.vocab_size) and 0 < pairs.share_kept < 1
    np.testing.assert_array_equal(pairs.base[:, 4:], pairs.source[:, 4:])
    np.testing.assert_allclose(pairs.own, hmm.predictive(hmm.beliefs(pairs.base)[:, 4:]), rtol=0, atol=1e-12)
    # The filter that runs on: a chain that starts in the source's belief reads only the base's later tokens.
    for row in range(5):
        start = hmm.beliefs(pairs.source[row : row + 1, :4])[0, -1]
        onward = HiddenMarkovModel(hmm.transitions, start)
        later = onward.predictive(onward.beliefs(pairs.base[row : row + 1, 4:]))[0]
        np.testing.assert_allclose(pairs.handed[row], later, rtol=0, atol=1e-12)
    replaced = pairs.base.copy()
    replaced[:, 3] = pairs.source[:, 3]
    possible = np.isfinite(pairs.swapped).all(axis=(1, 2))
    np.testing.assert_allclose(
        pairs.swapped[possible], hmm.predictive(hmm.beliefs(replaced[possible])[:, 4:]), rtol=0, atol=1e-12
    )
    assert possible.all() == (case == "mess3")
    assert (kl_nats(pairs.handed, pairs.own)[:, 1:].mean(axis=1) >= 0.02).all()
    now = np.abs(pairs.handed[:, 0] - pairs.own[:, 0]).max(axis=1)
    assert (now < 1e-9).all() if alike else now.max() > 0.1


def test_pairs_that_do_not_exist_are_not_made_up():
    with pytest.raises(TooFewSequences, match="the same next token"):
        future_pairs(golden_mean(), 3, 6, 10, mechbp.rng(0, "x"), alike_now=True)  # its predictives are its beliefs
    with pytest.raises(TooFewSequences, match="only 0 of"):
        future_pairs(mess3(0.15, 1 / 3), 3, 6, 10, mechbp.rng(0, "x"))
    with pytest.raises(InputError, match="position < length - 1"):
        future_pairs(rrxor(), 5, 6, 10, mechbp.rng(0, "x"))

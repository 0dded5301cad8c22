"""The joint of a chain: every path has its product of transitions, and small chains are short enough to be listed."""

import numpy as np
import pytest
from brute_chain import path_weights, random_chain  # tests/support/brute_chain.py

import mechbp
from mechbp.processes.chain.joint import LISTED_STATES, LISTED_WORDS, small_length


def test_every_path_has_its_weight():
    steps, _ = random_chain(mechbp.rng(3), sparse=True)
    hmm = mechbp.HiddenMarkovModel(steps, length=3)
    joint = hmm.joint()
    states = joint.queries["beliefs"].variables
    assert len(np.unique(np.hstack([states, joint.tokens]), axis=0)) == len(states)
    for word in np.ndindex((hmm.vocab_size,) * 3):
        of_word = (joint.tokens == word).all(axis=1)
        weights = path_weights(hmm.transitions, hmm.start, word)
        np.testing.assert_allclose(joint.probability[of_word], weights[tuple(states[of_word].T)], rtol=0, atol=1e-16)


@pytest.mark.parametrize("length", [None, 3, 50])
def test_small_chains_can_be_listed(length):
    for hmm in (mechbp.mess3(0.15, 0.6, length=length), mechbp.rrxor(length=length)):
        small = hmm.small()
        assert small.length <= (length or small.length) and len(small.joint().tokens) <= LISTED_STATES
        assert small.vocab_size**small.length <= LISTED_WORDS
        assert small.small() is small


def test_a_chain_of_many_tokens_is_listed_as_single_tokens():
    many = int(LISTED_WORDS**0.5) + 1
    assert mechbp.HiddenMarkovModel(np.full((many, 1, 1), 1 / many)).small().length == 1
    assert mechbp.HiddenMarkovModel(np.full((many - 1, 1, 1), 1 / (many - 1))).small().length == 2


def test_joints_need_a_length_and_long_ones_are_refused():
    with pytest.raises(mechbp.errors.InputError, match="this model has no length"):
        mechbp.mess3(0.15, 0.6).joint()
    with pytest.raises(mechbp.errors.LimitExceeded, match="3 states and 3 tokens"):
        mechbp.mess3(0.15, 0.6, length=10).joint()


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
@pytest.mark.parametrize("states", [1, 2, 3, 4])
def test_a_small_chain_is_as_long_as_its_lists_allow(tokens, states):
    def fits(length):
        return states ** (length + 1) * tokens**length <= LISTED_STATES and tokens**length <= LISTED_WORDS

    for longest in (3, 4, 40):
        found = small_length(states, tokens, longest)
        assert found == max(length for length in range(1, longest + 1) if fits(length))

"""The contract every process keeps. A new process joins by one line in PROCESSES."""

import numpy as np
import pytest

from mechbp.processes.chain.library import mess3, rrxor
from mechbp.processes.process import Process, Sample
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

PROCESSES = {
    "tree, unfiltered": FilteredTree(TreeGrammar.random(4), 3, 0),
    "tree, level 2": FilteredTree(TreeGrammar.random(3, seed=5), 3, 2),
    "tree, independent leaves": FilteredTree(TreeGrammar.random(2, seed=1), 2, 2),
    "chain, mess3": mess3(0.15, 0.6, length=6),
    "chain, rrxor": rrxor(length=12),
}


@pytest.fixture(params=PROCESSES)
def process(request) -> Process:
    return PROCESSES[request.param]


def arrays_in(value: object) -> list[np.ndarray]:
    """All arrays inside a result, in a fixed order."""
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else vars(value).values()
    return [array for part in parts for array in arrays_in(part)]


def test_offers_the_protocol(process):
    assert isinstance(process, Process) and isinstance(process.sample(2, rng(0)), Sample)


def test_tokens_are_symbols(process):
    tokens = process.sample(500, rng(0)).tokens
    assert tokens.dtype.kind == "i" and len(tokens) == 500
    assert set(np.unique(tokens)) == set(range(process.vocab_size))


def test_is_immutable(process):
    with pytest.raises(AttributeError):
        process.vocab_size = 5


def test_the_generator_given_is_the_only_randomness(process):
    state = np.random.get_state()  # the standard library's generator is moved by the annotation checks themselves
    first, again, other = (process.sample(50, rng(seed)).tokens for seed in (0, 0, 1))
    beliefs = arrays_in(process.beliefs(first))
    assert (first == again).all() and (first != other).any()
    for before, after in zip(beliefs, arrays_in(process.beliefs(again)), strict=True):
        assert (before == after).all()
    np.testing.assert_equal(np.random.get_state(), state)


def test_read_only_input_is_accepted_and_no_input_is_changed(process):
    tokens = process.sample(20, rng(0)).tokens
    original = tokens.copy()
    expected = arrays_in(process.beliefs(tokens))
    tokens.setflags(write=False)
    for given in (tokens, np.asfortranarray(tokens), np.repeat(tokens, 2, axis=1)[:, ::2]):
        for array, wanted in zip(arrays_in(process.beliefs(given)), expected, strict=True):
            assert (array == wanted).all()
    assert (tokens == original).all()


def test_results_never_share_memory_with_the_process(process):
    """Writing into a result must not change the next answer."""
    tokens = process.sample(5, rng(0)).tokens
    expected = [array.copy() for array in arrays_in(process.beliefs(tokens))]
    for array in arrays_in(process.beliefs(tokens)):
        if array.flags.writeable:
            array[...] = -1
    for array, wanted in zip(arrays_in(process.beliefs(tokens)), expected, strict=True):
        assert (array == wanted).all()


def test_an_example_does_not_depend_on_its_batch(process):
    tokens = process.sample(7, rng(0)).tokens
    together = arrays_in(process.beliefs(tokens))
    for i in range(7):
        for array, whole in zip(arrays_in(process.beliefs(tokens[i : i + 1])), together, strict=True):
            np.testing.assert_allclose(array[0], whole[i], rtol=0, atol=1e-14)

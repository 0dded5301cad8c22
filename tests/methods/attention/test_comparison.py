"""How often a relabelled reference is as near to a pattern as the reference itself."""

import numpy as np
import pytest

import mechbp
from mechbp.methods.attention.comparison import compare_patterns
from mechbp.methods.attention.patterns import AttentionPatterns

LENGTH = 5


def patterns(seed, n=6):
    return AttentionPatterns((0,), mechbp.rng(seed, "patterns").dirichlet(np.ones(LENGTH), size=(n, 1, 2, LENGTH)), None, None)


@pytest.mark.parametrize("reference", [np.full((LENGTH, LENGTH), 1 / LENGTH), np.eye(LENGTH)], ids=["uniform", "to itself"])
def test_a_reference_that_no_relabelling_changes_says_nothing_of_the_order(reference):
    """Each relabelled reference ties with the reference, whatever the pattern."""
    match = compare_patterns(patterns(0), reference, rng=mechbp.rng(0, "relabelled"), permutations=99, resamples=10)
    assert (match.p_js == 1).all() and (match.p_cosine == 1).all() and (match.p_nearest_js == 1).all()


@pytest.mark.parametrize(("n_layers", "more"), [(4, []), (5, ["and 1 more layers"])])
def test_a_summary_names_four_layers_and_counts_the_rest(n_layers, more):
    within = np.repeat(patterns(0).within, n_layers, axis=1)
    match = compare_patterns(
        AttentionPatterns(tuple(range(n_layers)), within, None, None),
        np.eye(LENGTH),
        rng=mechbp.rng(0, "relabelled"),
        permutations=9,
    )
    lines = match.summary().splitlines()
    assert [line.split(",")[0] for line in lines[:4]] == [f"layer {layer}" for layer in range(4)] and lines[4:-1] == more
    assert lines[-1] == "n = 6 examples, 95% intervals; 9 relabelled references"


def test_a_pattern_is_nearer_to_itself_than_relabelled():
    observed = patterns(1)
    match = compare_patterns(observed, observed.mean, rng=mechbp.rng(0, "relabelled"), permutations=99, resamples=10)
    assert (match.p_js <= 0.05).all() and (match.p_cosine <= 0.05).all()

"""Verdicts about belief geometry, on made measurements at the bounds on record."""

from types import SimpleNamespace

import numpy as np
import pytest
from chain_measurements import RUN, STUDY, WORDS, score

from analyses.belief_geometry.criteria import CRITERIA as GEOMETRY
from analyses.belief_geometry.distances import FITTED, HELD_OUT, RANDOM, Distances, distance_claim
from analyses.belief_geometry.interchange import LEACE, MEANS, PLACEBO, PROBE, Writing, writing_claims
from analyses.belief_geometry.regression import Reading
from analyses.belief_geometry.regression_claims import reading_claims
from analyses.shared.prefix_corpus import FULL, NEXT, TOGETHER
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, MessageTest

LAST = "layer 2"
OTHER = "other process"


def reading(errors=(2e-3, 1e-4), together=1e-3, noise=0.1, last=None, rival=0.9, embedded=0.5, prefix=0.99, untrained=0.8):
    """A reading of two layers whose last is scored as `last` says, and whose rivals are as good as `rival`."""
    stages = {"embedding": 1e-2, "layer 1 mid": 5e-2, "layer 1": errors[0], LAST: errors[1], TOGETHER: together}
    by_word = {stage: {FULL: score(mse=error, held_out_mse=error)} for stage, error in stages.items()}
    by_word[LAST][FULL] = score(**{"mse": errors[1], "held_out_mse": errors[1], **(last or {})})
    by_word[LAST] |= {NEXT: score(), OTHER: score(held_out_r2=rival)}
    by_word["embedding"] |= {NEXT: score(r2=0.5), OTHER: score(r2=embedded)}
    by_prefix = {stage: {FULL: score(held_out_r2=prefix)} for stage in stages}
    random = [{stage: {FULL: score(r2=0.5, mse=0.01, held_out_r2=untrained)} for stage in stages}]
    baselines = {"token history": (score(), score(held_out_r2=untrained)), "noise": (score(mse=noise), score(held_out_r2=0.1))}
    return Reading(SimpleNamespace(run=RUN, words=WORDS), by_word, by_prefix, by_word, random, random, baselines, 1)


def judged(found, key):
    (claim,) = (claim for claim in reading_claims(found) if claim.criterion == key)
    return claim.verdict


LINEAR = GEOMETRY["linear"].bounds
MSE = LINEAR["linear_mse"]


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ({}, "holds"),
        ({"mse": MSE, "held_out_mse": MSE}, "holds"),  # at the bound
        ({"mse": 1.01 * MSE, "held_out_mse": MSE}, "partly"),
        ({"r2": LINEAR["linear_r2"] - 0.001}, "partly"),
        ({"held_out_mse": 1e-4 * (1.01 + LINEAR["held_out_loss"])}, "partly"),
        ({"mse": 2 * MSE, "r2": 0.99, "held_out_mse": 4 * MSE}, "fails"),
    ],
)
def test_a_linear_belief_needs_all_three(fault, verdict):
    assert judged(reading(last=fault), "linear") == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"errors": (2e-3, 1e-3)}, "holds"),
        ({"errors": (2e-3, 3e-3)}, "partly"),  # the error rises
        ({"errors": (2e-3, 1e-3), "together": 6e-3}, "partly"),
        ({"errors": (2e-3, 1e-3), "noise": 9e-3}, "partly"),  # noise of as many columns does nearly as well
        ({"errors": (2e-3, 1e-3), "untrained": 0.98}, "partly"),
        ({"errors": (2e-3, 3e-3), "together": 6e-3}, "fails"),
    ],
)
def test_layers_have_to_improve_and_hold_the_belief_together(changes, verdict):
    found = reading(**changes)
    assert found.last == LAST and judged(found, "layers") == verdict


def test_a_single_layer_cannot_fail_to_improve():
    numbers = {"layer_mse": [0.1], "together_mse": 0.001, "noise_mse": 1.0, "held_out_r2": 0.9, "random_r2": 0.5}
    assert GEOMETRY.grade("layers", numbers) == "holds"


@pytest.mark.parametrize(("prefix", "verdict"), [(0.83, "holds"), (0.81, "partly"), (0.11, "fails")])
def test_training_has_to_beat_what_needs_none(prefix, verdict):
    assert judged(reading(prefix=prefix), "trained") == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"rival": 0.9995}, "fails"),
        ({"last": {"held_out_r2": 1 - 1e-9}, "rival": 1 - 1e-8}, "holds"),  # told apart however near they are to 1
        ({"last": {"held_out_r2": 0.69}, "rival": 0.1}, "fails"),
        ({"embedded": 0.996}, "not run"),  # the embedding holds the only rival
    ],
)
def test_the_exact_belief_has_to_beat_every_rival_that_tells_something(changes, verdict):
    assert judged(reading(**changes), "rivals") == verdict


def test_some_rivals_may_be_beaten():
    numbers = {"exact_r2": 0.9, "exact_missed_high": 0.1, "rival_missed_low": [0.2, 0.05], "embedding_r2": [0.5, 0.5]}
    assert GEOMETRY.grade("rivals", numbers) == "partly"
    assert GEOMETRY.grade("rivals", numbers | {"embedding_r2": [0.5, 1.0]}) == "holds"  # the other tells nothing
    assert GEOMETRY.grade("rivals", numbers | {"embedding_r2": [1.0, 0.5]}) == "fails"


@pytest.mark.parametrize(
    ("fitted", "held_out", "exact", "verdict"),
    [
        ((0.95, 0.3), (0.7, 0.4), 0.3, "holds"),
        ((0.95, 0.3), (0.5, 0.4), 0.3, "partly"),  # on other prefixes no more than the next token's
        ((0.95, 0.3), (0.1, 0.0), 0.3, "fails"),  # however well the fitted ones do
        ((1.0, 1.0), (0.99, 0.99), 1.0, "holds"),  # beliefs and predictives are one
        ((1.0, 1.0), (0.5, 0.5), 1.0, "fails"),
    ],
)
def test_distances_have_to_follow_beliefs_on_prefixes_that_were_not_fitted(fitted, held_out, exact, verdict):
    names = (FITTED, HELD_OUT, "every prefix once, as fitted", RANDOM + FITTED, RANDOM + HELD_OUT)
    belief, following = (
        {name: pair[i] for name, pair in zip(names, (fitted, held_out, fitted, fitted, (0.01, 0.0)), strict=True)} for i in (0, 1)
    )
    corpus = SimpleNamespace(run=RUN)
    found = Distances(corpus, belief, following, dict.fromkeys(names, 100), np.zeros((3, 2)), exact)
    assert distance_claim(found).verdict == verdict


def message_test(**left):
    """A message test whose edits leave these shares of the divergence, over 200 pairs."""
    names = {NOTHING: 1.0, WHOLE: 0.0, **left}
    return MessageTest("hook", {edit: np.full(200, share) for edit, share in names.items()}, {}, {})


@pytest.mark.parametrize(
    ("means", "placebo", "erased", "probe", "verdicts"),
    [
        (0.01, 0.6, 0.05, 0.99, ("holds", "fails")),
        (0.01, 0.6, 0.05, 0.05, ("holds", "holds")),
        (0.2, 0.6, 0.05, 0.99, ("partly", "fails")),  # the subspace carries four fifths
        (0.01, 0.6, 0.3, 0.99, ("partly", "fails")),  # erasing goes seven tenths of the way
        (0.01, 0.6, 0.9, 0.99, ("partly", "fails")),  # erasing does no more than its placebo
        (0.7, 0.6, 0.9, 0.99, ("fails", "fails")),
    ],
)
def test_a_belief_is_used_if_writing_and_erasing_it_move_the_answer(means, placebo, erased, probe, verdicts):
    written = message_test(**{MEANS: means, MEANS + PLACEBO: placebo, PROBE: probe, PROBE + PLACEBO: 0.98})
    gone = message_test(**{LEACE: erased, LEACE + PLACEBO: 0.8})
    for n, expected in ((200, verdicts), (100, verdicts), (99, ("short", "short"))):
        pairs = type("Pairs", (), {"__len__": lambda self, n=n: n, "share_kept": 0.5})()
        random = message_test(**{MEANS: 0.9})
        found = Writing(SimpleNamespace(run=RUN), pairs, 2, {"layer 1": written}, {"layer 1": gone}, random)
        assert tuple(claim.verdict for claim in writing_claims(STUDY, found)) == expected


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("machines", {"beliefs": [3, 4, 7, 36], "predictives": [5, 11]}, "holds"),
        ("machines", {"beliefs": [3, 4, 7, 35], "predictives": [5, 11]}, "fails"),
        ("machines", {"beliefs": [3, 4, 7, 36], "predictives": [7, 11]}, "fails"),
        ("optimal", {"loss_excess": 0.002}, "holds"),
        ("optimal", {"loss_excess": 0.00201}, "fails"),
        ("emergence", {"spearman": 0.9, "fall": 2.0}, "holds"),
        ("emergence", {"spearman": 0.95, "fall": 1.9}, "partly"),
        ("emergence", {"spearman": 0.49, "fall": 9.0}, "fails"),
    ],
)
def test_bounds_of_the_other_claims_about_geometry(key, numbers, verdict):
    assert GEOMETRY.grade(key, numbers) == verdict

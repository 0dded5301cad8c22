"""Verdicts about belief geometry, on made measurements at the bounds on record."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from chain_measurements import RECIPE, RUN, STUDY, WORDS, score

from analyses.belief_geometry.criteria import CRITERIA as GEOMETRY
from analyses.belief_geometry.distances import FITTED, HELD_OUT, RANDOM, Distances, distance_claim
from analyses.belief_geometry.handing_on import BELIEF, EMBEDDING, ERASED, OTHERS, TOKEN, HandingOn
from analyses.belief_geometry.handing_on_claims import _anew, _used
from analyses.belief_geometry.held_out import FREE, HeldOut
from analyses.belief_geometry.held_out_claims import held_out_claims
from analyses.belief_geometry.regression import Reading
from analyses.belief_geometry.regression_claims import reading_claims
from analyses.shared.prefix_corpus import FULL, NEXT, OTHER, TOGETHER
from mechbp.methods.interchange.interchange import NOTHING, WHOLE
from mechbp.methods.interchange.later_answers import LaterAnswers
from mechbp.theory.chain.distance_agreement import DistanceAgreement
from mechbp.theory.chain.prefix_trees import TreeErrors

LAST = "layer 2"
PAPERS = SimpleNamespace(
    name=RUN.name, config=SimpleNamespace(process=replace(RECIPE, x=0.05, alpha=0.85), model=RUN.config.model)
)
"""A run whose process is that of the paper, whose error at layer 2 is known."""
PUBLISHED = 0.0007


def reading(mse=1e-4, prefix=0.99, untrained=0.8, random_mse=0.01, noise=0.1, embedded=0.5, run=PAPERS):
    """A reading of two layers whose last has this error."""
    stages = {"embedding": 1e-2, "layer 1 mid": 5e-2, "layer 1": 2e-3, LAST: mse, TOGETHER: 1e-5}
    by_word = {stage: {FULL: score(mse=error, held_out_mse=error)} for stage, error in stages.items()}
    by_word["embedding"] |= {NEXT: score(r2=0.5), OTHER: score(r2=embedded)}
    by_prefix = {stage: {FULL: score(held_out_r2=prefix)} for stage in stages}
    random = [{stage: {FULL: score(r2=0.5, mse=random_mse, held_out_r2=untrained)} for stage in stages}]
    baselines = {"token history": (score(), score(held_out_r2=untrained)), "noise": (score(mse=noise), score(held_out_r2=0.1))}
    return Reading(SimpleNamespace(run=run, words=WORDS), by_word, by_prefix, by_word, random, random, baselines, 1)


def judged(claims, key):
    (claim,) = (claim for claim in claims if claim.criterion == key)
    return claim.verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"mse": PUBLISHED}, "holds"),  # at the bound
        ({"mse": 1.01 * PUBLISHED}, "partly"),
        ({"random_mse": 1e-4}, "partly"),  # random weights do as well
        ({"noise": 1e-4}, "partly"),
        ({"mse": 0.2}, "fails"),
        ({"run": RUN}, "not run"),  # nothing is published of that process
    ],
)
def test_a_linear_belief_is_held_against_the_published_error_and_what_nobody_trained(changes, verdict):
    assert judged(reading_claims(reading(**changes)), "linear") == verdict


def trees(r2, spread=0.0, mse=None, n=24):
    """Errors of trees with this R² on the whole, which varies between trees by `spread`."""
    missed = 1 - r2 + spread * np.linspace(-1, 1, n)
    rows = np.full(n, 1.0 if mse is None else (1 - r2) / mse)
    return TreeErrors(missed, np.ones(n), rows)


def held_out(layers=(0.9, 0.99), free=0.8, mine=0.9, theirs=0.5, full=0.6, rival=0.3, spread=0.0, mse=1e-4, run=PAPERS):
    counts = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), size=400).astype(float)
    errors = {f"layer {i}": trees(r2, spread, mse) for i, r2 in enumerate(layers, 1)}
    return HeldOut(
        SimpleNamespace(run=run), Trees(), counts, errors,
        {name: trees(free) for name in FREE}, {OTHER: (trees(mine), trees(theirs))},
        {FULL: trees(full), OTHER: trees(rival)}, {FULL: [0.9]},
    )  # fmt: skip


class Trees:
    """As many trees as the errors above are of."""

    depth = 3

    def __len__(self):
        return 24


@pytest.mark.parametrize(
    ("key", "changes", "verdict"),
    [
        ("linear-held-out", {}, "holds"),
        ("linear-held-out", {"mse": 8e-4}, "partly"),  # more than published of a fit
        ("linear-held-out", {"free": 0.995}, "fails"),  # tokens alone do better
        ("linear-held-out", {"run": RUN}, "not run"),
        ("layers", {}, "holds"),
        ("layers", {"layers": (0.9, 0.95, 0.94)}, "partly"),
        ("layers", {"layers": (0.99, 0.98)}, "fails"),
        ("layers", {"layers": (0.9,)}, "not run"),
        ("rivals", {}, "holds"),
        ("rivals", {"mine": 0.5, "theirs": 0.9}, "fails"),  # the rival's own is read better
        ("rivals", {"full": 0.3, "rival": 0.6}, "fails"),  # the layer is made of the rival
        ("rivals", {"layers": (0.5, 0.69)}, "fails"),  # the exact belief is not there
    ],
)
def test_what_trees_left_out_decide(key, changes, verdict):
    assert judged(held_out_claims(reading(), held_out(**changes)), key) == verdict


def test_a_rival_that_the_embedding_holds_tells_nothing():
    assert judged(held_out_claims(reading(embedded=0.996), held_out()), "rivals") == "not run"
    numbers = {"exact_r2": 0.9, "embedding_r2": [0.5, 1.0], "beyond_low": [0.1, -1.0], "explained_low": [0.1, -1.0]}
    assert GEOMETRY.grade("rivals", numbers) == "holds"
    assert GEOMETRY.grade("rivals", numbers | {"embedding_r2": [0.5, 0.5]}) == "partly"


@pytest.mark.parametrize(("prefix", "verdict"), [(0.83, "holds"), (0.81, "partly"), (0.11, "fails")])
def test_training_has_to_beat_what_needs_none(prefix, verdict):
    assert judged(reading_claims(reading(prefix=prefix)), "trained") == verdict


def agreement(n_trees=24, **values):
    """Agreements with every target that hardly vary over resamples."""
    wobble = np.linspace(-0.01, 0.01, 50)
    return DistanceAgreement(values, {name: value + wobble for name, value in values.items()}, n_trees)


@pytest.mark.parametrize(
    ("belief", "following", "random", "exact", "verdict"),
    [
        (0.7, 0.4, 0.0, 0.3, "holds"),
        (0.4, 0.5, 0.0, 0.3, "fails"),  # on other trees they are those of the next token
        (0.7, 0.4, 0.8, 0.3, "fails"),  # random weights do as well
        (0.7, 0.7, 0.0, 1.0, "not run"),  # beliefs and predictives are one, and there is no other rival
    ],
)
def test_distances_have_to_follow_beliefs_more_closely_than_rivals(belief, following, random, exact, verdict):
    names = (FITTED, HELD_OUT, "every prefix once, as fitted", RANDOM + FITTED, RANDOM + HELD_OUT)
    table = dict.fromkeys(names, 0.5)
    own, untrained = agreement(**{FULL: belief, NEXT: following}), agreement(**{FULL: random, NEXT: 0.1})
    found = Distances(
        SimpleNamespace(run=RUN), table, table, dict.fromkeys(names, 100), np.zeros((3, 2)), {NEXT: exact}, own, untrained
    )
    assert distance_claim(found).verdict == verdict


def test_some_rivals_of_distances_may_be_beaten():
    assert GEOMETRY.grade("distances", {"over_rivals_low": [0.1, -0.1], "over_random_low": 0.1}) == "partly"
    assert GEOMETRY.grade("distances", {"over_rivals_low": [0.1, 0.1], "over_random_low": -0.1}) == "fails"


OWN, HANDED, SWAPPED = (np.tile(np.array([p, 1 - p]), (200, 3, 1)) for p in (0.2, 0.8, 0.5))


def made(now, later):
    """Answers that are `now` in place and `later` afterwards."""
    return np.concatenate([now[:, :1], later[:, 1:]], axis=1)


class MadePairs(SimpleNamespace):
    """Pairs whose exact answers are all alike."""

    def __len__(self):
        return self.n


def handing(belief=HANDED, rival=OWN, whole=(HANDED, OWN), token=SWAPPED, n=200):
    """A made test at one layer between embedding and last; every answer is one of the exact ones, or between them."""
    pairs = MadePairs(n=n, position=1, own=OWN, handed=HANDED, swapped=SWAPPED, base=np.zeros((200, 4), int),
                      source=np.ones((200, 4), int), share_kept=0.5)  # fmt: skip
    edits = {NOTHING: OWN, WHOLE: made(*whole), BELIEF: belief, OTHERS: rival, ERASED: OWN, TOKEN: OWN}
    written = {"layer 1": [LaterAnswers("hook", edits)]}
    replaced = {
        EMBEDDING: LaterAnswers("hook", {NOTHING: OWN, WHOLE: token}),
        "layer 1": LaterAnswers("hook", {NOTHING: OWN, WHOLE: made(*whole)}),
    }
    return HandingOn(SimpleNamespace(run=RUN), pairs, pairs, False, 2, 2, written, replaced)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"rival": HANDED}, "fails"),  # another word's belief does as much
        ({"belief": 0.9 * OWN + 0.1 * HANDED}, "partly"),  # farther than rivals, yet nearer to the base's own
        ({"belief": OWN}, "fails"),
        ({"n": 99}, "short"),
    ],
)
def test_a_belief_is_used_if_later_answers_follow_it_farther_than_rivals(changes, verdict):
    assert _used(STUDY, handing(**changes)).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"whole": (HANDED, HANDED)}, "fails"),  # handed on
        ({"whole": (OWN, OWN)}, "fails"),  # nothing was written: the answer in place stays
        ({"token": OWN}, "fails"),  # no later position reads this one, whatever stands there
        ({"n": 99}, "short"),
    ],
)
def test_answers_are_computed_anew_if_only_the_one_in_place_follows(changes, verdict):
    assert _anew(STUDY, handing(**changes)).verdict == verdict


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("machines", {"beliefs": [3, 4, 7, 36], "predictives": [5, 11]}, "holds"),
        ("machines", {"beliefs": [3, 4, 7, 35], "predictives": [5, 11]}, "fails"),
        ("machines", {"beliefs": [3, 4, 7, 36], "predictives": [7, 11]}, "fails"),
        ("optimal", {"loss_excess": 0.002}, "holds"),
        ("optimal", {"loss_excess": 0.00201}, "fails"),
    ],
)
def test_bounds_of_the_other_claims_about_geometry(key, numbers, verdict):
    assert GEOMETRY.grade(key, numbers) == verdict

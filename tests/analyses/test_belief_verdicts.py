"""How the pages about beliefs judge: verdicts on made measurements, one for every way to miss a claim."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import mechbp
from analyses.belief_geometry.distances import FITTED, HELD_OUT, RANDOM, Distances, distance_claim
from analyses.belief_geometry.interchange import LEACE, MEANS, PLACEBO, PROBE, Writing, writing_claims
from analyses.belief_geometry.regression import Reading
from analyses.belief_geometry.regression_claims import HELD_OUT_LOSS, LINEAR_MSE, falls, is_linear
from analyses.constrained_updates import heads, substitutions
from analyses.constrained_updates.attention import Attention, attention_claim
from analyses.constrained_updates.observers import ObserverScores, observers_claim
from analyses.constrained_updates.seeds import seeds
from analyses.constrained_updates.settings import Group, groups
from analyses.shared.prefix_corpus import CONSTRAINED, FULL
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, MessageTest
from mechbp.models.config import ModelConfig, ObjectiveConfig
from mechbp.models.tasks.chain import ChainRecipe
from mechbp.theory.chain.constrained_attention import Lags, PatternFit
from mechbp.theory.chain.prefix_probe import AffineMap, WordScore

RECIPE = ChainRecipe("mess3", length=10, x=0.5, alpha=0.6)
MODEL = ModelConfig(n_layers=1, n_heads=2, d_model=64, d_mlp=256, attention="causal")


def named(name, n_heads=2, **others):
    """A run of this name, as far as judging needs one."""
    config = SimpleNamespace(process=RECIPE, model=replace(MODEL, n_heads=n_heads), objective=ObjectiveConfig("next-token"))
    return SimpleNamespace(name=name, config=config, **others)


RUN = named("own")
WORDS = SimpleNamespace(tokens=np.zeros((9, 3)), n_prefixes=30)
STUDY = SimpleNamespace(rng=lambda *labels: mechbp.rng(0, *labels))


def score(mse=1e-4, r2=0.999, held_out_mse=1e-4, held_out_r2=0.999):
    return WordScore(
        r2, mse, held_out_r2, held_out_r2, held_out_r2, held_out_mse, 0.1, AffineMap(np.zeros((4, 3)), np.zeros(3), 4), 30, 4
    )


@pytest.mark.parametrize(
    ("fault", "reached"),
    [
        ({}, (True, True, True)),
        ({"mse": 2 * LINEAR_MSE, "held_out_mse": 2 * LINEAR_MSE}, (False, True, True)),
        ({"r2": 0.99}, (True, False, True)),
        ({"held_out_mse": 1e-4 * (1 + 2 * HELD_OUT_LOSS)}, (True, True, False)),
    ],
)
def test_a_linear_belief_needs_all_three(fault, reached):
    reading = SimpleNamespace(by_word={"layer 1": {FULL: score(**fault)}}, last="layer 1")
    assert is_linear(reading) == reached


@pytest.mark.parametrize(("last", "together", "reached"), [(1e-3, 1e-3, (True, True)), (3e-3, 6e-3, (False, False))])
def test_layers_have_to_improve_and_hold_the_belief_together(last, together, reached):
    errors = {"embedding": 1e-2, "layer 1 mid": 5e-2, "layer 1": 2e-3, "layer 2": last, "all together": together}
    scores = {stage: {FULL: score(mse=error)} for stage, error in errors.items()}
    reading = Reading(None, scores, {}, {}, [], [], {}, 1)
    assert reading.last == "layer 2" and falls(reading) == reached


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
    pairs = type("Pairs", (), {"__len__": lambda self: 200, "share_kept": 0.5})()
    found = Writing(SimpleNamespace(run=RUN), pairs, 2, {"layer 1": written}, {"layer 1": gone}, message_test(**{MEANS: 0.9}))
    assert tuple(claim.verdict for claim in writing_claims(STUDY, found)) == verdicts


@pytest.mark.parametrize(
    ("r2", "verdict"), [((0.96, 0.97), "holds"), ((0.96, 0.7), "partly"), ((0.93, 0.94), "partly"), ((0.93, 0.7), "fails")]
)
def test_the_law_of_attention_has_to_describe_every_seed(r2, verdict):
    setting = SimpleNamespace(zeta=0.55, lags=(Lags(1, 1),), pattern=SimpleNamespace(spread=np.zeros((1, 2, 2))))
    fits = [[PatternFit(value, 0.99, 28)] for value in r2]
    found = Attention(Group((RUN, RUN)), [setting] * 2, fits, fits, fits[0], [])
    assert attention_claim(found).verdict == verdict


def test_numbers_over_seeds_say_how_many():
    assert seeds(np.array([0.9])) == "R² 0.900 (one seed)"
    assert seeds(np.array([0.9, 0.92, 0.91])) == "R² 0.910 [0.885, 0.935] over 3 seeds (0.900, 0.920, 0.910)"
    assert seeds(np.array([-500.0])) == "R² below -10 (one seed)"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({substitutions.DECAY: 0.2, substitutions.BOTH: 0.2}, "partly"),
        ({substitutions.DECAY: 0.2, substitutions.BOTH: 0.2, substitutions.LENGTHS: 0.3}, "fails"),
        ({substitutions.EQUAL: 0.005}, "fails"),  # nor do predicted lengths prove anything if equal ones do as well
        ({substitutions.UNIFORM: 0.06}, "fails"),  # if no pattern matters, the right one proves nothing
    ],
)
def test_a_stand_in_counts_where_a_wrong_one_would_cost(changes, verdict):
    names = (
        substitutions.OWN,
        substitutions.MEAN,
        substitutions.DECAY,
        substitutions.WARP,
        substitutions.PROFILE,
        substitutions.LENGTHS,
        substitutions.BOTH,
        substitutions.EQUAL,
    )
    missed = dict.fromkeys(names, 0.01) | {
        substitutions.UNIFORM: 0.4,
        substitutions.NO_ATTENTION: 0.8,
        substitutions.SWAPPED: 2.0,
        substitutions.EQUAL: 0.03,
    }
    found = substitutions.SubstitutionCosts(Group((RUN,)), None, missed | changes, [0.99], 9)
    assert substitutions.substitutions_claim(found).verdict == verdict


@pytest.mark.parametrize(
    ("constrained", "full", "verdict"),
    [
        ((0.1, 0.02, 0.02), (0.2, 0.01, 0.01), "holds"),
        ((0.1, 0.01, 0.02), (0.2, 0.02, 0.01), "holds"),  # handed over in the second block
        ((0.1, 0.01, 0.01), (0.2, 0.02, 0.02), "partly"),  # never
        ((0.2, 0.02, 0.02), (0.1, 0.01, 0.01), "partly"),  # the exact one led from the start
        ((0.2, 0.01, 0.01), (0.1, 0.02, 0.02), "fails"),
    ],
)
def test_the_handover_goes_from_the_constrained_to_the_exact_belief(constrained, full, verdict):
    missed = np.stack([full, constrained], axis=1)
    stages = ["layer 1 mid", "layer 1", "layer 2"]
    found = ObserverScores(SimpleNamespace(run=RUN), stages, [FULL, CONSTRAINED], missed, missed)
    claim = observers_claim(found)
    assert claim.verdict == verdict and "best of" in claim.measured


@pytest.mark.parametrize(
    ("parity", "cosine", "one_head", "verdicts"),
    [
        ((0.99, 0.92), -0.97, 6e-4, ("holds", "holds", "holds")),
        ((0.99, 0.85), -0.70, 4e-4, ("fails", "partly", "fails")),  # opposed in belief space alone
    ],
)
def test_two_heads_have_to_share_oppose_and_be_needed(parity, cosine, one_head, verdicts, monkeypatch):
    monkeypatch.setattr(heads, "_untrained_cosine", lambda model, group: 0.0)
    setting = SimpleNamespace(corpus=SimpleNamespace(length=5), lags=(Lags(2, 2), Lags(1, 2)))
    run = named("own", untrained=lambda seed: None)
    single = named("one", n_heads=1)
    exact = {
        name: SimpleNamespace(mean_nats=nats, relative=0.01, kl_uniform_nats=np.full(2, 8e-3))
        for name, nats in (("own", 1e-4), ("one", one_head))
    }
    splits = [heads.HeadPair(setting, list(parity), cosine, -0.999)]
    claims = heads.head_claims(Group((run,)), splits, exact, [run, single])
    assert tuple(claim.verdict for claim in claims) == verdicts
    assert heads.twin(run, [run]) is None and len(heads.head_claims(Group((run,)), splits, exact, [run])) == 2


def test_seeds_form_one_group_and_architectures_do_not():
    found = groups([RUN, named("own-h1", n_heads=1), named("own-s1")])
    assert [[run.name for run in group.runs] for group in found] == [["own", "own-s1"], ["own-h1"]]
    assert found[0].title == "mess3, x 0.5, alpha 0.6, 2 heads"

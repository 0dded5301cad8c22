"""How the pages about beliefs judge: verdicts on made measurements, one for every way to miss a claim."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import mechbp
from analyses.belief_geometry.criteria import CRITERIA as GEOMETRY
from analyses.belief_geometry.distances import FITTED, HELD_OUT, RANDOM, Distances, distance_claim
from analyses.belief_geometry.interchange import LEACE, MEANS, PLACEBO, PROBE, Writing, writing_claims
from analyses.belief_geometry.regression import Reading
from analyses.belief_geometry.regression_claims import reading_claims
from analyses.constrained_updates import heads, substitutions
from analyses.constrained_updates.attention import Attention, attention_claim
from analyses.constrained_updates.criteria import CRITERIA as UPDATES
from analyses.constrained_updates.observers import ObserverScores, observers_claim
from analyses.constrained_updates.seeds import seeds
from analyses.constrained_updates.settings import Group, groups
from analyses.constrained_updates.stages import Stages, stage_claims
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, NAIVE, NEXT, TOGETHER
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


@pytest.mark.parametrize(
    ("mid", "mid_exact", "post", "verdicts"),
    [
        ((0.98, 0.976), (0.97, 0.97), (0.996, 0.997), ("holds", "holds")),
        ((0.98, 0.974), (0.97, 0.97), (0.996, 0.994), ("partly", "partly")),  # one seed misses the bound
        ((0.98, 0.98), (0.99, 0.97), (0.98, 0.98), ("partly", "fails")),  # a sum over tokens does better
        ((0.9, 0.9), (0.91, 0.91), (0.991, 0.98), ("fails", "partly")),
    ],
)
def test_attention_adds_up_and_the_mlp_bends(mid, mid_exact, post, verdicts):
    scores = [
        {
            "Mid": {CONSTRAINED: score(held_out_r2=a), FULL: score(held_out_r2=b), NAIVE: score()},
            "Post": {CONSTRAINED: score(), FULL: score(held_out_r2=c)},
            "final LN": {FULL: score()},
        }
        for a, b, c in zip(mid, mid_exact, post, strict=True)
    ]
    rest = dict.fromkeys((FULL, CONSTRAINED), score(held_out_r2=0.99))
    baselines = {"token and position": rest, "token history": rest}
    leading = {"Mid": score(), "final LN": score()}
    found = Stages(Group((RUN, RUN)), [], scores, scores[0], scores[0], baselines, None, leading, {}, None)
    claims = {claim.criterion: claim.verdict for claim in stage_claims(found)}
    assert (claims["mid"], claims["post"]) == verdicts


@pytest.mark.parametrize(
    ("key", "bounds"), [("attention", (0.95, 0.9)), ("values", (0.99, 0.9)), ("embeddings", (0.8, 0.5)), ("parity", (0.9, None))]
)
def test_every_seed_has_to_reach_the_bound(key, bounds):
    name = {"embeddings": "late_r2", "parity": "least_parity"}.get(key, "r2")
    least, some = bounds
    assert UPDATES.grade(key, {name: [least, least + 0.001]}) == "holds"
    assert UPDATES.grade(key, {name: [least, -1e6]}) == "partly"
    assert UPDATES.grade(key, {name: [None, None]}) == "fails"
    if some is not None:
        assert UPDATES.grade(key, {name: [some + 1e-4, some + 1e-4]}) == "partly"
        assert UPDATES.grade(key, {name: [some - 1e-4, some - 1e-4]}) == "fails"


@pytest.mark.parametrize(("measured", "verdict"), [((0.929, 0.761), "holds"), ((0.89, 0.95), "partly"), ((0.8, 0.95), "fails")])
def test_variance_has_to_be_spread_as_published(measured, verdict):
    assert UPDATES.grade("variance", {"measured": list(measured), "published": [0.9, 0.79]}) == verdict


@pytest.mark.parametrize(
    ("heads", "r2", "parity", "both", "uniform", "verdict"),
    [
        (1, 0.95, None, 0.05, 0.2, "holds"),
        (1, 0.94, None, 0.05, 0.2, "partly"),
        (1, 0.96, None, 0.05, 0.1, "partly"),  # if no pattern matters, the right one proves nothing
        (2, 0.1, 0.9, 0.05, 0.2, "holds"),
        (2, 0.99, 0.89, 0.06, 0.2, "fails"),  # two heads are judged by parity alone
    ],
)
def test_the_optimum_has_the_attention_of_the_theory_and_can_do_with_it(heads, r2, parity, both, uniform, verdict):
    numbers = {"heads": heads, "attention_r2": r2, "least_parity": parity, "missed_both": both, "missed_uniform": uniform}
    assert UPDATES.grade("optimum", numbers) == verdict


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

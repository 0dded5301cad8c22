"""Verdicts about constrained updates, on made measurements at the bounds on record."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from chain_measurements import RUN, named, score

from analyses.constrained_updates import heads, substitutions
from analyses.constrained_updates.attention import Attention, attention_claim
from analyses.constrained_updates.criteria import CRITERIA as UPDATES
from analyses.constrained_updates.observers import ObserverScores, observers_claim
from analyses.constrained_updates.retrained import once
from analyses.constrained_updates.seeds import seeds
from analyses.constrained_updates.stages import BEYOND, Stages, stage_claims
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, NAIVE
from analyses.shared.seed_groups import Group, groups
from mechbp.report.claim import Claim
from mechbp.theory.chain.constrained_attention import Lags, PatternFit


@pytest.mark.parametrize(
    ("r2", "warp", "verdict"),
    [
        ((0.96, 0.97), (0.95, 0.961), "holds"),
        ((0.96, 0.97), (0.97, 0.96), "partly"),  # the warp does as well
        ((0.96, 0.7), (0, 0), "partly"),
        ((0.93, 0.94), (0, 0), "partly"),
        ((0.93, 0.7), (0, 0), "fails"),
    ],
)
def test_the_law_of_attention_has_to_describe_every_seed_and_better_than_its_look_alike(r2, warp, verdict):
    setting = SimpleNamespace(zeta=0.55, lags=(Lags(1, 1),), pattern=SimpleNamespace(spread=np.zeros((1, 2, 2))))
    fits = [[PatternFit(value, 0.99, 28)] for value in r2]
    rivals = [[PatternFit(value, 0.99, 28)] for value in warp]
    found = Attention(Group((RUN, RUN)), [setting] * 2, fits, rivals, fits[0], [])
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
        ({substitutions.WARP: 0.005}, "partly"),  # the look-alike of the law costs less
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
        substitutions.WARP: 0.02,
    }
    missed |= changes
    seeds = {name: np.array([missed[name]]) for name in substitutions.GRADED}
    found = substitutions.SubstitutionCosts(Group((RUN,)), None, missed, seeds, [0.99], 9)
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
    missed = np.stack([full, constrained, [0.15] * 3], axis=1)
    stages = ["layer 1 mid", "layer 1", "layer 2"]
    found = ObserverScores(SimpleNamespace(run=RUN), stages, [FULL, CONSTRAINED, NAIVE], missed, missed)
    claim = observers_claim(found)
    assert claim.verdict == verdict and "best of" in claim.measured
    assert UPDATES.grade("handover", claim.numbers | {"naive_missed": 0.05}) != "holds"  # a rival that describes it better


@pytest.mark.parametrize(
    ("parity", "cosine", "one_head", "verdicts"),
    [
        ((0.99, 0.92), -0.97, 6e-4, ("holds", "holds", "holds")),
        ((0.99, 0.85), -0.70, 4e-4, ("fails", "fails", "fails")),
    ],
)
def test_two_heads_have_to_share_oppose_and_be_needed(parity, cosine, one_head, verdicts, monkeypatch):
    monkeypatch.setattr(heads, "_untrained", lambda setting: SimpleNamespace(belief_cosine=0.1, stream_cosine=0.0))
    setting = SimpleNamespace(corpus=SimpleNamespace(length=5), lags=(Lags(2, 2), Lags(1, 2)))
    run = named("own", untrained=lambda seed: None)
    single = named("one", n_heads=1)
    exact = {
        name: SimpleNamespace(mean_nats=nats, relative=0.01, kl_uniform_nats=np.full(2, 8e-3))
        for name, nats in (("own", 1e-4), ("one", one_head))
    }
    splits = [heads.HeadPair(setting, list(parity), -0.5, cosine)]
    claims = heads.head_claims(Group((run,)), splits, exact, [run, single])
    assert tuple(claim.verdict for claim in claims) == verdicts
    assert heads.twin(run, [run]) is None and len(heads.head_claims(Group((run,)), splits, exact, [run])) == 2


def test_seeds_form_one_group_and_architectures_do_not():
    found = groups([RUN, named("own-h1", n_heads=1), named("own-s1"), named("own-b512", batch_size=512)])
    assert [[run.name for run in group.runs] for group in found] == [["own", "own-s1"], ["own-h1"], ["own-b512"]]
    assert found[0].title == "mess3, x 0.5, alpha 0.6, 2 heads, batches of 128"


@pytest.mark.parametrize(
    ("mid", "mid_exact", "post", "post_constrained", "verdicts"),
    [
        ((0.98, 0.981), (0.97, 0.97), (0.996, 0.997), (0.995, 0.996), ("holds", "holds")),
        ((0.98, 0.974), (0.97, 0.964), (0.996, 0.994), (0.99, 0.988), ("partly", "partly")),  # one seed misses the bound
        ((0.98, 0.981), (0.97, 0.97), (0.996, 0.997), (0.998, 0.999), ("holds", "partly")),  # the constrained one leads
        ((0.98, 0.981), (0.97, 0.97), (0.996, 0.997), (0.9959, 0.993), ("holds", "partly")),  # the interval holds 0
        ((0.98, 0.98), (0.99, 0.97), (0.98, 0.98), (0.99, 0.99), ("partly", "fails")),  # a sum over tokens does better
        ((0.9, 0.9), (0.91, 0.91), (0.991, 0.98), (0.992, 0.99), ("fails", "partly")),
    ],
)
def test_attention_adds_up_and_the_mlp_bends(mid, mid_exact, post, post_constrained, verdicts):
    scores = [
        {
            "Mid": {
                CONSTRAINED: score(held_out_r2=a),
                FULL: score(held_out_r2=b),
                NAIVE: score(held_out_r2=b),
                BEYOND: score(held_out_r2=0.1),
            },
            "Post": {CONSTRAINED: score(held_out_r2=d), FULL: score(held_out_r2=c), BEYOND: score(held_out_r2=0.9)},
            "final LN": {FULL: score()},
        }
        for a, b, c, d in zip(mid, mid_exact, post, post_constrained, strict=True)
    ]
    rest = dict.fromkeys((FULL, CONSTRAINED, BEYOND), score(held_out_r2=0.99))
    baselines = {"token and position": rest, "token history": rest}
    leading = {"Mid": score(), "final LN": score()}
    found = Stages(Group((RUN, RUN)), [], scores, scores[0], scores[0], baselines, None, leading, {}, None)
    claims = {claim.criterion: claim.verdict for claim in stage_claims(found)}
    assert (claims["mid"], claims["post"]) == verdicts
    assert claims["bend"] == "partly"  # random weights hold as much of what no sum can give


@pytest.mark.parametrize(
    ("key", "bounds"), [("attention", (0.95, 0.9)), ("values", (0.99, 0.9)), ("embeddings", (0.8, 0.5)), ("parity", (0.9, None))]
)
def test_every_seed_has_to_reach_the_bound(key, bounds):
    name = {"embeddings": "late_r2", "parity": "least_parity"}.get(key, "r2")
    least, some = bounds
    rivals = {"attention": {"law_less_warp_low": 0.1}, "values": {"less_equal_low": 0.1}}.get(key, {})
    cases = [([least, least + 0.001], "holds"), ([least, -1e6], "partly"), ([None, None], "fails")]
    if some is not None:
        cases += [([some + 1e-4] * 2, "partly"), ([some - 1e-4] * 2, "fails")]
    for values, verdict in cases:
        assert UPDATES.grade(key, {name: values} | rivals) == verdict
    if rivals:
        assert UPDATES.grade(key, {name: [least, least]} | dict.fromkeys(rivals, -0.1)) == "partly"


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


def test_the_first_form_of_a_run_decides_and_the_later_one_stands_beside_it():
    first, later = (Claim("a", "s", "r", text, "c", verdict) for text, verdict in (("R² 0.94", "partly"), ("R² 0.96", "holds")))
    (claim,) = once([first, later])
    assert claim.verdict == "partly" and claim.measured == "R² 0.94\ntrained again: supported; R² 0.96"
    other = replace(later, id="b")
    assert once([first, other]) == [first, other]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [((0.2, 0.2), (0.3, 0.3), "holds"), ((0.2, 0.1), (0.3, 0.2), "partly"), ((0.2, 0.2), (0.4, 0.4), "fails")],
)
def test_heads_have_to_fall_by_zeta_squared_rather_than_by_its_neighbours(low, high, verdict):
    numbers = {"low": list(low), "high": list(high), "slow": 0.5**1.5, "fast": 0.5**3}
    assert UPDATES.grade("own-decay", numbers) == verdict

"""How tree_paper judges, on both sides of every threshold, and which runs it takes for twins."""

from types import SimpleNamespace

import pytest
from small_runs import recipe, toml

from analyses.tree_paper.criteria import CRITERIA
from analyses.tree_paper.measurements import twins
from mechbp.models.runs import load

LED = dict(nearest=[0, 0], own_level=0, lead_low=[0.01, 0.01])
GOOD = {
    "exact": dict(kl_high_nats=0.0299, gap_high=0.0099),
    "nearest": LED,
    "mismatched": dict(margin_low=[0.01, 0.02]),
    "used": dict(pairs=[512, 100], means_low=[0.1, 0.1], above_shuffled_low=[0.1, 0.1], above_placebo_low=[0.1, 0.1]),
    "necessary": dict(pairs=[512, 100], obeyed_low=[0.1, 0.1], above_placebo_low=[0.1, 0.1]),
    "static": LED,
    "merging": dict(step_low_nats=[0.001, 0.002]),
    "construction": {**LED, "below_relabelled_low": 0.01, "below_uniform_low": 0.01},
    "levels": dict(rise_low=[0.1, 0.1]),
    "probe-order": dict(heights=[1, 2], blocks=[1, 2]),
    "token": dict(passes=True, twin_passes=False, better_low=[0.1, 0.1]),
}
CHANGES = [
    ("exact", dict(kl_high_nats=0.0301), "partly"),
    ("exact", dict(kl_high_nats=0.0301, gap_high=0.0101), "fails"),
    ("nearest", dict(nearest=[0, 1]), "partly"),
    ("nearest", dict(lead_low=[-0.01, 0.01]), "partly"),  # which is nearest is not settled
    ("nearest", dict(nearest=[1, 1]), "fails"),
    ("mismatched", dict(margin_low=[-0.01, 0.02]), "partly"),
    ("mismatched", dict(margin_low=[-0.01, -0.02]), "fails"),
    ("used", dict(means_low=[-0.1, 0.1]), "partly"),  # no more than losing the old message does
    ("used", dict(above_shuffled_low=[-0.1, -0.1]), "fails"),
    ("used", dict(above_placebo_low=[-0.1, -0.1]), "fails"),
    ("used", dict(pairs=[512, 99]), "short"),
    ("necessary", dict(obeyed_low=[-0.1, 0.1]), "partly"),
    ("necessary", dict(above_placebo_low=[-0.1, -0.1]), "fails"),  # a model that answers nothing in particular
    ("necessary", dict(pairs=[99, 512]), "short"),
    ("static", dict(nearest=[0, 1]), "partly"),
    ("static", dict(nearest=[1, 1]), "fails"),
    ("merging", dict(step_low_nats=[0.001, -0.001]), "partly"),
    ("merging", dict(step_low_nats=[-0.001, -0.001]), "fails"),
    ("construction", dict(nearest=[1, 1]), "partly"),
    ("construction", dict(nearest=[1, 1], below_uniform_low=-0.01), "fails"),
    ("construction", dict(below_relabelled_low=-0.01), "fails"),
    ("levels", dict(rise_low=[0.1, -0.1]), "partly"),
    ("levels", dict(rise_low=[-0.1, -0.1]), "fails"),
    ("probe-order", dict(blocks=[1, 3]), "partly"),
    ("probe-order", dict(blocks=[2, 1]), "fails"),
    ("token", dict(passes=False), "partly"),  # better than the twin, and not good enough
    ("token", dict(better_low=[0.1, -0.1]), "partly"),
    ("token", dict(twin_passes=True), "fails"),  # nothing failed, so nothing is the token's doing
    ("token", dict(better_low=[-0.1, -0.1]), "fails"),
]


def test_every_criterion_is_tested():
    assert set(GOOD) == {key for key, _, _ in CHANGES} == set(CRITERIA)


@pytest.mark.parametrize("key", GOOD)
def test_what_meets_every_condition_holds(key):
    assert CRITERIA.grade(key, GOOD[key]) == "holds"


@pytest.mark.parametrize(("key", "changes", "verdict"), CHANGES)
def test_one_condition_missed_is_seen(key, changes, verdict):
    assert CRITERIA.grade(key, {**GOOD[key], **changes}) == verdict


POST_NORM = {"kind": "post-norm", "n_layers": 2, "n_heads": 1, "d_model": 8, "d_mlp": 8}


def one(tmp_path, name, task, model=POST_NORM, **changes):
    tables = recipe(**{"objective__task": task, **changes})
    tables["model"] = model
    (tmp_path / name).mkdir()
    (tmp_path / name / "run.toml").write_text(toml(tables))
    return SimpleNamespace(run=load(tmp_path / name))


def test_twins_differ_in_the_token_alone(tmp_path):
    without, twin = one(tmp_path, "without", "root-all"), one(tmp_path, "twin", "root")
    plain = one(tmp_path, "plain", "root", {"n_layers": 2, "n_heads": 1, "d_model": 8, "d_mlp": 8})
    longer = one(tmp_path, "longer", "root", training__steps=50)
    filtered = one(tmp_path, "filtered", "root", process__filter_level=1)
    posteriors = one(tmp_path, "posteriors", "root", objective__targets="posteriors")
    assert twins([plain, longer, filtered, posteriors, twin, without]) == (without, twin)
    assert twins([without, plain, longer, filtered, posteriors]) is None
    assert twins([twin, plain]) is None

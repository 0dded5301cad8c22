"""The page on grammars and probes: tiny runs of two grammars end to end, and verdicts on both sides of every threshold."""

import numpy as np
import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from small_runs import write_run

from analyses.tree_robustness.ancestors import Ancestors
from analyses.tree_robustness.criteria import CRITERIA
from mechbp import study
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.criteria import regrade


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("grammars")
    kinds = {
        "masked": {"model__n_layers": 2},
        "other": {"process__seed": 1},
        "root": {"objective__task": "root"},
        "filtered": {"process__filter_level": 1},
    }
    folders = [write_run(root / name, training__steps=8, training__warmup_steps=2, **kind) for name, kind in kinds.items()]
    for folder in folders:
        train(folder)
    return tuple(load(folder) for folder in folders)


def test_grammars_are_compared_and_one_masked_run_is_probed(runs):
    page = study.analyse("tree_robustness", study.Study(runs, True, lambda text: None))
    verdicts = {claim.id: claim.verdict for claim in page.claims}
    probes = {f"masked-two-layer-{part}" for part in ("more", "blocks", "bounded")}
    assert set(verdicts) == {"grammars-root", "grammars-masked"} | probes
    assert verdicts["grammars-root"] == "short", "one grammar is no comparison"
    assert verdicts["grammars-masked"] != "short"
    for check in (claims_have_evidence, figures_can_be_drawn, survives_the_round_trip):
        check(page)
    assert regrade(page, CRITERIA) == [] and {claim.criterion for claim in page.claims} == set(CRITERIA)
    assert [section.reason[:8] for section in page.sections if section.status == "skipped"] == ["filtered"]


def test_the_top_of_the_block_is_the_ancestor_as_many_levels_up_as_layers(runs):
    hits = np.arange(4.0).reshape(1, 2, 2)  # [sequence, layer, depth]
    found = Ancestors(runs[0], {}, np.ones((3, 3)))
    np.testing.assert_array_equal(found.tops(hits), [[hits[0, 0, 1], hits[0, 1, 0]]])


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("grammars", {"closer_low": [0.1, 0.1], "nearer_low": [0.1, 0.1], "better_low": [0.1, 0.1], "grammars": 2}, "holds"),
        ("grammars", {"closer_low": [0.1, 0.1], "nearer_low": [0.1, -0.1], "better_low": [0.1, 0.1], "grammars": 2}, "partly"),
        ("grammars", {"closer_low": [0.0, 0.1], "nearer_low": [0.1, 0.1], "better_low": [0.1, 0.0], "grammars": 2}, "fails"),
        ("grammars", {"closer_low": [0.1, 0.1], "nearer_low": [0.1, 0.1], "better_low": [0.1, 0.1], "grammars": 1}, "short"),
        ("more", {"gain_low": [0.01, 0.01]}, "holds"),
        ("more", {"gain_low": [0.01, 0.0]}, "partly"),
        ("more", {"gain_low": [0.0, -0.1]}, "fails"),
        ("blocks", {"beyond_half_low": [0.1, 0.1], "beyond_random_low": [0.1, 0.1]}, "holds"),
        ("blocks", {"beyond_half_low": [0.1, 0.1], "beyond_random_low": [0.1, 0.0]}, "partly"),
        ("blocks", {"beyond_half_low": [0.1, 0.0], "beyond_random_low": [0.0, 0.1]}, "fails"),
        ("bounded", {"excess_low": [-0.1, 0.0]}, "holds"),
        ("bounded", {"excess_low": [-0.1, 0.01]}, "fails"),
        ("bounded", {"excess_low": []}, "fails"),
    ],
)
def test_the_bounds_stand_where_the_criteria_put_them(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict

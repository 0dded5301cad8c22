"""How analyses judge: verdicts on made measurements, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.shared.tree_attention import climbs, needs_levels, smallest_rise
from analyses.shared.tree_training import inclusions
from analyses.tree_mechanism.attention import _match_figure
from analyses.tree_mechanism.patching import _patch_claim
from mechbp.methods.attention.comparison import AttentionMatch
from mechbp.methods.patching.patch import PatchCell
from mechbp.methods.statistics.intervals import Interval
from mechbp.theory.tree.attention import LevelMass


def test_a_level_is_taken_in_when_its_oracle_stays_nearer():
    nearest_first = [(9, 9, 1), (9, 9, 1), (9, 1, 3), (9, 3, 1), (9, 1, 3), (2, 3, 4)]
    lines = [
        {"step": i, "sequences": 10 * i, **{f"kl_model_to_bp{k}_nats": value for k, value in enumerate(row)}}
        for i, row in enumerate(nearest_first)
    ]
    run = SimpleNamespace(
        metrics=lines, process=SimpleNamespace(depth=2), config=SimpleNamespace(process=SimpleNamespace(filter_level=0))
    )
    assert inclusions(run) == {0: 50, 1: 40}  # BP_1 led at step 2 already, but not for good
    run.metrics = lines[:4]
    assert inclusions(run) == {}


@pytest.mark.parametrize(("gap_low", "first_block", "verdict"), [(0.1, 0, "holds"), (-0.1, 0, "fails"), (0.1, 1, "fails")])
def test_the_order_at_the_root_needs_a_gap_and_a_later_block(gap_low, first_block, verdict):
    """Half of the effect arrives at the ROOT query, position 4, after block 2, or with `first_block` after block 1."""
    cells = [PatchCell(f"blocks.{layer}.{site}", 4, None) for layer in (0, 1) for site in ("hook_resid_pre", "hook_resid_post")]
    arrived = Interval(np.array([0, first_block, first_block, 1.0]), np.zeros(4), np.ones(4), 9)
    found = SimpleNamespace(cells=cells, normalized_effect=arrived, gap=SimpleNamespace(low=np.float64(gap_low)))
    config = SimpleNamespace(objective=SimpleNamespace(task="root"), model=SimpleNamespace(n_layers=2))
    run = SimpleNamespace(name="own", config=config, process=SimpleNamespace(n_leaves=4))
    assert _patch_claim(run, {"1 leaf redrawn": found, "2 leaves redrawn": found}).verdict == verdict


@pytest.mark.parametrize(
    ("averaged", "uniform", "verdict"),
    [
        ((0.004, 0.009), (0.2, 0.3), "holds"),
        ((0.004, 0.011), (0.2, 0.3), "partly"),  # the interval of the loss reaches beyond a hundredth of a nat
        ((0.004, 0.009), (0.09, 0.3), "partly"),  # that of uniform attention reaches below a tenth
        ((0.04, 0.051), (0.2, 0.3), "fails"),  # a quarter of uniform attention's loss
    ],
)
def test_levels_are_needed_where_averages_cost_nothing_and_uniform_attention_much(averaged, uniform, verdict):
    intervals = [Interval(*map(np.array, (np.mean(ends), *ends)), n=9) for ends in (averaged, uniform)]
    assert needs_levels(*intervals) == verdict


@pytest.mark.parametrize(("second", "climbing"), [(1.3, True), (1.2, False), (0.5, False)])
def test_blocks_climb_only_in_clear_steps(second, climbing):
    """One block looks at level 1, of the next one head at level 0 and the other between levels 1 and 2."""
    mass = np.zeros((2, 2, 3))
    mass[0, :, 1], mass[1, 0, 0] = 1, 1
    mass[1, 1, 1:] = (2 - second, second - 1) if second > 1 else (second, 0)
    found = LevelMass(Interval(mass, mass, mass, 9), np.ones(3) / 3, mass[None])
    assert found.mean_level == pytest.approx([1, second]) and climbs(found) == climbing
    assert smallest_rise(found) == pytest.approx(second - 1)


def test_every_model_is_shown_by_its_own_nearest_head():
    trained, control = np.array([[0.1, 0.5]]), np.array([[0.6, 0.4]])
    null = np.tile([[0.05, 0.6]], (19, 1, 1))
    null[1:, :, 0] = np.linspace(0.2, 0.3, 18)[:, None]
    null[5, :, 1] = 0.08  # nearer than the trained model's nearest head, by a head that is not its nearest
    uniform, ones = np.full((1, 2), 0.3), np.ones((1, 2))
    intervals = [Interval(values, values, values, 9) for values in (trained, ones, control, ones)]
    match = AttentionMatch(
        np.ones((1, 2, 4, 4)) / 4, intervals[0], intervals[1], ones, ones, null, uniform, uniform, *intervals[2:]
    )
    figure = _match_figure(SimpleNamespace(name="own"), match, "sibling-subtree")
    shown = {series["name"]: series["x"] for series in figure.data["series"]}
    assert [shown[name] for name in ("trained", "random weights", "uniform attention")] == [[0.1], [0.4], [0.3]]
    assert shown["relabelled leaves, 5 % point"] == pytest.approx([np.quantile(null.min(axis=2), 0.05)], rel=1e-5)
    assert "Permutation p by block: 0.150." in figure.caption and "p allows for that choice" in figure.caption

"""How the claims about probes, patching and attention judge: made measurements, one for every way to miss a claim."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.tree_mechanism.attention import _causal_claim, _levels_claim, _match_figure, _theory_claim
from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.patching import _patch_claim
from analyses.tree_mechanism.probes import _probe_claim
from mechbp.methods.attention.comparison import AttentionMatch
from mechbp.methods.patching.patch import PatchCell
from mechbp.methods.statistics.intervals import Interval
from mechbp.theory.tree.oracle_distances import Lead

NEVER = 3
"""In a model of two blocks."""


def between(low, high):
    return Interval(*map(np.array, ((low + high) / 2, low, high)), n=9)


def exactly(values):
    values = np.array(values, dtype=float)
    return Interval(values, values, values, 9)


def patch_claim(task, blocks, gap_low=0.1):
    """Half of the effect of every subtree, nearest first, is at the query after the block named, of two."""
    query = 4 if task == "root" else 0
    cells = [
        PatchCell(f"blocks.{layer}.{site}", query, None) for layer in (0, 1) for site in ("hook_resid_pre", "hook_resid_post")
    ]

    def found(block):
        arrived = [0, 0.5 if block == 1 else 0.49, 0, 0.5 if block <= 2 else 0.49]
        return SimpleNamespace(cells=cells, normalized_effect=exactly(arrived), gap=SimpleNamespace(low=np.float64(gap_low)))

    config = SimpleNamespace(objective=SimpleNamespace(task=task), model=SimpleNamespace(n_layers=2))
    run = SimpleNamespace(name="own", config=config, process=SimpleNamespace(n_leaves=4))
    return _patch_claim(run, {f"subtree {i}": found(block) for i, block in enumerate(blocks)})


@pytest.mark.parametrize(
    ("task", "blocks", "gap_low", "verdict"),
    [
        ("masked", (1, 2), 0.1, "holds"),
        ("masked", (1, 2), 0.0, "partly"),  # no effect to normalise by
        ("masked", (1, NEVER), 0.1, "partly"),
        ("masked", (1, 1, 2), 0.1, "partly"),
        ("masked", (2, 2), 0.1, "fails"),
        ("masked", (2, 1), 0.1, "fails"),
        ("masked", (1, 2, 1), 0.1, "fails"),
        ("root", (2, 2), 0.1, "holds"),
        ("root", (2, 2), 0.0, "fails"),
        ("root", (1, 2), 0.1, "fails"),
        ("root", (2, NEVER), 0.1, "fails"),
    ],
)
def test_farther_subtrees_arrive_later(task, blocks, gap_low, verdict):
    claim = patch_claim(task, blocks, gap_low)
    assert claim.verdict == verdict and claim.numbers["blocks"] == list(blocks)
    assert claim.criterion == ("patch-order-root" if task == "root" else "patch-order")


@pytest.mark.parametrize(
    ("blocks", "verdict"), [((1, 2, 3), "holds"), ((1, 1, 3), "partly"), ((2, 2, 2), "fails"), ((1, 3, 2), "fails")]
)
def test_every_height_has_its_writing_block(blocks, verdict, monkeypatch):
    written = {height: (block, 0.3, 0.9) for height, block in enumerate(blocks, 1)}
    monkeypatch.setattr("analyses.tree_mechanism.probes.writing_blocks", lambda run, grid: written)
    grid = SimpleNamespace(n_test=9, own_mean=lambda *named: exactly([0.1, 0.2]))
    assert _probe_claim(SimpleNamespace(name="own", process=SimpleNamespace(depth=3)), grid).verdict == verdict


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [([1, 1.26, 1.52], "holds"), ([1, 1.25, 1.6], "partly"), ([1, 2, 1.9], "partly"), ([1, 2, 1], "fails"), ([1], "holds")],
)
def test_blocks_climb_only_in_clear_steps(levels, verdict):
    mass = SimpleNamespace(mean_level=np.array(levels), mass=SimpleNamespace(n=9))
    assert _levels_claim(SimpleNamespace(name="own"), mass, mass).verdict == verdict


def ablation(**everywhere):
    """Losses of two blocks at once, the same in every sequence but for a little; either block alone loses nothing."""
    rows = [
        SimpleNamespace(
            replacement=name.replace("_", "-"),
            layers=layers,
            change=exactly(loss if len(layers) > 1 else 0),
            per_example=(loss if len(layers) > 1 else 0) + np.linspace(-0.001, 0.001, 9),
        )
        for name, loss in everywhere.items()
        for layers in ((0,), (1,), (0, 1))
    ]
    return SimpleNamespace(rows=rows, baseline=between(0.001, 0.002))


def lead(low, high=None):
    """The own oracle's lead over one other, both ways."""
    ends = low, low + 0.01 if high is None else high
    return Lead((0, 0), Interval(*(np.full((2, 1), end) for end in (np.mean(ends), *ends)), n=9))


RUN = SimpleNamespace(name="own", config=SimpleNamespace(process=SimpleNamespace(filter_level=0)))


@pytest.mark.parametrize(
    ("averaged", "uniform", "losses", "verdict"),
    [
        (lead(0.001), lead(-0.3), (0.05, 0.9), "holds"),
        (lead(-0.001), lead(-0.3), (0.05, 0.9), "partly"),  # another oracle may be as near with averages
        (lead(0.001), lead(-0.005), (0.05, 0.9), "partly"),  # uniform attention may leave the oracle the nearest
        (lead(-0.001), lead(-0.3), (0.9, 0.9), "fails"),  # averages serve no better than uniform attention
    ],
)
def test_levels_are_needed_where_averages_keep_the_oracle_and_uniform_attention_does_not(averaged, uniform, losses, verdict):
    found = ablation(block_average=losses[0], uniform=losses[1])
    leads = {"": lead(0.01), "block-average": averaged, "uniform": uniform}
    assert _causal_claim(RUN, found, leads, np.random.default_rng(0)).verdict == verdict


@pytest.mark.parametrize(
    ("js", "p", "theory", "losses", "verdict"),
    [
        ([0.29, 0.29], [0.05, 0.05], lead(0.001), (0.05, 0.9, 0.9), "holds"),
        ([0.29, 0.29], [0.05, 0.05], lead(-0.001), (0.05, 0.9, 0.9), "partly"),  # with the construction another oracle is as near
        ([0.29, 0.31], [0.05, 0.05], lead(0.001), (0.05, 0.9, 0.9), "partly"),  # one block is no nearer than uniform attention
        ([0.29, 0.29], [0.05, 0.051], lead(0.001), (0.05, 0.9, 0.9), "partly"),  # one is as near as to relabelled leaves
        ([0.29, 0.29], [0.05, 0.05], lead(-0.001), (0.9, 0.9, 0.95), "fails"),  # uniform attention serves as well
        ([0.29, 0.29], [0.05, 0.05], lead(-0.001), (0.9, 0.95, 0.9), "fails"),  # relabelled leaves do
    ],
)
def test_attention_is_the_constructions_where_it_keeps_the_oracle_and_beats_its_rivals(js, p, theory, losses, verdict):
    """Of two heads per block the nearer one counts, and so for uniform attention."""
    mean = exactly(np.stack([js, np.full(2, 0.6)], axis=1))
    match = SimpleNamespace(js_nats=mean, uniform_js_nats=np.array([[0.3, 0.4]] * 2), p_nearest_js=np.array(p))
    found = ablation(sibling_subtree=losses[0], uniform=losses[1], relabelled=losses[2])
    leads = {"": lead(0.01), "sibling-subtree": theory}
    assert _theory_claim(RUN, match, found, leads, np.random.default_rng(0)).verdict == verdict


@pytest.mark.parametrize("key", ["attribution-agrees", "integrated-agrees"])
@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "holds"),
        ({"gap_low": [0.1, 0.0]}, "short"),
        ({"gap_low": [0.1, None]}, "short"),
        ({"correlation_low": [0.95, 0.899]}, "fails"),
        ({"slope": [1.0, 0.79]}, "partly"),
        ({"slope": [1.21, 1.0]}, "partly"),
        ({"largest_error": [0.101, 0.0]}, "partly"),
    ],
    ids=str,
)
def test_an_estimate_is_good_where_it_ranks_and_sizes_the_cells_of_both_corruptions(key, change, verdict):
    numbers = {"gap_low": [0.1, 0.1], "correlation_low": [0.9, 0.95], "slope": [0.81, 1.19], "largest_error": [0.1, 0.0]}
    assert CRITERIA.grade(key, numbers | change) == verdict


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

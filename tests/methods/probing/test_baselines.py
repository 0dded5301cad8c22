"""Baselines of probes: features that no model computed, fitted on the same split and asked for the same targets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mechbp
from mechbp.errors import InputError
from mechbp.methods.probing.probe import probe

HOOKS = ["blocks.*.hook_resid_post"]


def test_a_baseline_that_holds_the_target_reads_it_and_noise_does_not(tiny_encoder):
    rng = mechbp.rng(0, "data")
    tokens = np.unique(rng.integers(0, 6, (600, 4)), axis=0)
    target = rng.dirichlet(np.ones(3), (len(tokens), 1))
    own = {"target": np.array([0, -1, 0, -1])}
    baselines = {"itself": target[:, 0], "noise": rng.normal(size=(len(tokens), 5))}
    grid = probe(
        tiny_encoder, tokens, {"target": target}, HOOKS, rng=mechbp.rng(0, "p"), own=own, only_own=True, baselines=baselines
    )  # fmt: skip
    assert list(grid.controls) == ["shuffled", "tokens", "itself", "noise"]
    assert_allclose(grid.own_mean("r2", "target", "itself").mean, [1, 1], rtol=0, atol=1e-9)
    assert (grid.own_mean("r2", "target", "noise").mean < 0.05).all()
    errors = grid.controls["itself"].per_example["target"]["squared_error"]
    assert errors.shape == grid.model.per_example["target"]["squared_error"].shape and errors.max() < 1e-9
    # Nothing is asked at the other positions, so that nothing is fitted there.
    r2 = grid.interval("r2", "target").mean[..., 0]
    assert np.isnan(r2[:, [1, 3]]).all() and np.isfinite(r2[:, [0, 2]]).all()


def test_positions_without_targets_change_nothing(tiny_encoder):
    rng = mechbp.rng(0, "data")
    tokens = np.unique(rng.integers(0, 6, (600, 4)), axis=0)
    target = rng.dirichlet(np.ones(3), (len(tokens), 1))
    ends = [
        probe(tiny_encoder, tokens, {"t": target}, HOOKS, rng=mechbp.rng(0, "p"), own={"t": own}, only_own=only_own)
        for own, only_own in ((np.array([0, -1, -1, -1]), True), (np.array([0, -1, -1, -1]), False))
    ]
    assert_allclose(*(grid.own_mean("r2", "t").mean for grid in ends), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["tokens", "short"])
def test_baselines_need_names_of_their_own_and_a_row_per_sequence(tiny_encoder, name):
    tokens = np.unique(mechbp.rng(0, "data").integers(0, 6, (300, 4)), axis=0)
    features = np.ones((len(tokens) - (name == "short"), 2))
    with pytest.raises(InputError, match=f"for '{name}'"):
        probe(
            tiny_encoder, tokens, {"t": np.full((len(tokens), 1, 2), 0.5)}, HOOKS, rng=mechbp.rng(0, "p"),
            baselines={name: features},
        )  # fmt: skip


def test_a_baseline_that_is_no_number_is_named_by_its_place(tiny_encoder):
    tokens = np.unique(mechbp.rng(0, "data").integers(0, 6, (300, 4)), axis=0)
    features = np.ones((len(tokens), 2))
    features[7, 1] = np.nan
    with pytest.raises(InputError, match="baseline 'mine' is nan at example 7, feature 1"):
        probe(
            tiny_encoder, tokens, {"t": np.full((len(tokens), 1, 2), 0.5)}, HOOKS, rng=mechbp.rng(0, "p"),
            baselines={"mine": features},
        )  # fmt: skip

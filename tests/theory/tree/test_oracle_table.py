"""The oracle tables: against exact averages, closed forms, and the sampled estimator they replace."""

import json
import re

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.oracle_table import OracleTable, oracle_table

PAPER = TreeGrammar.random(4, sigma=1.0, seed=0, recipe="paper")
TREES = [FilteredTree(PAPER, 2, k) for k in range(3)]
EXACT = {  # averages over all 256 sequences of depth 2
    "root": [[1, 0.66846, 0.43440], [0.82009, 0.81840, 0.48200], [0.68360, 0.67464, 0.68476]],
    "masked": [[0.62480, 0.55878, 0.35310], [0.59434, 0.59307, 0.36894], [0.48219, 0.47787, 0.43116]],
}


@pytest.fixture(scope="module")
def tables() -> dict[str, OracleTable]:
    return {task: oracle_table(TREES, 20_000, rng(0, "test", task), task) for task in ("root", "masked")}


@pytest.mark.parametrize("task", EXACT)
def test_accuracies_equal_the_exact_averages_within_their_error(tables, task):
    table = tables[task]
    assert (np.abs(table.accuracy - EXACT[task]) <= 4 * table.accuracy_se + 5e-6).all()
    assert table.accuracy_se.max() < 0.004


def test_a_table_with_oracles_and_data_exchanged_would_be_noticed(tables):
    assert not (np.abs(tables["root"].accuracy.T - EXACT["root"]) <= 4 * tables["root"].accuracy_se + 5e-6).all()


def test_matched_oracle_is_best_and_loses_nothing(tables):
    for table in tables.values():
        assert (table.accuracy.diagonal() >= table.accuracy.max(axis=0)).all()
        assert (table.kl_bp_data_to_bp_oracle_nats.diagonal() == 0).all()
        off_diagonal = table.kl_bp_data_to_bp_oracle_nats[~np.eye(3, dtype=bool)]
        assert (off_diagonal > 0).all()
        excess = table.cross_entropy_nats - table.cross_entropy_nats.diagonal()
        np.testing.assert_allclose(table.kl_bp_data_to_bp_oracle_nats, excess, rtol=0, atol=1e-12)


def test_low_variance_estimates_agree_with_counting_hits_on_sampled_answers():
    n, data, oracle = 20_000, TREES[2], TREES[0]
    sample = data.sample(n, rng(1))
    leaves = oracle.leave_one_out(sample.tokens)
    hits = (leaves.argmax(axis=-1) == sample.tokens).mean(axis=1)
    surprise = -np.log(np.take_along_axis(leaves, sample.tokens[..., None], axis=-1)[..., 0]).mean(axis=1)
    table = oracle_table(TREES, n, rng(2), "masked")
    for scores, mean, error in (
        (hits, table.accuracy[0, 2], table.accuracy_se[0, 2]),
        (surprise, table.cross_entropy_nats[0, 2], table.cross_entropy_se_nats[0, 2]),
    ):
        sampled_error = scores.std() / np.sqrt(n)
        assert abs(scores.mean() - mean) < 4 * np.hypot(sampled_error, error)
        assert error < sampled_error


def test_single_masks_are_never_clamped_and_roots_are(tables):
    """Single-mask posteriors of this grammar hold no zero; BP_0 is certain of a root that filtered data may not have."""
    assert (tables["masked"].clamped == 0).all()
    assert tables["root"].clamped[0, 0] == 0 and (tables["root"].clamped[0, 1:] > 1_000).all()
    assert (tables["root"].clamped[2] == 0).all()


def test_depends_on_the_generator_alone_and_turns_into_json(tables):
    again = oracle_table(TREES, 20_000, rng(0, "test", "root"), "root")
    assert json.dumps(again.to_dict()) == json.dumps(tables["root"].to_dict())
    assert again.to_dict()["filter_levels"] == (0, 1, 2) and again.to_dict()["floor"] == 1e-12


def test_samples_larger_than_one_step_are_averaged_whole():
    """5,000 sequences take two steps; a step left out would leave numbers from uninitialised memory."""
    table = oracle_table(TREES[:1], 5_000, rng(3), "root")
    assert table.accuracy[0, 0] == 1 and table.cross_entropy_nats[0, 0] == 0 and table.accuracy_se[0, 0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TREES, 100, rng(0), "leaf"), "oracle_table: task must be one of masked, root, got 'leaf'."),
        ((TREES, 1, rng(0), "masked"), "oracle_table: n must be an integer >= 2, got 1."),
        (
            ([*TREES, FilteredTree(PAPER, 3)], 100, rng(0), "masked"),
            "oracle_table: trees must share one (depth, vocab_size), got [(2, 4), (3, 4)].",
        ),
        (([], 100, rng(0), "masked"), "oracle_table: trees must share one (depth, vocab_size), got []."),
    ],
)
def test_wrong_questions_are_refused(arguments, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        oracle_table(*arguments)


@pytest.mark.parametrize(
    ("measure", "values", "error"),
    [
        ("kl", "kl_bp_data_to_bp_oracle_nats", "kl_bp_data_to_bp_oracle_se_nats"),
        ("accuracy", "accuracy", "accuracy_se"),
        ("cross_entropy", "cross_entropy_nats", "cross_entropy_se_nats"),
    ],
)
def test_what_is_drawn_is_the_score_asked_for_with_its_interval(tables, measure, values, error):
    (panel,) = tables["root"].picture(measure).data["panels"]
    for name, sign in (("values", 0), ("low", -1.96), ("high", 1.96)):
        expected = getattr(tables["root"], values) + sign * getattr(tables["root"], error)
        np.testing.assert_allclose(panel[name], expected, rtol=1e-4, atol=1e-6)


def test_nothing_is_warned_of_on_the_way():
    with np.errstate(all="raise"):
        found = oracle_table(TREES, 200, rng(0, "quiet"), "root")
    assert np.isfinite(found.accuracy).all()

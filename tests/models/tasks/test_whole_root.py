"""The root asked once of all final tokens: what is asked, of which models, on which pairs, and a run from recipe to verdict."""

import re

import numpy as np
import pytest
import torch
from small_runs import recipe, toml

from mechbp.errors import InputError
from mechbp.models.config import read_recipe
from mechbp.models.runs import load
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.tree import TREE
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.message_pairs import message_pairs

TREE3 = FilteredTree(TreeGrammar.random(3, 1.0, seed=0), 2)
SMALL = {"kind": "post-norm", "n_layers": 2, "n_heads": 1, "d_model": 8, "d_mlp": 8}


def test_root_all_asks_once_about_the_leaves_alone():
    task = TREE.tasks["root-all"]
    sample = TREE3.sample(6, rng(0, "root"))
    lesson = task.lesson(TREE3, ObjectiveConfig("root-all", targets="posteriors"), sample, rng(1))
    assert (lesson.inputs == sample.tokens).all() and lesson.reads[:, 0].all() and lesson.reads.sum() == 6
    np.testing.assert_allclose(lesson.targets, TREE3.beliefs(sample.tokens).marginals[0][:, 0])
    assert (task.lesson(TREE3, ObjectiveConfig("root-all"), sample, rng(1)).targets == sample.root).all()
    assert task.n_positions(TREE3) == TREE3.n_leaves
    np.testing.assert_array_equal(task.questions(TREE3, sample).truth[:, 0], sample.root)


def test_another_architecture_cannot_be_asked_once(tmp_path):
    (tmp_path / "run.toml").write_text(toml(recipe(objective__task="root-all")))
    with pytest.raises(InputError, match=re.escape("task 'root-all' reads all positions at once")):
        read_recipe(tmp_path / "run.toml")


@pytest.mark.parametrize("task", ["masked", pytest.param("root-all", marks=pytest.mark.slow)])
def test_a_run_is_trained_stored_loaded_and_verified(task, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    tables = recipe(objective__task=task, objective__targets="posteriors", training__steps=300, training__batch_size=32)
    if task == "root-all":
        del tables["objective"]["mask"]
    tables["model"] = SMALL
    tables["training"]["learning_rate"] = 3e-3
    (folder / "run.toml").write_text(toml(tables))
    train(folder)
    run = load(folder)
    first, last = run.metrics[0], run.metrics[-1]
    assert last["kl_bp0_to_model_nats"] < 0.7 * first["kl_bp0_to_model_nats"]
    assert {check.verdict for check in verify_run(run)} == {"pass"}
    control = run.untrained(seed=1)
    assert not torch.equal(control.embed.W_E, run.model.embed.W_E)


def test_pairs_for_a_root_asked_of_all_leaves_are_those_for_a_root_token_without_it():
    both = {task: message_pairs(TREE3, task, 1, 20, rng(0, "pairs")) for task in ("root", "root-all")}
    with_token, without = both["root"], both["root-all"]
    np.testing.assert_array_equal(without.base, with_token.base[:, :-1])
    np.testing.assert_array_equal(without.positions, with_token.positions[:, :-1])
    np.testing.assert_array_equal(without.expected, with_token.expected)
    assert (without.query == 0).all() and (with_token.query == TREE3.n_leaves).all()
    with pytest.raises(InputError, match="no downward message decides it"):
        message_pairs(TREE3, "root-all", 1, 20, rng(0, "pairs"), message="downward")

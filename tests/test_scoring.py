"""One call says how near a model is to the exact answer, and errors say what to pass."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import HookError, InputError
from mechbp.models.compiled.bp import compile_bp

TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(3, seed=0), 3)


@pytest.fixture(scope="module")
def run():
    return mechbp.load("mess3-x15-a60-exact")


def test_a_model_trained_on_exact_answers_is_near_them_and_a_blind_one_is_not(run):
    found = mechbp.score(run.model, run.process, task="next-token", n=400, rng=mechbp.rng(0, "score"))
    assert 0 < float(found.kl_bp_to_model_nats.high) < 1e-6 and found.accuracy.n == 400
    np.testing.assert_allclose(found.accuracy.mean, found.best_accuracy.mean, rtol=1e-4)
    told = found.summary().splitlines()
    assert len(told) == 4 and told[3] == "n = 400 sequences, 95% bootstrap intervals"
    with mechbp.edit(run.model, {"hook_embed": torch.zeros_like}):
        lost = mechbp.score(run.model, run.process, task="next-token", n=400, rng=mechbp.rng(0, "score"))
    assert float(lost.best_accuracy.mean) == float(found.best_accuracy.mean)  # the optimum's is no matter of the model
    assert float(lost.kl_bp_to_model_nats.low) > 1e-3 and float(lost.accuracy.mean) < float(lost.best_accuracy.mean)


def test_a_task_may_be_given_itself(run):
    named, given = (
        mechbp.score(run.model, run.process, task=task, n=50, rng=mechbp.rng(0, "s")) for task in ("next-token", run.task)
    )
    assert float(named.kl_bp_to_model_nats.mean) == float(given.kl_bp_to_model_nats.mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "next-word"}, r"a model of a FilteredTree can be asked 'masked', 'root', 'root-all', 'next-token', got"),
        ({"process": object()}, r"object belongs to no registered family"),
        ({"n": 0}, r"n must be an integer >= 1, got 0"),
        ({"rng": 3}, r"rng must be a numpy.random.Generator"),
    ],
)
def test_what_cannot_be_scored_is_refused(run, change, message):
    settings = {"process": TREE, "task": "masked", "n": 4, "rng": mechbp.rng(0, "score")} | change
    with pytest.raises(InputError, match=message):
        mechbp.score(run.model, settings.pop("process"), **settings)


def test_what_is_no_model_is_refused():
    with pytest.raises(HookError):
        mechbp.score(object(), TREE, task="masked", n=4, rng=mechbp.rng(0, "score"))


def test_outputs_of_another_number_are_refused():
    other = compile_bp(mechbp.FilteredTree(mechbp.TreeGrammar.random(2, seed=0), 3)).model
    with pytest.raises((InputError, HookError)):
        mechbp.score(other, TREE, task="masked", n=4, rng=mechbp.rng(0, "score"))

"""One call writes or erases a message: the same as step by step, with controls, and errors that say what to pass."""

import doctest

import numpy as np
import pytest
import torch

import mechbp
from mechbp import interchanging
from mechbp.errors import HookError, InputError
from mechbp.hooks import capture
from mechbp.message_questions import asked_of
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.interchange import erase, interchange
from mechbp.methods.interchange.leace import leace, projection
from mechbp.methods.interchange.message_test import ANOTHER_SOURCE, NOTHING, OTHER_MESSAGES, PLACEBO
from mechbp.methods.interchange.subspaces import Subspace, at_leaves, mean_subspace, probe_subspace, slot_subspace
from mechbp.models.compiled.bp import compile_bp
from mechbp.processes.chain.library import mess3
from mechbp.theory.chain.belief_pairs import belief_pairs
from mechbp.theory.tree.message_pairs import child_sides, message_pairs
from tests.support.belief_model import BeliefModel

HOOK = "blocks.1.hook_resid_post"
SIZES = {"n": 40, "n_fit": 300}


@pytest.fixture(scope="module")
def run():
    return mechbp.load("tree-mlm-k0")


@pytest.fixture(scope="module")
def compiled():
    return compile_bp(mechbp.FilteredTree(mechbp.TreeGrammar.random(4), 3))


def by_hand(run, rng):
    """Sequences masked as pairs are, the messages below nodes of depth 2, activations at the hook, and pairs."""
    tree = run.process
    tokens = tree.sample(300, rng).tokens
    hidden = rng.random(tokens.shape) < rng.uniform(0.0, 0.4, size=(len(tokens), 1))
    tokens = np.where(hidden, tree.mask_token, tokens)
    messages = at_leaves(tree.beliefs(tokens).upward[2], tree.n_leaves)
    pairs = message_pairs(tree, "masked", 2, 40, rng)
    return messages, capture(run.model, tokens, HOOK)[HOOK], pairs


@pytest.mark.parametrize(("name", "fitted", "dims"), [("means", mean_subspace, None), ("probe", probe_subspace, 2)])
def test_a_message_written_in_one_call_is_the_one_written_step_by_step(run, name, fitted, dims):
    rng = mechbp.rng(0, "i")
    messages, activations, pairs = by_hand(run, rng)
    subspace = fitted(activations, messages, dims or run.process.vocab_size - 1)
    expected = interchange(run.model, pairs, HOOK, {name: subspace}, rng=rng)
    found = mechbp.interchange(run.model, run.process, HOOK, 2, name, dims=dims, rng=mechbp.rng(0, "i"), **SIZES)
    assert found.edits == (*expected.edits, f"{name}{ANOTHER_SOURCE}")
    for name in ("target_kl_nats", "before_kl_nats", "bystander_kl_nats"):
        for edit, kl in getattr(expected, name).items():
            np.testing.assert_allclose(getattr(found, name)[edit], kl, rtol=0, atol=1e-6)  # float32 of another order of sums
    np.testing.assert_array_equal(found.rivals_kl_nats["exact answer without the message"], pairs.deletion_kl_nats)


@pytest.mark.parametrize(("name", "dims"), [("leace", None), ("means", 2)])
def test_a_message_erased_in_one_call_is_the_one_erased_step_by_step(run, name, dims):
    rng = mechbp.rng(0, "e")
    messages, activations, pairs = by_hand(run, rng)
    eraser = leace(activations, messages) if dims is None else projection(activations, mean_subspace(activations, messages, dims))
    expected = erase(run.model, pairs, HOOK, {name: eraser}, rng=rng)
    found = mechbp.erase(run.model, run.process, HOOK, 2, name, dims=dims, rng=mechbp.rng(0, "e"), **SIZES)
    assert found.edits == (NOTHING, name, f"{name}{PLACEBO}", f"{name}{OTHER_MESSAGES}")
    for edit, kl in expected.target_kl_nats.items():
        np.testing.assert_allclose(found.target_kl_nats[edit], kl, rtol=0, atol=1e-5)
    assert set(found.rivals_kl_nats) == {"another message", "everything forgotten"}


@pytest.mark.parametrize("call", [mechbp.interchange, mechbp.erase])
def test_every_answer_is_read_as_the_reading_says(compiled, call):
    """One that answers every symbol alike, whatever the logits: no edit moves it."""
    found = call(
        compiled.model, compiled.tree, "blocks.0.hook_resid_post", depth=2, rng=mechbp.rng(0, "u"), n=20, n_fit=200,
        reading=lambda logits: torch.full(logits.shape, 0.25, dtype=torch.float64).log(),
    )  # fmt: skip
    for kl in found.target_kl_nats.values():
        np.testing.assert_allclose(kl, found.target_kl_nats[NOTHING], rtol=0, atol=1e-12)


def test_controls_explain_nothing_where_the_message_has_an_address(compiled):
    """Before its block the slot of a message is all of it: no other source's message moves the answer so."""
    slot = slot_subspace("slot", compiled.model.cfg.d_model, compiled.slots["upward 1"].dims)
    found = mechbp.interchange(
        compiled.model, compiled.tree, "blocks.0.hook_resid_post", depth=2, subspace=slot,
        reading=proportional_reading, rng=mechbp.rng(0, "c"), **SIZES,
    )  # fmt: skip
    shares = {name: float(share.mean) for name, share in found.shares().items()}
    assert shares["slot"] > 1 - 1e-9 and shares["whole vector"] > 0.2
    assert shares[f"slot{PLACEBO}"] < 0.5 and shares[f"slot{ANOTHER_SOURCE}"] < 0.6
    assert all(found.is_control(name) for name in shares if name not in ("slot", "whole vector"))
    assert "n = 40 pairs" in found.summary() and "slot, another source" in found.summary().splitlines()[-1]


@pytest.mark.parametrize("subspace", ["means", "probe", "rotation"])
def test_the_belief_of_a_chain_is_written_by_the_same_call(subspace):
    hmm = mess3(0.05, 0.85)
    model = BeliefModel(hmm)
    hook = "blocks.0.hook_resid_post"
    found = mechbp.interchange(model, hmm, hook, position=4, subspace=subspace, rng=mechbp.rng(0, "b"), n=60, n_fit=500)
    shares = found.shares()
    assert float(shares[subspace].mean) > 0.98 and float(shares[f"{subspace}{ANOTHER_SOURCE}"].mean) < 0.6
    pairs = belief_pairs(hmm, 4, 60, mechbp.rng(0, "b"))
    assert found.rivals_kl_nats["exact answer without the message"].shape == (len(pairs),)
    erased = mechbp.erase(model, hmm, hook, position=4, rng=mechbp.rng(0, "b"), n=60, n_fit=500).shares()
    assert float(erased["leace"].mean) > 0.98 and float(erased[f"leace{OTHER_MESSAGES}"].mean) < 0.5


def asked(model, process, *, depth=None, position=None, message="upward", mask_rates=(0.0, 0.4)):
    return asked_of("x", model, process, depth, position, message, None, (8, 200), mask_rates, mechbp.rng(0, "asked"))


def test_what_is_fitted_to_of_a_chain_is_the_belief_after_the_token():
    hmm = mess3(0.05, 0.85)
    found = asked(BeliefModel(hmm), hmm, position=4)
    assert found.inputs.shape == (200, 5) and range(5)[found.positions] == range(4, 5) and found.dims == 2
    np.testing.assert_array_equal(found.messages[:, 0], hmm.beliefs(found.inputs)[:, 4 + 1])  # the first is of no token
    assert found.groups is None


@pytest.mark.parametrize("message", ["upward", "downward"])
def test_what_is_fitted_to_of_a_tree_is_the_message_that_is_named(compiled, message):
    tree = compiled.tree
    found = asked(compiled.model, tree, depth=2, message=message, mask_rates=(0.5, 0.5))
    np.testing.assert_array_equal(found.messages, at_leaves(getattr(tree.beliefs(found.inputs), message)[2], tree.n_leaves))
    assert found.groups == child_sides(tree, 2, tree.n_leaves).tolist() and len(set(found.groups)) > 1
    assert 0.4 < (found.inputs == tree.mask_token).mean() < 0.6


def test_every_source_is_exchanged_for_another():
    for n in (2, 3, 50):
        order = interchanging._others(n, mechbp.rng(0, n))
        assert sorted(order) == list(range(n)) and (order != np.arange(n)).all()


@pytest.mark.parametrize("task", ["root", "root-all"])
def test_root_tasks_are_asked_at_the_root(task):
    run = mechbp.load("tree-root-k0")
    if task == "root-all":
        with pytest.raises((HookError, InputError)):  # a model that reads a ROOT query is not asked once of all leaves
            mechbp.interchange(run.model, run.process, HOOK, depth=2, task=task, rng=mechbp.rng(0, "r"), n=8, n_fit=4)
        return
    found = mechbp.interchange(run.model, run.process, HOOK, depth=2, task=task, rng=mechbp.rng(0, "r"), **SIZES)
    assert float(found.shares()["whole vector"].mean) > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"process": mechbp.SortedLists(8, 3)},
            r"got SortedLists.\nOf topics use .*, of lists mechbp.theory.sorting.head_interchange",
        ),
        ({"process": object()}, "got object"),
        (
            {"depth": None},
            "name the message by depth=, the level of the nodes that send it, where 1 is next to the root; got neither",
        ),
        ({"position": 3}, "where 1 is next to the root; got depth=2, position=3"),
        ({"depth": 9}, "at depths 1..4, got depth 9"),
        ({"task": "next-token"}, "are asked masked or root or root-all, got task='next-token'"),
        ({"subspace": "mean"}, "subspace must be 'means', 'probe', 'rotation' or a Subspace, got 'mean'"),
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"mask_rates": (0.5, 0.2)}, "mask_rates must be 0 <= low <= high < 1"),
        ({"rng": 3}, "rng must be a numpy.random.Generator"),
        ({"subspace": Subspace("wide", np.eye(3)[None])}, "'wide' is for activations of 3 dimensions"),
    ],
)
def test_what_cannot_be_written_is_refused(run, change, message):
    given = {"process": run.process, "depth": 2, "rng": mechbp.rng(0, "x"), **SIZES, **change}
    with pytest.raises(InputError, match=message):
        mechbp.interchange(run.model, given.pop("process"), HOOK, **given)


def test_what_cannot_be_erased_is_refused(run):
    with pytest.raises(InputError, match="eraser must be 'leace', 'means' or an Eraser, got 'mean'"):
        mechbp.erase(run.model, run.process, HOOK, depth=2, eraser="mean", rng=mechbp.rng(0, "x"))
    with pytest.raises(HookError, match="No hook matches 'blocks.9"):
        mechbp.erase(run.model, run.process, "blocks.9.hook_resid_post", depth=2, rng=mechbp.rng(0, "x"), **SIZES)
    for ask in (mechbp.interchange, mechbp.erase):  # the hook, though a depth is missing too
        with pytest.raises(HookError, match="No hook matches 'blocks.9"):
            ask(run.model, run.process, "blocks.9.hook_resid_post", rng=mechbp.rng(0, "x"))
    with pytest.raises(HookError):
        mechbp.erase(object(), run.process, HOOK, depth=2, rng=mechbp.rng(0, "x"))


@pytest.mark.parametrize("module", [interchanging, mechbp.metrics], ids=["interchanging", "metrics"])
def test_examples_run(module):
    results = doctest.testmod(module)
    assert results.attempted >= 3 and results.failed == 0


def test_a_compiled_model_is_read_as_it_answers_and_a_reading_must_be_log_probabilities():
    tree = mechbp.FilteredTree(mechbp.TreeGrammar.random(vocab_size=3, seed=1), depth=3)
    compiled = mechbp.compile_bp(tree)
    assert mechbp.score(compiled.model, tree, task="masked", n=50, rng=mechbp.rng(0, "s")).kl_bp_to_model_nats.high < 1e-9
    asked = {"depth": 2, "n": 40, "n_fit": 500, "rng": mechbp.rng(0, "i")}
    found = mechbp.interchange(compiled.model, tree, "blocks.0.hook_resid_post", **asked)
    assert found.explained("whole vector", mechbp.rng(0, "b")).low > 0.999
    for reading, message in ((compiled.probabilities, "must return log-probabilities"), ("linear", "must map logits")):
        with pytest.raises(InputError, match=message):
            mechbp.interchange(compiled.model, tree, "blocks.0.hook_resid_post", reading=reading, **asked)

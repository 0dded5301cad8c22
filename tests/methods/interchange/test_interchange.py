"""Interchange, rotations and erasure where the truth is known: a compiled model whose messages have an address."""

import dataclasses

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import HookError, InputError, TooFewSequences
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.continuation import Continuation
from mechbp.methods.interchange.das import learn_rotation
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, erase, interchange
from mechbp.methods.interchange.leace import Eraser, leace, projection
from mechbp.methods.interchange.pairs import LEAST_NATS
from mechbp.methods.interchange.subspaces import (
    Subspace,
    at_leaves,
    mean_subspace,
    probe_subspace,
    random_subspace,
    slot_subspace,
)
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.message_pairs import MessagePairs, message_pairs

DEPTH = 3


@pytest.fixture(scope="module")
def compiled() -> CompiledBP:
    return compile_bp(FilteredTree(mechbp.TreeGrammar.random(4), DEPTH))


@pytest.fixture(scope="module")
def pairs(compiled: CompiledBP) -> dict[int, MessagePairs]:
    return {d: message_pairs(compiled.tree, "masked", d, 60, mechbp.rng(0, "pairs", d)) for d in range(1, DEPTH + 1)}


def stage(m: int) -> str:
    return f"blocks.{m - 1}.hook_resid_post" if m else "blocks.0.hook_resid_pre"


def slot(compiled: CompiledBP, name: str) -> Subspace:
    return slot_subspace(name, compiled.model.cfg.d_model, compiled.slots[name].dims)


def explained(compiled: CompiledBP, pairs: MessagePairs, m: int, subspaces: dict[str, Subspace]) -> dict[str, float]:
    test = interchange(compiled.model, pairs, stage(m), subspaces, rng=mechbp.rng(0, "placebo"), reading=proportional_reading)
    return {edit: float(test.explained(edit, mechbp.rng(0)).mean) for edit in test.edits}


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_message_obeys_at_its_address_and_nowhere_else(compiled: CompiledBP, pairs: dict, depth: int) -> None:
    """The slot of the upward message, where the next block reads it, is the whole effect; any other slot or stage is none."""
    m = DEPTH - depth
    others = {f"upward {other}": slot(compiled, f"upward {other}") for other in range(DEPTH + 1) if other != m}
    at = explained(compiled, pairs[depth], m, {"right": slot(compiled, f"upward {m}"), **others})
    assert at[NOTHING] == 0 and at["right"] > 1 - 1e-9
    assert all(abs(at[name]) < 1e-9 for name in others)
    for later in range(m + 1, DEPTH + 1):
        gone = explained(compiled, pairs[depth], later, {"right": slot(compiled, f"upward {m}")})
        assert abs(gone["right"]) < 1e-9 and gone[WHOLE] < 0.9


@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_inside_the_subtree_moves(compiled: CompiledBP, pairs: dict, depth: int) -> None:
    m = DEPTH - depth
    test = interchange(
        compiled.model, pairs[depth], stage(m), {"message": slot(compiled, f"upward {m}")},
        rng=mechbp.rng(0), reading=proportional_reading,
    )  # fmt: skip
    assert (
        float(test.side_effect("message", mechbp.rng(0)).mean) < 1e-9 < 0.1 < float(test.side_effect(WHOLE, mechbp.rng(0)).mean)
    )


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_conditional_means_find_the_slot(compiled: CompiledBP, pairs: dict, depth: int) -> None:
    m, tree = DEPTH - depth, compiled.tree
    tokens = tree.sample(800, mechbp.rng(0, "fit")).tokens
    found = mechbp.capture(compiled.model, tokens, stage(m))[stage(m)].numpy()
    messages = at_leaves(tree.beliefs(tokens).upward[depth], tree.n_leaves)
    means = mean_subspace(found, messages, 3)
    inside = np.square(means.basis[:, compiled.slots[f"upward {m}"].dims]).sum(axis=1)
    assert inside.shape == (8, 3) and inside[:, 0].min() > 0.3  # older slots covary with the message too
    at = explained(compiled, pairs[depth], m, {"means": means})
    assert at["means"] > 2 * at["means, placebo"]


def test_a_rotation_is_learnt_where_the_message_is() -> None:
    """In a trained model: after block 2, where the message two levels up is used, and not one block later, where it is idle."""
    run = mechbp.load("tree-mlm-k0")
    training, held_out = (message_pairs(run.process, "masked", 2, n, mechbp.rng(0, "pairs", n)) for n in (600, 100))
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters()}
    found = {}
    for m in (2, 3):
        subspace = learn_rotation(run.model, training, stage(m), 3, rng=mechbp.rng(0, "rotation"), steps=60)
        np.testing.assert_allclose(subspace.basis[0].T @ subspace.basis[0], np.eye(3), rtol=0, atol=1e-5)
        test = interchange(run.model, held_out, stage(m), {"learned": subspace}, rng=mechbp.rng(0))
        found[m] = [float(test.explained(edit, mechbp.rng(0)).mean) for edit in ("learned", "learned, placebo")]
    assert found[2][0] > 0.6 > 0.4 > found[2][1] and found[3][0] < 0.2
    for name, parameter in run.model.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None and parameter.requires_grad


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_erasing_the_slot_is_missed_only_while_it_is_read(compiled: CompiledBP, pairs: dict, depth: int) -> None:
    """Set to a constant, the message says nothing: the answer is that of belief propagation with the subtree hidden."""
    m, d_model = DEPTH - depth, compiled.model.cfg.d_model
    removed = np.zeros((8, d_model, d_model))
    dims = compiled.slots[f"upward {m}"].dims
    removed[:, dims, dims] = np.eye(4)
    mean = np.zeros((8, d_model))
    mean[:, dims] = 1
    constant = Eraser("constant", mean, removed)
    for at in range(m, DEPTH + 1):
        test = erase(
            compiled.model, pairs[depth], stage(at), {"erased": constant}, rng=mechbp.rng(0), reading=proportional_reading
        )
        share = float(test.explained("erased", mechbp.rng(0)).mean)
        assert share > 1 - 1e-9 if at == m else abs(share) < 1e-9


@pytest.fixture(scope="module")
def cloud() -> tuple[np.ndarray, np.ndarray]:
    """Activations [n, 2 positions, 6] that carry messages of 3 symbols along known directions, among correlated noise."""
    rng = mechbp.rng(0, "cloud")
    messages = rng.dirichlet(np.ones(3), size=(3000, 2))
    noise = rng.normal(size=(3000, 2, 6)) @ rng.normal(size=(6, 6))
    return noise + 5 * messages @ np.eye(3, 6), messages


def test_leace_leaves_no_covariance_and_moves_least(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    activations, messages = cloud
    eraser = leace(activations, messages)
    kept = eraser.erased(torch.from_numpy(activations)).numpy()
    for position in range(2):
        cross = (kept[:, position] - kept[:, position].mean(0)).T @ (messages[:, position] - messages[:, position].mean(0))
        assert np.abs(cross).max() / len(kept) < 1e-10
        again = eraser.removed[position] @ eraser.removed[position]
        np.testing.assert_allclose(again, eraser.removed[position], rtol=0, atol=1e-9)  # erasing twice is erasing once
        assert np.linalg.matrix_rank(eraser.removed[position]) == 2
    np.testing.assert_allclose(kept.mean(axis=0), activations.mean(axis=0), rtol=0, atol=1e-9)
    cross = mean_subspace(activations, messages, 2)
    orthogonal = projection(activations, cross).erased(torch.from_numpy(activations)).numpy()
    assert np.square(kept - activations).sum() < np.square(orthogonal - activations).sum()


def test_subspaces_read_or_move(cloud: tuple[np.ndarray, np.ndarray]) -> None:
    """Means span the directions of change, probes the directions that read best; in correlated noise these differ."""
    activations, messages = cloud
    means, probe = (fit(activations, messages, 2).basis for fit in (mean_subspace, probe_subspace))
    difference = np.array([[1, -1, 0, 0, 0, 0], [1, 1, -2, 0, 0, 0]]).T
    for position in range(2):
        inside = means[position] @ means[position].T @ difference
        assert np.linalg.norm(inside - difference) < 0.15 * np.linalg.norm(difference)
        overlap = np.linalg.svd(means[position].T @ probe[position])[1]
        assert overlap.min() < 0.9
        np.testing.assert_allclose(probe[position].T @ probe[position], np.eye(2), rtol=0, atol=1e-12)


def test_pairs_are_what_they_say(compiled: CompiledBP, pairs: dict) -> None:
    tree = compiled.tree
    for depth, found in pairs.items():
        rows, width = np.arange(len(found)), 2 ** (DEPTH - depth)
        below = np.arange(8) // width == found.nodes[:, None]
        np.testing.assert_array_equal(found.positions, below)
        assert not below[rows, found.query].any() and (found.base[rows, found.query] == tree.mask_token).all()
        np.testing.assert_allclose(found.before, tree.beliefs(found.base).marginals[DEPTH][rows, found.query])
        spliced = np.where(below, found.source, found.base)
        np.testing.assert_allclose(found.expected, tree.beliefs(spliced).marginals[DEPTH][rows, found.query], atol=1e-12)
        masked = np.where(below, tree.mask_token, found.base)
        np.testing.assert_allclose(found.without, tree.beliefs(masked).marginals[DEPTH][rows, found.query], atol=1e-12)
        moved = (found.expected * np.log(np.maximum(found.expected, 1e-12) / np.maximum(found.before, 1e-12))).sum(axis=1)
        assert moved.min() > 0.9 * LEAST_NATS and 0 < found.share_kept < 1
        if depth < DEPTH:
            assert found.bystander is not None and below[rows, found.bystander].all()
        else:
            assert found.bystander is None


def test_downward_pairs_ask_inside(compiled: CompiledBP) -> None:
    found = message_pairs(compiled.tree, "masked", 1, 40, mechbp.rng(0), message="downward")
    rows = np.arange(len(found))
    assert found.bystander is not None
    assert found.positions[rows, found.query].all() and not found.positions[rows, found.bystander].any()
    spliced = np.where(found.positions, found.base, found.source)
    exact = compiled.tree.beliefs(spliced).marginals[DEPTH][rows, found.query]
    np.testing.assert_allclose(found.expected, exact, atol=1e-12)  # the source's outside, the base's inside


def test_root_pairs_read_the_query_token() -> None:
    tree = FilteredTree(mechbp.TreeGrammar.random(4), 3, 1)
    found = message_pairs(tree, "root", 2, 40, mechbp.rng(0))
    assert found.base.shape == (40, 9) and (found.base[:, 8] == tree.root_token).all() and not found.positions[:, 8].any()
    assert (found.query == 8).all() and found.bystander is None
    spliced = np.where(found.positions[:, :8], found.source[:, :8], found.base[:, :8])
    np.testing.assert_allclose(found.expected, tree.beliefs(spliced).marginals[0][:, 0], atol=1e-12)


def test_mismatched_pairs_keep_the_sequences(pairs: dict) -> None:
    found = pairs[2].mismatched(mechbp.rng(0))
    assert found.base is pairs[2].base and not np.allclose(found.expected, pairs[2].expected)
    np.testing.assert_allclose(np.sort(found.expected, axis=0), np.sort(pairs[2].expected, axis=0))


def test_continuing_equals_editing(compiled: CompiledBP, pairs: dict) -> None:
    """Between blocks the model restarts; elsewhere it runs with the activation written in. Both give the same logits."""
    base, source = pairs[2].base, pairs[2].source
    for hook in ("blocks.1.hook_resid_pre", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post", "blocks.1.hook_mlp_out"):
        place = Continuation.at(compiled.model, hook)
        written = place.activation(source)
        with torch.no_grad(), mechbp.edit(compiled.model, {hook: lambda _, written=written: written}):
            expected = compiled.model(torch.from_numpy(base))
        with torch.no_grad():
            torch.testing.assert_close(place.logits(base, written), expected, rtol=0, atol=1e-12)


def test_placebos_have_the_norm_of_the_true_change(compiled: CompiledBP, pairs: dict) -> None:
    place = Continuation.at(compiled.model, stage(1))
    base, source = place.activation(pairs[2].base), place.activation(pairs[2].source)
    placebo = random_subspace(8, compiled.model.cfg.d_model, 3, mechbp.rng(0))
    np.testing.assert_allclose(placebo.basis.transpose(0, 2, 1) @ placebo.basis, np.tile(np.eye(3), (8, 1, 1)), atol=1e-12)
    part = placebo.part(source - base)
    torch.testing.assert_close(placebo.part(part), part, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, p: message_pairs(c.tree, "masked", 0, 9, mechbp.rng(0)), InputError, r"need depth in 1\.\.3"),
        (lambda c, p: message_pairs(c.tree, "root", 1, 9, mechbp.rng(0), message="downward"), InputError, "no downward message"),
        (lambda c, p: message_pairs(c.tree, "masked", 3, 1, mechbp.rng(0)), TooFewSequences, "at least 8 are needed"),
        (lambda c, p: message_pairs(c.tree, "masked", 2, 9, mechbp.rng(0), mask_rates=(0.5, 0.1)), InputError, "low <= high < 1"),
        (
            lambda c, p: interchange(c.model, p, stage(1), {"x": slot_subspace("x", 9, slice(2))}, rng=mechbp.rng(0)),
            InputError,
            "9 dim",
        ),
        (
            lambda c, p: interchange(c.model, p, stage(1), {"x": 3}, rng=mechbp.rng(0)),
            InputError,
            "must be of type Subspace, got int",
        ),
        (
            lambda c, p: erase(
                c.model, p, stage(1), {"x": Eraser("e", np.zeros((5, 9)), np.zeros((5, 9, 9)))}, rng=mechbp.rng(0)
            ),
            InputError,
            "'x' has 5 positions, the pairs have 8",
        ),
        (
            lambda c, p: interchange(
                c.model, p, stage(1), {}, rng=mechbp.rng(0), reading=lambda said: said[..., :2].log_softmax(-1)
            ),
            InputError,
            r"answers, as read, are \[\d+, 2\], the exact ones \[\d+, 4\]",
        ),
        (lambda c, p: Continuation.at(c.model, "blocks.*.hook_resid_post"), HookError, "matches 3 hooks"),
        (lambda c, p: Continuation.at(c.model, "blocks.0.attn.hook_pattern").activation(p.base), HookError, "positions, d"),
        (lambda c, p: learn_rotation(c.model, p, stage(1), 0, rng=mechbp.rng(0)), InputError, "need 1 <= dims"),
        (lambda c, p: mean_subspace(np.zeros((9, 8, 4)), np.zeros((9, 4, 4)), 2), InputError, "subspace: need activations"),
        (lambda c, p: at_leaves(np.zeros((2, 3, 4)), 8), InputError, "3 nodes are no level"),
    ],
)
def test_refusals(compiled: CompiledBP, pairs: dict, call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(compiled, pairs[2])


def test_unknown_edits_are_named(compiled: CompiledBP, pairs: dict) -> None:
    test = interchange(compiled.model, pairs[3], stage(0), {}, rng=mechbp.rng(0), reading=proportional_reading)
    with pytest.raises(InputError, match="no edit 'probe' here; there are nothing, whole vector"):
        test.explained("probe", mechbp.rng(0))
    with pytest.raises(InputError, match="there are none"):
        test.side_effect(WHOLE, mechbp.rng(0))
    assert dataclasses.is_dataclass(test)

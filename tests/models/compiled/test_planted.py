"""Planted circuits: the answers are those of the plain construction, and the truth about every slot is true."""

import numpy as np
import pytest
import torch
from compiled_cases import exact, make_tree, masked_data, normalised

import mechbp
from mechbp.errors import InputError
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.planted import correlated_decoy, redundant_copy, written_never_read

PLANTS = {"copy": redundant_copy, "unread": written_never_read, "decoy": correlated_decoy}
TREE = make_tree("ambiguous", 3, 4)
TOKENS = masked_data(TREE, 80, "planted")


def edited_answers(compiled, edits):
    """Answers with the values of some slots replaced: {name: value -> value}, at the hook where each is readable first."""
    hooks = {}
    for name, function in edits.items():
        hooks.setdefault(compiled.slots[name].readable_from, []).append((compiled.slots[name].dims, function))

    def apply(parts):
        def write(activation):
            for dims, function in parts:
                activation[..., dims] = function(activation[..., dims])
            return activation

        return write

    with mechbp.edit(compiled.model, {hook: apply(parts) for hook, parts in hooks.items()}):
        return compiled.probabilities(compiled.model(torch.from_numpy(TOKENS))).detach().numpy()


def from_elsewhere(value):
    """Every sequence gets what its neighbour in the batch has: another message, of a natural kind."""
    return value.roll(1, dims=0)


def moved(compiled, edits):
    """The largest change of an answer; answers that are gone count as 1."""
    change = np.abs(edited_answers(compiled, edits) - compiled.answers(TOKENS))
    return float(np.where(np.isnan(change), 1.0, change).max())


@pytest.mark.parametrize("answer", ["leaf", "root"])
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("plant", PLANTS)
def test_the_answers_are_those_of_the_plain_construction(plant, level, answer):
    found = PLANTS[plant](TREE, level, answer).answers(TOKENS)
    assert np.abs(found - compile_bp(TREE, answer=answer).answers(TOKENS)).max() < 1e-10
    assert np.abs(found - exact(TREE, answer, TOKENS)).max() < 1e-10


@pytest.mark.parametrize("answer", ["leaf", "root"])
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("plant", PLANTS)
def test_the_truth_about_use_and_necessity_is_true(plant, level, answer):
    compiled = PLANTS[plant](TREE, level, answer)
    assert len(compiled.truth) == 2
    for fact in compiled.truth:
        assert (moved(compiled, {fact.slot: from_elsewhere}) > 0.1) == fact.used, fact
        assert (moved(compiled, {fact.slot: torch.zeros_like}) > 0.1) == fact.necessary, fact
        if not fact.used:
            for edit in (from_elsewhere, torch.zeros_like, lambda value: value + 1e3):
                assert np.array_equal(
                    edited_answers(compiled, {fact.slot: edit}), edited_answers(compiled, {fact.slot: lambda v: v})
                )
        assert bool(compiled.slots[fact.slot].read_by) == fact.used


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_one_of_two_copies_can_go_and_both_cannot(level):
    compiled = redundant_copy(TREE, level)
    pair = (f"upward {level}", f"upward {level} copy")
    for one in pair:
        assert moved(compiled, {one: torch.zeros_like}) < 1e-10
    assert moved(compiled, dict.fromkeys(pair, torch.zeros_like)) > 0.5
    assert moved(compiled, {pair[1]: from_elsewhere}) > 0.1


def test_the_copy_and_the_unread_slot_hold_the_message_exactly():
    for level in (1, 2, 3):
        for plant, (one, other) in {
            redundant_copy: (f"upward {level}", f"upward {level} copy"),
            written_never_read: (f"sibling {level}", f"sibling {level} unread"),
        }.items():
            compiled = plant(TREE, level)
            residual = mechbp.capture(compiled.model, TOKENS, ["blocks.3.hook_resid_post"])["blocks.3.hook_resid_post"]
            assert torch.equal(compiled.slots[one].of(residual), compiled.slots[other].of(residual))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_decoy_is_the_left_childs_message_and_only_correlated_with_the_whole(level):
    compiled = correlated_decoy(TREE, level)
    slot = compiled.slots[f"upward {level} decoy"]
    decoy = normalised(slot.of(mechbp.capture(compiled.model, TOKENS, [slot.readable_from])[slot.readable_from]).numpy())
    leaf = np.arange(16)
    left_only = TOKENS.reshape(80, 2 ** (4 - level), 2, -1).copy()
    left_only[:, :, 1] = TREE.mask_token
    expected = TREE.beliefs(left_only.reshape(80, 16)).upward[4 - level][:, leaf >> level]
    assert np.abs(decoy - expected).max() < 1e-12
    message = TREE.beliefs(TOKENS).upward[4 - level][:, leaf >> level]
    assert 0.15 < r_squared(decoy, message) < 0.9
    assert r_squared(decoy, message[np.roll(np.arange(80), 1)]) < 0.05


def r_squared(features, targets):
    """In-sample R² of least squares with an intercept, sequences and positions pooled."""
    x = np.column_stack([features.reshape(-1, 3), np.ones(features[..., 0].size)])
    y = targets.reshape(-1, 3)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return 1 - (residual**2).sum() / ((y - y.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize(
    ("plant", "level"), [("copy", 4), ("copy", -1), ("unread", 4), ("decoy", 0), ("decoy", 4), ("copy", True)]
)
def test_levels_that_do_not_exist_are_refused(plant, level):
    with pytest.raises(InputError, match=r"level must be an integer in \d..3, counted from the leaf"):
        PLANTS[plant](TREE, level)


def test_wrong_arguments_are_refused_as_by_the_plain_construction():
    with pytest.raises(InputError, match="answer must be one of leaf, root"):
        redundant_copy(TREE, 1, "both")
    with pytest.raises(InputError, match="redundant_copy: tree must be a FilteredTree, got TreeGrammar"):
        redundant_copy(TREE.grammar, 1)

"""Hooks on parts of a residual stream: they show it, edits reach it, and the model computes what it did."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import HookError
from mechbp.methods.patching.patch import patch
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.part_hooks import add_part_hooks

TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(3, seed=0), 2)
HOOK = "blocks.0.hook_resid_post"


@pytest.fixture
def compiled():
    return compile_bp(TREE)


@pytest.fixture
def tokens():
    return TREE.sample(6, mechbp.rng(0, "parts")).tokens


def test_the_model_computes_what_it_did_and_parts_are_slices(compiled, tokens):
    before = compiled.model(torch.from_numpy(tokens))
    dims = [compiled.slots[name].dims for name in ("upward 1", "joint 1")]
    names = add_part_hooks(compiled.model, {HOOK: dims})[HOOK]
    assert names == ("blocks.0.part_00.hook_resid_post", "blocks.0.part_01.hook_resid_post")
    assert torch.equal(compiled.model(torch.from_numpy(tokens)), before)
    seen = mechbp.capture(compiled.model, tokens, [HOOK, *names])
    for name, where in zip(names, dims, strict=True):
        assert torch.equal(seen[name], seen[HOOK][..., where])


def test_writing_a_part_writes_these_dimensions_alone(compiled, tokens):
    dims = compiled.slots["upward 1"].dims
    (name,) = add_part_hooks(compiled.model, {HOOK: [dims]})[HOOK]
    held = mechbp.capture(compiled.model, tokens, HOOK)[HOOK]
    with mechbp.edit(compiled.model, {name: torch.zeros_like}):
        edited = mechbp.capture(compiled.model, tokens, HOOK)[HOOK]
    changed = np.flatnonzero((edited != held).any(dim=0).any(dim=0))
    assert set(changed) == set(range(dims.start, dims.stop)) and not edited[..., dims].any()


def test_a_patch_of_a_part_is_that_of_the_stream_where_nothing_else_differs(compiled, tokens):
    """All of the stream in one part: restarts at the patched block must not take a part for the stream."""
    d = compiled.slots.d_model
    names = add_part_hooks(compiled.model, {HOOK: [slice(0, d)]})[HOOK]
    other = tokens[::-1].copy()
    effects = patch(compiled.model, tokens, other, lambda logits: logits[:, 0, 0], [HOOK, *names])
    half = effects.values.shape[1] // 2
    np.testing.assert_allclose(effects.values[:, :half], effects.values[:, half:], atol=1e-12)


@pytest.mark.parametrize("hook", ["blocks.0.hook_attn_out", "blocks.7.hook_resid_post", "hook_embed", "blocks.0.hook_resid_pre"])
def test_what_is_no_stream_is_refused(compiled, hook):
    with pytest.raises(HookError, match="is no hook_resid_mid or hook_resid_post of a block of this model"):
        add_part_hooks(compiled.model, {hook: [slice(0, 1)]})


def test_parts_are_given_once(compiled):
    add_part_hooks(compiled.model, {HOOK: [slice(0, 1)]})
    with pytest.raises(HookError, match="has parts already"):
        add_part_hooks(compiled.model, {HOOK: [slice(1, 2)]})

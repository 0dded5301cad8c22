"""Replacing patterns: identities to the last bit, planted effects, and what reaches the ROOT query."""

import numpy as np
import pytest
import torch
from pattern_model import PatternModel

from mechbp.errors import InputError
from mechbp.hooks import capture
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng
from mechbp.theory.tree.attention import named_pattern
from mechbp.theory.tree.pattern_ablation import ablate_attention, replace_patterns, residual_starts

TOKENS = np.random.default_rng(0).integers(0, 4, size=(30, 8))
THEORY = named_pattern("sibling-subtree", 3, 2, 8)


def metric(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the first symbol, summed over positions with weights, so that mixed-up positions or examples show."""
    positions = torch.arange(1.0, logits.shape[1] + 1)
    return (logits.log_softmax(dim=-1)[..., 0] * positions).sum(dim=-1) * torch.arange(1.0, len(logits) + 1)


def own_patterns(model, tokens) -> np.ndarray:
    captured = capture(model, tokens, ["blocks.*.attn.hook_pattern"])
    return np.stack([captured[f"blocks.{layer}.attn.hook_pattern"].numpy() for layer in range(len(captured))], axis=1)


@pytest.mark.parametrize("batch", [512, 7])
@pytest.mark.parametrize("heads", [None, [1]])
def test_own_patterns_change_no_bit(monkeypatch, batch: int, heads: list[int] | None) -> None:
    monkeypatch.setattr("mechbp.theory.tree.pattern_ablation.BATCH", batch)
    config = ModelConfig(3, 2, 16, 32, "gelu", "LN", "bidirectional")
    for model in (build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=8, seed=0), PatternModel(THEORY, wobble=0.5)):
        found = replace_patterns(model, TOKENS, own_patterns(model, TOKENS), [0, 1, 2], metric, heads=heads)
        if batch == 512:
            np.testing.assert_array_equal(found.change, 0)
        else:  # the patterns were captured in one batch, and BLAS may round differently by shape
            np.testing.assert_allclose(found.change, 0, atol=2e-3)


def test_other_patterns_do_what_a_model_with_them_does() -> None:
    uniform = named_pattern("uniform", 3, 2, 8)
    model, mixed = PatternModel(THEORY), THEORY.copy()
    mixed[1, 1] = uniform[1, 1]
    found = replace_patterns(model, TOKENS, uniform, [1], metric, heads=[1])
    expected = metric(PatternModel(mixed)(torch.tensor(TOKENS))) - metric(model(torch.tensor(TOKENS)))
    np.testing.assert_allclose(found.change, expected, atol=1e-4)
    assert np.abs(found.change).min() > 0


def test_the_theory_costs_a_model_that_is_the_theory_nothing() -> None:
    model = PatternModel(THEORY)
    found = ablate_attention(model, TOKENS, metric, rng=rng(0), per_head=True)
    assert len(found.rows) == 5 * (3 + 1 + 6)
    for row in found.rows:
        free = row.replacement in ("sibling-subtree", "mean", "block-average")
        assert (np.abs(row.per_example).max() < 2e-3) == free, row
        assert row.change.low <= row.change.mean <= row.change.high
    assert len(found.to_dict()["rows"]) == len(found.rows)


def test_leaf_patterns_leave_root_attention_alone() -> None:
    tokens = np.hstack([TOKENS, np.full((len(TOKENS), 1), 5)])
    whole = np.random.default_rng(1).dirichlet(np.ones(9), size=(3, 2, 9))
    uniform = named_pattern("uniform", 3, 2, 8)
    expected = whole.copy()
    expected[..., :8, :8] = (1 - whole[..., :8, 8:]) / 8
    found = replace_patterns(PatternModel(whole), tokens, uniform, [0, 1, 2], metric)
    target = metric(PatternModel(expected)(torch.tensor(tokens)))
    np.testing.assert_allclose(found.replaced, target.double().numpy(), rtol=1e-4, atol=1e-3)
    names = ("mean", "block-average")
    rows = ablate_attention(PatternModel(whole), tokens, metric, rng=rng(0), replacements=names, n_leaves=8).rows
    assert np.abs(rows[0].per_example).max() < 1e-2 < np.abs(rows[-1].per_example).max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((THEORY, [3], metric), "layers must lie in 0..2"),
        ((THEORY, [], metric), "at least one"),
        ((THEORY[:2], [0], metric), "patterns must be"),
        ((np.zeros((4, 3, 2, 8, 8)), [0], metric), "patterns must be"),
        ((THEORY[:, :1], [0], metric), "patterns have 1 heads, the model has 2"),
        ((THEORY, [0], lambda logits: logits.mean()), "one value per example"),
    ],
)
def test_wrong_calls_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace_patterns(PatternModel(THEORY), TOKENS, *arguments)
    with pytest.raises(InputError, match=r"heads must lie in 0\.\.1"):
        replace_patterns(PatternModel(THEORY), TOKENS, THEORY, [0], metric, heads=[2])
    with pytest.raises(InputError, match="unknown replacement 'noise'"):
        ablate_attention(PatternModel(THEORY), TOKENS, metric, rng=rng(0), replacements=("noise",))


@pytest.mark.parametrize("lacks", ["start_at_layer", "hook_resid_pre"])
def test_a_model_that_cannot_be_restarted_is_run_from_its_tokens(lacks: str) -> None:
    model = build_model(ModelConfig(2, 1, 8, 8), d_vocab=6, d_vocab_out=4, n_ctx=8, seed=0)
    assert set(residual_starts(model, TOKENS)) == {0, 1}
    if lacks == "hook_resid_pre":
        model.hook_dict = {name: hook for name, hook in model.hook_dict.items() if lacks not in name}
    else:
        forward = model.forward
        model.forward = lambda tokens: forward(tokens)
    assert residual_starts(model, TOKENS) == {}


@pytest.mark.parametrize("name", ["mean", "block-average", "sibling-subtree", "uniform"])
def test_names_are_compared_as_words(name: str) -> None:
    """A name from a file or a command line is equal to ours and another object."""
    read = "".join(list(name))
    ours, theirs = (
        ablate_attention(PatternModel(THEORY), TOKENS, metric, rng=rng(0), replacements=(word,)).rows for word in (name, read)
    )
    assert all(np.array_equal(one.per_example, other.per_example) for one, other in zip(ours, theirs, strict=True))


def test_what_replaces_patterns_is_named_by_the_caller() -> None:
    model = build_model(ModelConfig(1, 1, 8, 8), d_vocab=6, d_vocab_out=4, n_ctx=8, seed=0)
    with pytest.raises(TypeError, match="positional"):
        ablate_attention(model, TOKENS, metric, rng(0))  # type: ignore[misc]

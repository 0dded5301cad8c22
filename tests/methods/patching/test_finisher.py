"""The engine that finishes patched runs from the weights: the numbers that hooks give, or hooks where it cannot vouch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mechbp.methods.patching import restarts as patch_runs
from mechbp.methods.patching.finisher import Finisher
from mechbp.methods.patching.metric import positions_read
from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.plain_transformer import Network
from mechbp.models.architectures import build_model, hooked_transformer, untrained_twin
from mechbp.models.config import ModelConfig

SITES = ["blocks.*.hook_resid_*", "blocks.*.hook_*_out", "blocks.*.attn.hook_[zq]", "blocks.*.attn.hook_pattern"]
LENGTH, N = 6, 9


def model_for(layers=3, heads=2, act="gelu", normalization="LN", attention="bidirectional", d_mlp=24, *, double=False):
    config = ModelConfig(layers, heads, 16, d_mlp, act, normalization, attention)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=LENGTH, seed=3)
    with torch.no_grad():  # gains and biases that a fresh model leaves at 1 and 0 must count too
        for index, (name, parameter) in enumerate(model.named_parameters()):
            if not name.rpartition(".")[2].startswith("W_"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    if double:
        model.double().cfg.dtype = torch.float64  # layer norm rounds to it
    return model


def tokens_for(seed, n=N):
    return torch.randint(0, 4, (n, LENGTH), generator=torch.Generator().manual_seed(seed))


def one_position(logits):
    return logits[:, 2, 1] - logits[:, 2, 0]


def one_each(logits):
    """Example i is asked at position i mod 6."""
    rows = torch.arange(len(logits))
    return logits[rows, rows % LENGTH, 1]


def every_position(logits):
    return logits.softmax(dim=-1)[..., 1].mean(dim=1)


def highest_position(logits):
    return logits[..., 1].max(dim=1).values


METRICS = [one_position, one_each, every_position, highest_position]


@pytest.fixture
def engines(monkeypatch):
    """Every engine that was asked for, None where hooks had to do."""
    asked = []

    def recorded(*arguments):
        asked.append(Finisher.of(*arguments))
        return asked[-1]

    monkeypatch.setattr(patch_runs, "Finisher", type("Recorded", (), {"of": staticmethod(recorded)}))
    return asked


def by_hooks(*arguments, **options):
    """The same sweep with the engine switched off."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(patch_runs, "Finisher", type("Off", (), {"of": staticmethod(lambda *_: None)}))
        return patch(*arguments, **options)


SHAPES = [
    {"layers": 1},
    {"layers": 2, "heads": 1},
    {"layers": 2, "heads": 16},
    {"normalization": "none", "act": "relu"},
    {"layers": 4, "act": "relu", "attention": "causal", "heads": 1},
    {"heads": 1, "d_mlp": 0},
    {"d_mlp": 0},
]
MORE_SHAPES = [{"heads": 4}, {"attention": "causal"}]


@pytest.mark.parametrize(
    ("shape", "metric"),
    [
        *(pytest.param({}, metric, marks=[] if metric is highest_position else pytest.mark.slow) for metric in METRICS),
        *((shape, METRICS[i % 2 + 1]) for i, shape in enumerate(SHAPES)),
        *(pytest.param(shape, METRICS[i % 2 + 1], marks=pytest.mark.slow) for i, shape in enumerate(MORE_SHAPES)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_engine_and_hooks_give_the_same_numbers(shape, metric, engines):
    for double, close in ((False, 1e-5), (True, 1e-12)):
        model = model_for(**shape, double=double)
        there = [site for site in SITES if shape.get("d_mlp") != 0 or site != "blocks.*.hook_*_out"]  # no MLP, no output of it
        sweep = (model, tokens_for(1), tokens_for(2), metric, there)
        found, expected = patch(*sweep), by_hooks(*sweep)
        assert engines.pop() is not None and not engines
        np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=close)
        assert found.cells == expected.cells and np.abs(found.effects).max() > 1e-3


def test_a_metric_of_whole_distributions_needs_no_hooks(engines, monkeypatch):
    """Where nothing is read there is NaN, and nowhere else: one that slipped in would have the sweep answered by hooks."""
    monkeypatch.setattr(patch_runs.Runs, "_finish", None)
    for n in (2, N):  # fewer pairs than positions, and more
        patch(model_for(), tokens_for(1, n), tokens_for(2, n), every_position, ["blocks.*.hook_resid_pre"])
        assert engines.pop() is not None


def test_squared_relu_is_known_too(engines):
    model = hooked_transformer(
        n_layers=2, n_heads=2, d_model=16, d_head=8, d_mlp=24, act_fn="relu2", normalization_type=None,
        attention_dir="bidirectional", n_ctx=LENGTH, d_vocab=6, d_vocab_out=4, dtype=torch.float64,
    )  # fmt: skip
    sweep = (untrained_twin(model, 1), tokens_for(1), tokens_for(2), one_position, SITES)
    np.testing.assert_allclose(patch(*sweep).values, by_hooks(*sweep).values, rtol=0, atol=1e-12)
    assert engines[0] is not None


@pytest.mark.parametrize("metric", [one_each, highest_position], ids=lambda metric: metric.__name__)
def test_pairs_that_differ_in_one_place_run_only_where_they_differ(metric):
    """Half of the pairs are equal up to position 3, and some altogether: rows in any order, not one block of them."""
    clean, corrupted = tokens_for(1), tokens_for(1)
    corrupted[::2, 3] = (corrupted[::2, 3] + 1) % 4
    corrupted[5] = tokens_for(2)[5]
    sweep = (model_for(), clean, corrupted, metric, SITES)
    found = patch(*sweep)
    np.testing.assert_allclose(found.values, by_hooks(*sweep).values, rtol=0, atol=1e-5)
    assert (found.effects[[1, 3, 7]] == 0).all()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.booleans())
def test_chunks_change_nothing(seed, chunk, causal):
    model = model_for(attention="causal" if causal else "bidirectional", double=True)
    sweep = (model, tokens_for(seed, 7), tokens_for(seed + 1, 7), one_each, ["blocks.*.hook_resid_pre"])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Finisher, "_chunk", chunk)
        few = patch(*sweep)
    np.testing.assert_allclose(few.values, patch(*sweep).values, rtol=0, atol=1e-12)


def test_positions_read_are_found_per_example():
    logits = torch.randn(N, LENGTH, 4, generator=torch.Generator().manual_seed(0))
    assert positions_read(one_position, logits).sum(dim=0).tolist() == [0, 0, N, 0, 0, 0]
    read = positions_read(one_each, logits)
    assert (read.int().argmax(dim=1) == torch.arange(N) % LENGTH).all() and (read.sum(dim=1) == 1).all()
    assert positions_read(every_position, logits).all()
    assert positions_read(highest_position, logits).all()

    def picky(logits):
        if bool(logits.isnan().any()):
            raise ValueError("no NaN, please")
        return logits[:, 0, 0]

    assert positions_read(picky, logits).all()


def test_a_metric_that_reads_elsewhere_later_is_answered_in_full(engines):
    """It reads position 0 while the symbol there wins, and position 4 once it does not: on unpatched runs never position 4."""
    model, clean, corrupted = model_for(double=True), tokens_for(1), tokens_for(2)
    with torch.no_grad():
        known = torch.cat([model(tokens)[:, 0, 0] for tokens in (clean, corrupted)])

    def turncoat(logits):
        same = (logits[:, 0, 0, None] - known).abs().min(dim=1).values < 1e-9
        return torch.where(same, logits[:, 0, 0], 10 + logits[:, 4, 1])

    sweep = (model, clean, corrupted, turncoat, ["blocks.*.hook_resid_post"])
    found = patch(*sweep)
    assert engines[0] is not None and (found.values > 5).any()
    np.testing.assert_allclose(found.values, by_hooks(*sweep).values, rtol=0, atol=1e-12)


def test_a_model_with_hooks_of_its_own_is_left_to_hooks(engines):
    model = model_for(double=True)
    plain = patch(model, tokens_for(1), tokens_for(2), one_position, SITES)
    model.blocks[2].mlp.hook_post.register_forward_hook(lambda module, inputs, output: output * 0.5)
    halved = patch(model, tokens_for(1), tokens_for(2), one_position, SITES)
    assert engines[0] is not None and engines[1] is None
    assert np.abs(halved.values - plain.values).max() > 0.01


@pytest.mark.parametrize(
    "change",
    [
        {"act_fn": "silu"},
        {"positional_embedding_type": "rotary"},
        {"normalization_type": "RMS"},
        {"n_key_value_heads": 1},
        {"parallel_attn_mlp": True},
        {"attn_scores_soft_cap": 5.0},
        {"use_attn_result": True},
    ],
    ids=str,
)
def test_settings_it_does_not_know_are_left_to_hooks(change):
    model = model_for()
    assert Network.of(model) is not None
    for key, value in change.items():
        setattr(model.cfg, key, value)
    assert Network.of(model) is None


def test_weights_that_do_not_reproduce_the_run_are_not_believed(engines):
    """A subclass whose block does something else between its parts looks plain from outside."""
    model = model_for(double=True)
    plain = type(model.blocks[1].mlp)

    class Louder(plain):
        def forward(self, x):
            return 1.01 * super().forward(x)

    model.blocks[1].mlp.__class__ = Louder
    assert Network.of(model) is not None
    sweep = (model, tokens_for(1), tokens_for(2), one_position, SITES)
    assert np.isfinite(patch(*sweep).values).all() and engines == [None]

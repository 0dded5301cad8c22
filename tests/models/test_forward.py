"""The training forward is HookedTransformer's forward, logits and gradients, for every architecture on offer."""

import itertools

import numpy as np
import pytest
import torch

from mechbp.hooks import edit
from mechbp.models import forward
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig

ARCHITECTURES = [
    {"n_layers": layers, "n_heads": heads, "d_mlp": d_mlp, "act_fn": act_fn, "normalization": norm, "attention": attention}
    for (layers, heads), (d_mlp, act_fn), norm, attention in itertools.product(
        [(1, 1), (3, 4)],
        [(0, "relu"), (24, "relu"), (24, "gelu"), (24, "relu2")],
        ["LN", "none"],
        ["bidirectional", "causal"],
    )
]


def _perturbed(config, generator):
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=8, seed=1)
    model.double()  # without normalisation activations grow by layer; in float32 their rounding would hide small faults
    model.cfg.dtype = torch.float64
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains too: at their initial 0 and 1 they could be forgotten
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: "-".join(map(str, a.values())))
def test_logits_and_gradients_equal_those_of_transformer_lens(architecture):
    generator = torch.Generator().manual_seed(0)
    model = _perturbed(ModelConfig(d_model=16, **architecture), generator)
    tokens = torch.randint(6, (5, 8), generator=generator)
    weights = torch.randn((5, 8, 4), generator=generator, dtype=torch.float64)
    answers = []
    for run in (model, lambda x: forward.logits(model, x)):
        model.zero_grad()
        logits = run(tokens)
        (logits.log_softmax(-1) * weights).sum().backward()
        gradients = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
        answers.append((logits.detach(), gradients))
    (expected, expected_gradients), (found, found_gradients) = answers
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    largest = max(gradient.abs().max().item() for gradient in expected_gradients.values() if gradient is not None)
    for name, gradient in expected_gradients.items():
        assert (gradient is None) == (found_gradients[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(found_gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest)


def test_shorter_inputs(tiny_encoder):
    tokens = torch.tensor([[0, 5]])
    torch.testing.assert_close(forward.logits(tiny_encoder, tokens), tiny_encoder(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("d_head", [0, 3])  # one head of all dimensions is read through its circuits, a narrow one is not
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: "-".join(map(str, a.values())))
def test_answers_are_the_probabilities_of_transformer_lens(architecture, d_head):
    model = _perturbed(ModelConfig(d_model=16, d_head=d_head, **architecture), torch.Generator().manual_seed(0))
    assert forward.supports(model)
    inputs = np.random.default_rng(0).integers(6, size=(7, 5))
    read = np.array([0, 4, 2, 3, 1, 1, 0])
    expected = model(torch.from_numpy(inputs)).softmax(dim=-1).detach().numpy()
    everywhere = forward.answers(model, inputs, batch_size=3)
    assert everywhere.dtype == np.float64
    np.testing.assert_allclose(everywhere, expected, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(
        forward.answers(model, inputs, read, batch_size=3), expected[range(7), read], rtol=1e-9, atol=1e-13
    )


def test_answers_of_float32_weights_leave_the_weights_alone(tiny_encoder):
    before = {name: weight.clone() for name, weight in tiny_encoder.state_dict().items()}
    inputs = np.array([[0, 5, 1], [2, 2, 4]])
    expected = tiny_encoder(torch.from_numpy(inputs)).double().softmax(dim=-1).detach().numpy()
    np.testing.assert_allclose(forward.answers(tiny_encoder, inputs), expected, rtol=1e-5)
    assert all(torch.equal(before[name], weight) for name, weight in tiny_encoder.state_dict().items())


def test_no_rows_have_no_answers(tiny_encoder):
    q = tiny_encoder.cfg.d_vocab_out
    assert forward.answers(tiny_encoder, np.empty((0, 3), int)).shape == (0, 3, q)
    assert forward.answers(tiny_encoder, np.empty((0, 3), int), np.empty(0, int)).shape == (0, q)


def test_an_edited_model_answers_as_edited(tiny_encoder):
    inputs = np.array([[0, 5, 1], [2, 2, 4]])
    plain = forward.answers(tiny_encoder, inputs)
    with edit(tiny_encoder, {"blocks.0.hook_resid_post": torch.zeros_like}) as session:
        assert not forward.supports(tiny_encoder)
        everywhere = forward.answers(tiny_encoder, inputs)
        at_last = forward.answers(tiny_encoder, inputs, np.array([2, 2]))
    assert session.firings == {"blocks.0.hook_resid_post": 2}
    np.testing.assert_array_equal(at_last, everywhere[:, 2])
    assert np.abs(everywhere - plain).max() > 1e-3
    assert forward.supports(tiny_encoder)


def test_settings_that_change_the_function_are_not_supported(tiny_encoder, monkeypatch):
    for setting, value in {
        "positional_embedding_type": "rotary",
        "parallel_attn_mlp": True,
        "normalization_type": "LNPre",
    }.items():
        with monkeypatch.context() as changed:
            changed.setattr(tiny_encoder.cfg, setting, value, raising=False)
            assert not forward.supports(tiny_encoder), setting

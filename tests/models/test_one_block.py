"""One block read at some positions is HookedTransformer's forward there, logits and gradients."""

import itertools

import pytest
import torch

from mechbp.models import forward
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.models.one_block import applies, logits_at

CASES = list(itertools.product([1, 3], ["LN", "none"], ["causal", "bidirectional"]))
READS = [[False] * 4 + [True] * 3, [True, False, False, True, False, True, False]]


def perturbed(heads, norm, attention, **changes):
    shape = {"n_layers": 1, "n_heads": heads, "d_model": 12, "d_mlp": 0} | changes
    config = ModelConfig(**shape, normalization=norm, attention=attention)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=8, seed=1).double()
    model.cfg.dtype = torch.float64
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and gains too: at their initial 0 and 1 they could be forgotten
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


@pytest.mark.parametrize("reads", READS, ids=["second half", "scattered"])
@pytest.mark.parametrize(("heads", "norm", "attention"), CASES)
def test_logits_and_gradients_equal_those_of_transformer_lens(heads, norm, attention, reads):
    model = perturbed(heads, norm, attention, d_head=5)
    tokens = torch.randint(6, (9, 7), generator=torch.Generator().manual_seed(1))  # one position fewer than the model has
    where = torch.tensor([reads]).expand(9, 7)
    assert applies(model, where)
    weights = torch.randn((9 * 3, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for read in (lambda *shown: model(shown[1])[shown[2]], forward.read, logits_at):
        model.zero_grad()
        logits = read(model, tokens, where)
        (logits.log_softmax(-1) * weights).sum().backward()
        found.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (expected, expected_gradients), *others = found
    largest = max(gradient.abs().max().item() for gradient in expected_gradients.values())
    for logits, gradients in others:
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
        for name, gradient in expected_gradients.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest)


@pytest.mark.parametrize("changes", [{"n_layers": 2}, {"d_mlp": 8}])
def test_other_models_are_read_as_before(changes):
    model = perturbed(2, "LN", "causal", **changes)
    where = torch.tensor([READS[0]]).expand(3, 7)
    tokens = torch.randint(6, (3, 7), generator=torch.Generator().manual_seed(1))
    assert not applies(model, where)
    torch.testing.assert_close(forward.read(model, tokens, where), model(tokens)[where], rtol=1e-10, atol=1e-10)


def test_reads_that_differ_or_leave_nothing_out_are_read_as_before():
    model = perturbed(2, "LN", "causal")
    tokens = torch.randint(6, (3, 7), generator=torch.Generator().manual_seed(1))
    ragged = torch.tensor([READS[0], READS[0], READS[1]])
    for where in (ragged, torch.ones(3, 7, dtype=torch.bool), torch.zeros(3, 7, dtype=torch.bool)):
        assert not applies(model, where)
        torch.testing.assert_close(forward.read(model, tokens, where), model(tokens)[where], rtol=1e-10, atol=1e-10)
    assert not applies(model, torch.ones((0, 7), dtype=torch.bool))

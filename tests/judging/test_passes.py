"""Passes are counted at the blocks: whole ones, parts of them, gradients, and those of methods that clear hooks."""

import pytest
import torch

from mechbp.judging.passes import BudgetSpent, metered
from mechbp.judging.setting import settings
from mechbp.methods.patching.patch import patch


@pytest.fixture(scope="module")
def question():
    return next(iter(settings(3, "parts"))).question("localisation", 8, 60, None)


@pytest.fixture
def tokens(question):
    return torch.from_numpy(question.clean)


@torch.no_grad()
def test_a_pass_is_a_sequence_through_all_blocks(question, tokens):
    model = question.model
    with metered(model, None) as meter:
        model(tokens)
        assert meter.spent == pytest.approx(8)
        residual = model(tokens[:3], stop_at_layer=1)
        assert meter.spent == pytest.approx(8 + 3 / 3)
        model(residual, start_at_layer=1)
        assert meter.spent == pytest.approx(8 + 3)
    model(tokens)
    assert meter.spent == pytest.approx(8 + 3), "outside nothing is counted"


def test_a_gradient_counts_twice(question, tokens):
    with metered(question.model, None) as meter:
        question.metric(question.model(tokens)).sum().backward()
    assert meter.spent == pytest.approx(3 * 8)


def test_clearing_hooks_clears_no_count(question, tokens):
    model = question.model
    with metered(model, None) as meter, torch.no_grad():
        model.reset_hooks(including_permanent=True)
        for module in model.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        model(tokens)
    assert meter.spent == pytest.approx(8)


def test_shortcuts_from_the_weights_step_aside(question):
    hooks = ["blocks.1.hook_attn_out"]
    with metered(question.model, None) as meter:
        patch(question.model, question.clean, question.corrupted, question.metric, hooks)
    assert meter.spent > 3 * 8


def test_what_exceeds_the_budget_is_stopped_from_then_on(question, tokens):
    with metered(question.model, 10) as meter, torch.no_grad():
        question.model(tokens)
        for rows in (tokens, tokens[:1]):
            with pytest.raises(BudgetSpent):
                question.model(rows)
    assert meter.exceeded and meter.spent == pytest.approx(8 + 2 * 0)
    with metered(question.model, 8) as meter, torch.no_grad():
        question.model(tokens)
    assert not meter.exceeded

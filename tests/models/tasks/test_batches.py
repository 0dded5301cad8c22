"""Batches ask the right question; posterior targets have the expected gradient of token targets, exactly."""

import itertools

import numpy as np
import pytest
import torch
from small_runs import recipe, toml

from mechbp.models.architectures import build_model
from mechbp.models.config import ObjectiveConfig, read_recipe
from mechbp.models.objectives import Batch, training_batch, training_loss
from mechbp.models.tasks.tree import hidden_leaves
from mechbp.processes.tree.enumeration import enumerate_tree
from mechbp.randomness import rng

TASKS = ["masked", "root", "next-token"]


def batches(tmp_path, task, **changes):
    """The same step with token and with posterior targets."""
    found = []
    for targets in ("tokens", "posteriors"):
        path = tmp_path / f"{targets}.toml"
        attention = "causal" if task == "next-token" else "bidirectional"
        path.write_text(toml(recipe(objective__task=task, objective__targets=targets, model__attention=attention, **changes)))
        config = read_recipe(path)
        found.append(training_batch(config, config.process.build(), 3))
    return config.process.build(), *found


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("filter_level", [0, 1, 2])
def test_posterior_targets_are_the_enumerated_posterior_of_what_is_shown(task, filter_level, tmp_path):
    process, tokens, posteriors = batches(tmp_path, task, process__filter_level=filter_level, training__batch_size=32)
    assert torch.equal(tokens.inputs, posteriors.inputs) and torch.equal(tokens.reads, posteriors.reads)
    assert tokens.targets.dtype == torch.int64 and posteriors.targets.dtype == torch.float32
    joint, shown = enumerate_tree(process), tokens.inputs.numpy()[:, : process.n_leaves]
    rows, places = np.nonzero(tokens.reads.numpy())
    if task == "root":
        assert (tokens.inputs[:, -1] == process.root_token).all() and (places == process.n_leaves).all()
        expected = joint.beliefs(shown).marginals[0][:, 0]
    elif task == "masked":
        assert (shown[rows, places] == process.mask_token).all() and (shown == process.mask_token).sum() == len(rows)
        expected = joint.beliefs(shown).marginals[process.depth][rows, places]
    else:
        assert set(places) == set(range(process.n_leaves - 1))
        prefixes = [joint.beliefs(shown, np.broadcast_to(np.arange(4) <= t, shown.shape)) for t in range(3)]
        expected = np.array([prefixes[t].marginals[process.depth][i, t + 1] for i, t in zip(rows, places, strict=True)])
        assert (tokens.targets.numpy() == shown[rows, places + 1]).all()
    np.testing.assert_allclose(posteriors.targets.numpy(), expected, rtol=0, atol=1e-6)


def test_both_targets_have_the_same_expected_gradient(tmp_path):
    """Over all 81 words of a tiny tree, weighted by their probability, with two leaves hidden."""
    process, _, _ = batches(tmp_path, "masked")
    words = np.array(list(itertools.product(range(3), repeat=4)))
    joint = enumerate_tree(process)
    weights = torch.from_numpy(joint.words).float()
    hidden = np.broadcast_to([False, True, True, False], words.shape)
    inputs = np.where(hidden, process.mask_token, words)
    possible = joint.words > 0
    soft = np.zeros((*words.shape, 3))
    soft[possible] = process.beliefs(inputs[possible]).marginals[2]
    model = build_model(read_recipe(tmp_path / "tokens.toml").model, d_vocab=5, d_vocab_out=3, n_ctx=4, seed=0)
    gradients = []
    for targets in (torch.from_numpy(words), torch.from_numpy(soft).float()):
        model.zero_grad()
        for i in np.flatnonzero(possible):
            reads = torch.from_numpy(hidden[i : i + 1].copy())
            batch = Batch(torch.from_numpy(inputs[i : i + 1]), reads, targets[i : i + 1][reads])
            (weights[i] * training_loss(model(batch.inputs)[batch.reads], batch)).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert float(gradients[0].abs().max()) > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-6)


def test_single_masks_are_uniform_and_rates_hide_at_least_one():
    single = hidden_leaves(ObjectiveConfig("masked"), (8000, 4), rng(0, "single"))
    assert (single.sum(axis=1) == 1).all()
    assert np.abs(single.mean(axis=0) - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 8000)
    never = hidden_leaves(ObjectiveConfig("masked", "rate", 0.0, 0.0), (1000, 4), rng(0, "never"))
    assert (never.sum(axis=1) == 1).all()
    always = hidden_leaves(ObjectiveConfig("masked", "rate", 1.0, 1.0), (1000, 4), rng(0, "always"))
    assert always.all()
    between = hidden_leaves(ObjectiveConfig("masked", "rate", 0.2, 0.6), (8000, 64), rng(0, "between"))
    assert abs(between.mean() - 0.4) < 0.01 and between.any(axis=1).all()

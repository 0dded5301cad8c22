"""The lesson's loss as a function of parameters: the loss that training takes, for every wing, on sequences of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_runs import SORTER
from small_runs import recipe, toml
from topic_transformer_runs import KINDS

from mechbp.methods.llc.objective import Objective
from mechbp.models import forward
from mechbp.models.config import read_recipe
from mechbp.models.lesson_loss import lesson_batches, lesson_loss
from mechbp.models.objectives import training_batch, training_loss
from mechbp.models.training import untrained_model
from mechbp.randomness import rng

TRAINING = {"steps": 10, "batch_size": 4, "learning_rate": 0.01, "training_set": 6}
CAUSAL = {"n_layers": 2, "n_heads": 2, "d_model": 8, "d_mlp": 8, "attention": "causal"}


def topics(name, **objective):
    process, model, task = KINDS[name]
    return {"process": {"kind": "topics", **process}, "model": model, "objective": {"task": task, **objective}}


WINGS = {
    "tree": recipe(),
    "tree, posteriors": recipe(objective__targets="posteriors"),
    "chain": {
        "process": {"kind": "mess3", "x": 0.15, "alpha": 0.6, "length": 5},
        "model": CAUSAL,
        "objective": {"task": "next-token"},
    },
    "topics": topics("ring"),
    "topics, the theory's model": topics("theory"),
    "topics, squared": {**topics("theory", loss="squared"), "model": {**KINDS["theory"][1], "outputs": "probabilities"}},
    "sorting": SORTER,
}


def config_of(tmp_path, tables):
    (tmp_path / "run.toml").write_text(toml({**tables, "training": TRAINING}))
    return read_recipe(tmp_path / "run.toml")


@pytest.mark.parametrize("wing", WINGS)
def test_it_is_what_training_takes_and_gives_the_same_gradients(wing, tmp_path):
    config = config_of(tmp_path, WINGS[wing])
    process = config.process.build()
    model = untrained_model(config, process)
    (batch,) = lesson_batches(config, process, 1, 5, seed=0)
    taken = training_loss(forward.read(model, batch.inputs, batch.reads), batch, config.objective.loss)
    wanted = torch.autograd.grad(taken, list(model.parameters()))
    expected = taken.detach()

    loss, parameters = lesson_loss(config, model)
    before = {name: value.clone() for name, value in parameters.items()}
    objective = Objective.of(loss, {name: 1.0 * value for name, value in parameters.items()}, batch)
    values, gradients = objective.values_and_gradients(objective.minimum.repeat(2, 1), batch)
    assert values == pytest.approx([float(expected)] * 2, rel=1e-6)
    torch.testing.assert_close(gradients[1], torch.cat([g.reshape(-1) for g in wanted]), rtol=1e-4, atol=1e-6)
    noise = torch.from_numpy(rng(0, "moved").standard_normal(len(objective.minimum))).float()
    parts = noise.split([value.numel() for value in parameters.values()])
    moved = {name: value + part.view_as(value) for (name, value), part in zip(parameters.items(), parts, strict=True)}
    assert float(loss(moved, batch)) != pytest.approx(float(expected), rel=1e-6), "the parameters given are those that count"
    assert all(torch.equal(before[name], value) and not value.requires_grad for name, value in parameters.items())


@pytest.mark.parametrize("wing", ["tree", "topics", "sorting"])
def test_vectorised_over_chains_it_is_the_same(wing, tmp_path):
    config = config_of(tmp_path, WINGS[wing])
    process = config.process.build()
    (batch,) = lesson_batches(config, process, 1, 5, seed=0)
    loss, parameters = lesson_loss(config, untrained_model(config, process))
    noise = torch.from_numpy(rng(0, "chains").standard_normal((3, 1))).float()
    found = []
    for vectorise in (True, False):
        objective = Objective.of(loss, parameters, batch, vectorise)
        assert objective.vectorised == vectorise
        found.append(objective.values_and_gradients(objective.minimum * (1 + 0.1 * noise), batch))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_l2_adds_the_sum_of_squares(tmp_path):
    config = config_of(tmp_path, SORTER)
    process = config.process.build()
    (batch,) = lesson_batches(config, process, 1, 5, seed=0)
    model = untrained_model(config, process)
    loss, parameters = lesson_loss(config, model)
    penalised, _ = lesson_loss(config, model, l2=0.25)
    squares = sum(float(value.double().square().sum()) for value in parameters.values())
    assert float(penalised(parameters, batch) - loss(parameters, batch)) == pytest.approx(0.25 * squares, rel=1e-5)


def test_batches_are_new_sequences_and_named_by_their_seed(tmp_path):
    config = config_of(tmp_path, {**SORTER, "process": {"kind": "sorting", "vocab_size": 60, "length": 6}})
    process = config.process.build()
    batches = lesson_batches(config, process, 3, 4, seed=config.training.seed)
    again = lesson_batches(config, process, 2, 4, seed=config.training.seed)
    rows = np.concatenate([batch.inputs.numpy() for batch in batches])
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(batches[:2], again, strict=True))
    assert len({tuple(row) for row in rows}) == 12 and batches[0].inputs.shape == (4, 12)
    fresh = replace(config, training=replace(config.training, training_set=0))
    for recipe_of_run, seen in ((config, 6), (fresh, 24)):
        trained = {tuple(row) for step in range(6) for row in training_batch(recipe_of_run, process, step).inputs.tolist()}
        assert len(trained) == seen and not trained & {tuple(row) for row in rows.tolist()}
    assert not torch.equal(lesson_batches(config, process, 1, 4, seed=1)[0].inputs, batches[0].inputs)

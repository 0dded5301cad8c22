"""l2 in the loss and AdamW without decay of its own are Adam with coupled weight decay of twice that weight."""

import torch
from small_runs import write_run

from mechbp.models import forward
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.config import read_recipe
from mechbp.models.objectives import training_batch, training_loss
from mechbp.models.training import learning_rate, train, untrained_model

DECAY = 0.05


def trained_by_adam(config, **settings):
    """The recipe's weights after its batches and rates, stepped by torch's own Adam on the loss without l2."""
    process = config.process.build()
    model = untrained_model(config, process)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, config.training.beta2), **settings)
    for step in range(config.training.steps):
        batch = training_batch(config, process, step)
        optimizer.zero_grad()
        training_loss(forward.read(model, batch.inputs, batch.reads), batch).backward()
        optimizer.param_groups[0]["lr"] = learning_rate(config.training, step)
        optimizer.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def largest_difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_l2_is_half_of_adams_weight_decay(tmp_path):
    changes = {"training__gradient_clip": 0.0, "training__weight_decay": 0.0, "training__final_rate": 0.1}
    folder = write_run(tmp_path / "run", **changes, training__l2=DECAY / 2)
    train(folder)
    config = read_recipe(folder / "run.toml")
    stored = load_checkpoint(folder / "step-0000040.safetensors").tensors
    found = {name.removeprefix("model/"): tensor for name, tensor in stored.items()}
    assert largest_difference(found, trained_by_adam(config, weight_decay=DECAY)) < 1e-4
    assert largest_difference(found, trained_by_adam(config, weight_decay=DECAY / 2)) > 1e-2
    assert largest_difference(found, trained_by_adam(config)) > 1e-2

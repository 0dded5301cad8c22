"""Models compute where they are told to: tried on the meta device, which holds no numbers, with every operation watched.

An operation that reads or makes a tensor elsewhere is one that would fail, or be slow, on an accelerator; none was at hand.
"""

import pytest
import torch
from small_runs import write_run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import mechbp
from mechbp.errors import InputError
from mechbp.methods.patching.plain_transformer import Network
from mechbp.models import forward
from mechbp.models.devices import checked_device, device_of, moved
from mechbp.models.objectives import training_batch, training_loss
from mechbp.models.reader import Reader
from mechbp.models.training import train

THERE = torch.device("meta")
RECIPES = {
    "transformer": {},
    "causal": {"model__attention": "causal", "objective__task": "next-token"},
    "attention alone": {"model__d_mlp": 0},
    "no norms": {"model__normalization": "none"},
    "one wide head": {"model__n_heads": 1, "model__n_layers": 2},
    "post-norm": {"model__kind": "post-norm"},
}


class OnlyThere(TorchDispatchMode):
    """Refuse every operation that reads or makes a tensor with an axis on another device, but for the move itself."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func not in (torch.ops.aten._to_copy.default, torch.ops.aten.empty.memory_format):
            strays = [part for part in tree_leaves((args, kwargs, found)) if isinstance(part, Tensor) and part.ndim]
            places = {part.device.type for part in strays}
            assert places <= {THERE.type}, f"{func} meets tensors on {places}"
        return found


@pytest.fixture(params=RECIPES)
def run(request, tmp_path):
    return mechbp.load(write_run(tmp_path / "own", **RECIPES[request.param]))


def moved_there(run):
    batch = training_batch(run.config, run.process, 0, THERE)
    return moved(run.untrained(), THERE), batch


def test_a_tensor_elsewhere_is_seen():
    with OnlyThere(), pytest.raises(AssertionError, match=r"arange.* on \{'cpu'\}"):
        torch.ones(3, device=THERE)[torch.arange(2)]


def test_everything_of_a_model_moves(run):
    model, batch = moved_there(run)
    assert {part.device for part in (*model.parameters(), *model.buffers())} == {THERE} == {device_of(model)}
    assert model.cfg.device == "meta" and batch.inputs.device == batch.reads.device == batch.targets.device == THERE


def test_the_forward_pass_with_hooks_stays_on_its_device(run):
    model, batch = moved_there(run)
    with OnlyThere():
        assert model(batch.inputs).device == THERE


def test_training_stays_on_its_device(run):
    model, batch = moved_there(run)
    with OnlyThere():
        output = model._plain(batch.inputs) if hasattr(model, "_plain") else forward.logits(model, batch.inputs)
        read = output.flatten(0, 1)[: len(batch.targets)]
        loss = training_loss(torch.cat([read] * 9)[: len(batch.targets)], batch)
        loss.backward()
    assert all(parameter.grad is not None and parameter.grad.device == THERE for parameter in model.parameters())


@pytest.mark.parametrize("one_position", [True, False])
def test_answers_are_read_on_their_device(run, one_position):
    if not forward.supports(run.untrained()):
        pytest.skip("answers of this architecture come from its own forward pass")
    model, batch = moved_there(run)
    with OnlyThere(), torch.no_grad():
        found = Reader.of(model, batch.inputs.shape[1]).logits(batch.inputs, batch.inputs[:, 0] if one_position else None)
    assert found.device == THERE


def test_patched_runs_are_finished_on_their_device(run):
    model, batch = moved_there(run)
    network = Network.of(model)
    if network is None:
        pytest.skip("patched runs of this architecture go through its hooks")
    with OnlyThere(), torch.no_grad():
        residual = model(batch.inputs, stop_at_layer=0)
        for layer in range(len(network.blocks)):
            residual = network.through(layer, residual)
        assert network.logits(network.through_last(residual, batch.inputs[:, :1])).device == THERE


def test_the_device_of_a_run_is_that_of_its_models(tmp_path):
    folder = write_run(tmp_path / "own", training__steps=2, training__warmup_steps=0, training__stored_steps=2)
    train(folder, device="cpu")
    run = mechbp.load(folder, device=torch.device("cpu"))
    assert run.device == run.model.embed.W_E.device == run.untrained(3).embed.W_E.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "'gpu' is no device of PyTorch. Name 'cpu', 'cuda' or 'cuda:1', say"),
        ("mps", "mps computes no float64"),
        ("meta", "meta computes no float64"),
        ("xpu", "PyTorch finds no 'xpu' here"),
    ],
)
def test_devices_that_are_refused(name, message):
    with pytest.raises(InputError, match=f"device: {message}"):
        mechbp.load("tree-mlm-k0", device=name)
    assert checked_device("cpu") == torch.device("cpu")

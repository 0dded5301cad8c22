"""A setting may count weights in units of each tensor's size: then what the function does not notice, the estimate does not."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from measured_runs import AUTO, lines, set_settings, write_sorter

import mechbp
from mechbp.errors import CheckpointError, InputError
from mechbp.measuring.measure import measure
from mechbp.measuring.recheck import recheck
from mechbp.models.checkpoint import load_checkpoint, save_checkpoint
from mechbp.models.config import read_recipe
from mechbp.models.lesson_loss import lesson_batches
from mechbp.models.llc_records import read_llc
from mechbp.models.run_folder import step_file
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.randomness import rng

LAST = {**AUTO, "steps": "last"}
UNITS = {**LAST, "name": "units", "coordinates": "units"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = write_sorter(tmp_path_factory.mktemp("coordinates") / "run", LAST, UNITS)
    train(folder)
    measure(folder)
    return folder


@pytest.fixture
def copy(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "run")


def test_a_number_in_units_is_that_of_the_rescaled_function(measured):
    """The model's own forward pass, each tensor divided by its root mean square; biases by that of their matrix."""
    run = load(measured)
    model, record = run.model, read_llc(run)["units"][60]
    stored = {name: value.detach() for name, value in model.named_parameters()}
    matrix = {name: name.replace(".b_", ".W_").removesuffix(".b") for name in stored}
    matrix = {name: at if at in stored else f"{at}.w" for name, at in matrix.items()}
    size = {name: float(stored[at].square().mean().sqrt()) for name, at in matrix.items()}

    def loss(counted, batch):
        point = {name: value * size[name] for name, value in counted.items()}
        logits = torch.func.functional_call(model, point, (batch.inputs,))[:, 3:6]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch.inputs[:, :3].sort(dim=1).values.reshape(-1))

    batches = lesson_batches(run.config, run.process, 3, 8, 0)
    found = mechbp.llc(
        loss, {name: value / size[name] for name, value in stored.items()}, batches, n_beta=20.0, localization=50.0,
        step_size=record.step_size, chains=2, burn_in=record.burn_in, draws=6, rng=rng(0, "chains"),
    )  # fmt: skip
    assert record.per_chain == pytest.approx(found.per_chain, rel=1e-3)
    assert record.curvature == pytest.approx(found.calibration.curvature, rel=0.02)
    other = read_llc(run)["auto"][60]
    assert abs(record.estimate / other.estimate - 1) > 0.05 and record.curvature != other.curvature


def test_sizes_that_cancel_move_the_absolute_number_only(copy):
    """Queries times eight and keys over eight: the same scores."""
    before = read_llc(load(copy))
    path = step_file(copy, 60)
    stored = load_checkpoint(path)
    factor = {"W_Q": 8.0, "b_Q": 8.0, "W_K": 1 / 8, "b_K": 1 / 8}
    tensors = {name: factor.get(name.split(".")[-1], 1.0) * tensor for name, tensor in stored.tensors.items()}
    save_checkpoint(path, tensors, 60, stored.recipe)
    measure(copy)
    after = read_llc(load(copy))
    assert after["units"][60].digest != before["units"][60].digest
    assert after["units"][60].estimate == pytest.approx(before["units"][60].estimate, rel=1e-3)
    assert after["units"][60].curvature == pytest.approx(before["units"][60].curvature, rel=1e-3)
    assert after["auto"][60].curvature > 2 * before["auto"][60].curvature


def test_the_coordinates_are_stored_bound_and_repeated(copy):
    found = {line["setting"]["name"]: line["setting"]["coordinates"] for line in lines(copy)}
    assert found == {"auto": "absolute", "units": "units"}
    again = recheck(load(copy), "units", 60)
    assert tuple(again.found.per_chain) == again.stored.early_per_chain
    set_settings(copy, LAST, {**UNITS, "coordinates": "absolute"})
    with pytest.raises(CheckpointError, match="units, step 60: measured at other settings"):
        read_llc(load(copy))


def test_other_coordinates_are_refused(tmp_path):
    folder = write_sorter(tmp_path / "run", {**UNITS, "coordinates": "relative"})
    with pytest.raises(InputError, match=r"coordinates must be one of 'absolute', 'units', got 'relative'"):
        read_recipe(folder / "run.toml")

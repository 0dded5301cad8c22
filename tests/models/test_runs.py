"""Runs: what is loaded is what was stored for this recipe and step; verify says which file is not."""

import json
import re
import shutil

import pytest
import torch
from small_runs import write_run

from mechbp.errors import CheckpointError, InputError
from mechbp.models.checkpoint import load_checkpoint, save_checkpoint
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.models.verify import verify_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "own")
    train(folder)
    return folder


@pytest.fixture
def run_folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "own")


@pytest.mark.parametrize("given", [None, 3, b"own", True, ["own"]])
def test_what_is_no_name_is_refused(given):
    with pytest.raises(InputError, match=f"a run is given by its name or the path of its folder, got a {type(given).__name__}"):
        load(given)


def test_a_run_folder_of_ones_own(run_folder):
    run = load(run_folder)
    assert run.name == "own" and run.complete and run.steps == (0, 32, 36, 40)
    assert not run.model.training and run.model is run.model
    assert run.digest == load_checkpoint(run_folder / "step-0000040.safetensors").digest
    stored = load_checkpoint(run_folder / "step-0000036.safetensors").tensors
    assert all(torch.equal(p, stored[f"model/{name}"]) for name, p in run.at(36).named_parameters())
    assert not torch.equal(run.at(0).embed.W_E, run.model.embed.W_E)
    assert torch.equal(run.at(0).embed.W_E, run.untrained().embed.W_E)
    assert not torch.equal(run.untrained(seed=1).embed.W_E, run.untrained().embed.W_E)
    assert [line["step"] for line in run.metrics][-1] == 40


def rewrite(path, change, recipe=None):
    held = load_checkpoint(path)
    tensors = dict(held.tensors)
    change(tensors)
    save_checkpoint(path, tensors, held.step, held.recipe if recipe is None else recipe)


FORGED = {
    "missing": (lambda t: t.pop("model/embed.W_E"), "it lacks embed.W_E (1 in all)"),
    "extra": (lambda t: t.update({"model/more": torch.zeros(1)}), "it has the unknown tensor 'more' (1 in all)"),
    "transposed": (
        lambda t: t.update({"model/embed.W_E": t["model/embed.W_E"].T}),
        "it has embed.W_E of shape [8, 5], expected [5, 8]",
    ),
    "two at once": (lambda t: [t.pop("model/embed.W_E"), t.pop("model/unembed.b_U")], "it lacks embed.W_E (2 in all)"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_tensors_must_fit_the_model(kind, run_folder):
    change, message = FORGED[kind]
    rewrite(run_folder / "step-0000040.safetensors", change)
    with pytest.raises(CheckpointError, match=f"step-0000040.safetensors does not fit .*{re.escape(message)}"):
        _ = load(run_folder).model
    assert [c.verdict for c in verify_run(load(run_folder))] == ["FAIL"]


def test_absent_renamed_and_foreign_steps(run_folder):
    with pytest.raises(CheckpointError, match=re.escape("run own: step 5 is not stored; stored steps: 0, 32, 36, 40.")):
        load(run_folder).at(5)
    shutil.copy(run_folder / "step-0000032.safetensors", run_folder / "step-0000033.safetensors")
    with pytest.raises(CheckpointError, match="step-0000033.safetensors holds step 32; the file was renamed"):
        load(run_folder).at(33)
    rewrite(run_folder / "step-0000032.safetensors", lambda t: None, recipe="{}")
    with pytest.raises(CheckpointError, match="step-0000032.safetensors was trained by another recipe than .*run.toml"):
        load(run_folder).at(32)


def test_an_untrained_run_says_how_to_train_it(tmp_path):
    run = load(write_run(tmp_path / "new"))
    with pytest.raises(CheckpointError, match="run new has no stored step yet. Train it first: mechbp train .*new"):
        _ = run.model
    assert [(c.what, c.verdict) for c in verify_run(run)] == [("stored steps intact", "short")]


def test_verify_passes_a_good_run_and_fails_a_bound_that_is_not_met(run_folder):
    assert {c.verdict for c in verify_run(load(run_folder))} == {"pass"}
    with (run_folder / "run.toml").open("a") as file:
        file.write("[requirement]\nkl_bp_to_model_nats = 1e-9\n")
    assert [c.verdict for c in verify_run(load(run_folder))].count("short") == 1


@pytest.mark.parametrize("step", [0, 36, 40])
def test_verify_names_the_damaged_file(step, run_folder):
    path = run_folder / f"step-{step:07d}.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    checks = list(verify_run(load(run_folder)))
    assert [c.verdict for c in checks] == ["FAIL"] and path.name in checks[0].measured and "\n" not in checks[0].measured


@pytest.mark.parametrize("value", [None, "x", True, [], {}, "absent", float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["sequences", "accuracy", "kl_bp1_to_model_nats", "kl_model_to_bp2_nats"])
def test_a_line_without_one_of_its_numbers_is_named(name, value, run_folder):
    path = run_folder / "metrics.jsonl"
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    rows[2][name] = value
    if value == "absent":
        del rows[2][name]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = load(run_folder)
    with pytest.raises(
        CheckpointError, match=rf"metrics.jsonl is damaged: line 3: {name} should be a finite number, got "
    ) as refusal:
        _ = run.metrics
    assert len(str(refusal.value).splitlines()) <= 3
    curve = next(check for check in verify_run(run) if check.what.startswith("curve"))
    assert curve.verdict == "FAIL" and "line 3" in curve.measured


@pytest.mark.parametrize(
    ("old", "new"), [('"step": 40', '"step": 41'), ('"kl_bp0_to_model_nats": 0', '"kl_bp0_to_model_nats": 1'), ("{", "[")]
)
def test_verify_notices_a_curve_that_is_not_reproduced(old, new, run_folder):
    path = run_folder / "metrics.jsonl"
    path.write_text(path.read_text().replace(old, new))
    checks = {c.what.split()[0]: c for c in verify_run(load(run_folder))}
    assert checks["curve"].verdict == "FAIL"

"""Fixed training sets, early stopping and starting from another run: pure functions of the recipe that survive being killed."""

import json
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from small_runs import Child, products, recipe, toml, write_run

from mechbp.errors import CheckpointError, InputError
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.config import TrainingConfig, read_recipe
from mechbp.models.metrics import METRICS, best_step, has_ended, read_metrics
from mechbp.models.objectives import training_batch
from mechbp.models.run_folder import stored_steps
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.models.training_set import training_sequences

STOPPING = {
    "objective__task": "root",
    "training__training_set": 20,
    "training__learning_rate": 3e-4,
    "training__early_stopping": 1.5,
    "training__steps": 300,
    "training__measured_steps": 12,
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that learns 20 sequences by heart, and so gets worse on others."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "stopped", **STOPPING)
    train(folder)
    return folder


@pytest.mark.parametrize(("size", "batch"), [(20, 8), (16, 8), (5, 8), (8, 8), (1, 3)])
def test_every_epoch_shows_every_sequence_once_in_a_new_order(size, batch, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        toml(recipe(training__training_set=size, training__batch_size=batch, objective__task="root", process__depth=4))
    )
    config = read_recipe(path)
    process = config.process.build()
    steps = [training_batch(config, process, step).inputs.numpy()[:, :-1] for step in range(3 * size)]
    epochs = np.concatenate(steps)[: 3 * size].reshape(3, size, -1)
    held = np.sort(epochs[0].view([("", epochs.dtype)] * 16), axis=0)
    assert size == 1 or len(np.unique(held)) > 1
    for epoch in epochs[1:]:
        assert (np.sort(epoch.copy().view([("", epochs.dtype)] * 16), axis=0) == held).all()
    assert size < 5 or not (epochs[0] == epochs[1]).all()
    assert (training_batch(config, process, 2).inputs.numpy()[:, :-1] == steps[2]).all(), "a batch depends on what came before"
    other = read_recipe(path)
    assert (training_batch(other, other.process.build(), 2).inputs.numpy()[:, :-1] == steps[2]).all()


def test_every_seed_has_a_set_of_its_own(tmp_path):
    path = tmp_path / "run.toml"
    rows = []
    for seed in (0, 1):
        path.write_text(toml(recipe(training__training_set=16, training__seed=seed, process__depth=4, process__vocab_size=4)))
        config = read_recipe(path)
        rows.append(training_sequences(config.task, config.process.build(), seed, 16, 0, 16).tokens)
    assert not (np.sort(rows[0], axis=0) == np.sort(rows[1], axis=0)).all()


def test_masks_are_drawn_anew_in_every_epoch(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(toml(recipe(training__training_set=8, objective__mask="single")))
    config = read_recipe(path)
    process = config.process.build()
    hidden = [training_batch(config, process, step).reads.numpy().tobytes() for step in range(5)]
    assert len(set(hidden)) == 5


def test_only_the_best_step_is_kept(stopped):
    run = load(stopped)
    curve = {line["step"]: line["cross_entropy_nats"] for line in run.metrics}
    best = min(curve, key=lambda step: curve[step])
    assert run.steps == (best,) and run.complete
    assert 3 < list(curve).index(best) < len(curve) - 1, "the best step replaced no other, or was not followed by a worse one"
    assert 1.5 * best <= max(curve) < 300, "it stopped too early, or not at all"
    assert curve[max(curve)] > curve[best] + 0.01, "nothing was forgotten by stopping"
    assert not (stopped / "resume.safetensors").exists()


def test_a_stopped_run_is_not_trained_again(stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "stopped")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    train(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_killed_and_resumed_it_ends_as_if_undisturbed(stopped, tmp_path):
    folder = write_run(tmp_path / "run", **STOPPING)
    at = iter((3, 30, 11, 70, 90))
    for limit in at:

        def die(line, limit=limit):
            if line["step"] >= limit:
                Child.kill_self()

        Child(lambda die=die: train(folder, die), tmp_path / "log").wait()
    train(folder)
    assert products(folder) == products(stopped)


def test_killed_twice_the_second_time_sooner_the_best_step_that_is_told_of_is_stored(tmp_path):
    folder = write_run(tmp_path / "run", **STOPPING, training__resume_every=20)
    for limit, last in ((60, 59), (50, 48)):  # both from step 40 on, past two measurements and past one

        def die(line, limit=limit):
            if line["step"] >= limit:
                Child.kill_self()

        Child(lambda die=die: train(folder, die), tmp_path / "log").wait()
        metrics = read_metrics(folder / METRICS)
        assert metrics[-1]["step"] == last
        assert stored_steps(folder) == (best_step(metrics),)


def test_where_training_ends():
    training = TrainingConfig(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10, early_stopping=2.0)

    def curve(*points):
        return [{"step": step, "cross_entropy_nats": value} for step, value in points]

    assert not has_ended(training, 0, [])
    assert not has_ended(training, 8, curve((0, 1.0), (8, 1.1)))  # the warm-up is not over
    assert has_ended(training, 10, curve((0, 1.0), (10, 1.1)))
    assert not has_ended(training, 39, curve((0, 1.0), (20, 0.5), (39, 0.6)))
    assert has_ended(training, 40, curve((0, 1.0), (20, 0.5), (40, 0.6)))
    assert not has_ended(training, 40, curve((0, 1.0), (20, 0.5), (40, 0.4)))
    assert has_ended(training, 100, curve((90, 0.5), (100, 0.4)))
    assert has_ended(TrainingConfig(steps=5, batch_size=1, learning_rate=1.0), 5, [])
    long = TrainingConfig(steps=10_000, batch_size=1, learning_rate=1.0)
    assert [has_ended(long, int(step), []) for step in ("9999", "10000", "10001")] == [False, True, True]


def started(tmp_path, source, **changes):
    return write_run(tmp_path / "fine", start__run="source", start__sha256=load(source).digest, objective__task="root", **changes)


def test_fine_tuning_starts_at_the_other_run(tmp_path):
    source = write_run(tmp_path / "source")
    train(source)
    folder = started(tmp_path, source)
    train(folder)
    before, after, fresh = load(source).model, load(folder).at(0), load(folder).untrained()
    assert torch.equal(after.embed.W_E, before.embed.W_E) and torch.equal(after.blocks[0].mlp.W_in, before.blocks[0].mlp.W_in)
    assert torch.equal(after.pos_embed.W_pos[:4], before.pos_embed.W_pos)
    assert torch.equal(after.pos_embed.W_pos[4], fresh.pos_embed.W_pos[4])
    assert torch.equal(after.unembed.W_U, fresh.unembed.W_U) and not torch.equal(fresh.embed.W_E, before.embed.W_E)


def test_a_start_that_is_not_what_the_recipe_names(tmp_path):
    source = write_run(tmp_path / "source")
    (tmp_path / "fine").mkdir()
    absent = toml(recipe(start__run="source", start__sha256="0" * 64, objective__task="root"))
    (tmp_path / "fine" / "run.toml").write_text(absent)
    with pytest.raises(InputError, match="holds no stored step"):
        train(tmp_path / "fine")
    train(source)
    with pytest.raises(CheckpointError, match=r"has digest [0-9a-f]{16}…, the recipe names '0000"):
        train(tmp_path / "fine")
    shutil.rmtree(tmp_path / "fine")
    with pytest.raises(InputError, match=re.escape("blocks.1.ln1.w is missing")):
        train(started(tmp_path, source, model__n_layers=2))
    shutil.rmtree(tmp_path / "fine")
    with pytest.raises(InputError, match=re.escape("embed.W_E has shape [5, 8] in ")):
        train(started(tmp_path, source, process__vocab_size=4))


@pytest.mark.parametrize("run", ["../source", "/etc", "a/b", ""])
def test_a_start_stays_in_the_folder_of_runs(run, tmp_path):
    folder = tmp_path / "fine"
    folder.mkdir()
    (folder / "run.toml").write_text(toml(recipe(start__run=run, start__sha256="0" * 64)))
    with pytest.raises(InputError, match="start needs the name of a run beside this one"):
        train(folder)


def test_checkpoints_of_before_a_key_existed_are_still_known(tmp_path):
    folder = write_run(tmp_path / "run")
    config = read_recipe(folder / "run.toml")
    tables = json.loads(config.trained_recipe())
    del tables["start"], tables["training"]["training_set"], tables["process"]["ambiguity"]
    assert config.trained_by(json.dumps(tables)) and config.trained_by(config.trained_recipe())
    tables["process"]["seed"] = 1
    assert not config.trained_by(json.dumps(tables))
    for foreign in ("", "[]", "{}", "null", '{"process": 1}', "[" * 10_000):
        assert not config.trained_by(foreign)
    train(folder)
    assert config.trained_by(load_checkpoint(folder / "step-0000040.safetensors").recipe)


def test_the_last_step_holds_weights_alone(tmp_path):
    folder = write_run(tmp_path / "run")
    train(folder)
    names = load_checkpoint(folder / "step-0000040.safetensors").tensors
    assert all(name.startswith("model/") for name in names)


def test_a_stop_is_no_ending(tmp_path):
    """SIGTERM in the middle of an early-stopping run leaves it incomplete."""
    folder = write_run(tmp_path / "run", **STOPPING)

    def die(line):
        if line["step"] == 20:
            Child.kill_self(signal.SIGTERM)

    assert Child(lambda: train(folder, die), tmp_path / "log").wait() == 70  # Interrupted
    assert not load(folder).complete

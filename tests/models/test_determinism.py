"""Equal recipes give equal bytes in every process, and nothing moves a global random state."""

import os
import subprocess
import sys

import pytest
import torch
from small_runs import products, recipe, toml, write_run

from mechbp.models.config import read_recipe
from mechbp.models.objectives import training_batch
from mechbp.models.training import train, untrained_model

pytestmark = pytest.mark.early

TRAIN_AND_LOAD = """
import random, sys
from pathlib import Path
import numpy, torch
torch.set_num_threads(1)
import mechbp, mechbp.models.training
for seed in random.seed, numpy.random.seed, torch.manual_seed:
    seed(int(sys.argv[2]))
states = [random.getstate(), repr(numpy.random.get_state()), torch.get_rng_state().tolist()]
mechbp.models.training.train(Path(sys.argv[1]))
run = mechbp.load(sys.argv[1])
run.model(torch.zeros((1, 4), dtype=torch.int64))
run.untrained(seed=5)
assert states == [random.getstate(), repr(numpy.random.get_state()), torch.get_rng_state().tolist()], "a global generator moved"
assert "wandb" not in sys.modules or sys.modules["wandb"].run is None
"""


@pytest.mark.slow
def test_two_fresh_processes_store_the_same_bytes_silently(tmp_path):
    """Other hash seeds and other global random states, which training neither reads nor moves; no warning reaches a user."""
    began = []
    for seed in ("0", "1"):
        folder = write_run(tmp_path / seed)
        command = [sys.executable, "-W", "error::DeprecationWarning", "-c", TRAIN_AND_LOAD, str(folder), seed]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        began.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [process.communicate(timeout=300)[0] for process in began]
    assert [process.returncode for process in began] == [0, 0], said
    assert said == ["", ""]
    first, second = (products(tmp_path / seed) for seed in ("0", "1"))
    assert first == second
    here = write_run(tmp_path / "here")
    train(here)
    assert products(here) == first


VARIANTS = {
    "posteriors": {"objective__targets": "posteriors"},
    "root": {"objective__task": "root"},
    "next-token": {"objective__task": "next-token", "model__attention": "causal"},
    "attention only": {"model__d_mlp": 0, "model__normalization": "none"},
    "filtered": {"process__filter_level": 1, "training__decay": "cosine"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_recipes_train_to_equal_bytes_and_other_seeds_do_not(variant, tmp_path):
    seeds = {"a": 0, "b": 0, "c": 1}
    for name, seed in seeds.items():
        train(write_run(tmp_path / name, training__steps=3, training__seed=seed, **VARIANTS[variant]))
    a, b, c = (products(tmp_path / name) for name in seeds)
    assert a == b
    assert all(a[name] != c[name] for name in a)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_is_a_pure_function_of_seed_and_step(variant, tmp_path):
    (tmp_path / "run.toml").write_text(toml(recipe(**VARIANTS[variant])))
    config = read_recipe(tmp_path / "run.toml")
    process = config.process.build()
    forwards = [training_batch(config, process, step) for step in (0, 1, 2)]
    backwards = [training_batch(config, process, step) for step in (2, 1, 0)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.reads, other.reads)
        assert torch.equal(one.targets, other.targets)
    assert not torch.equal(forwards[0].inputs, forwards[1].inputs)
    assert torch.equal(*(untrained_model(config, process).embed.W_E for _ in range(2)))

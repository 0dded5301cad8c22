"""Recipes: what is accepted arrives, and every way to be wrong is refused with the file, the key and what was expected."""

import math
import re

import numpy as np
import pytest
from small_runs import recipe, toml

from mechbp.errors import InputError, LimitExceeded, MechbpError
from mechbp.models.config import MAX_RECIPE_BYTES, ModelConfig, StartConfig, TrainingConfig, read_recipe
from mechbp.models.llc_config import LLCConfig
from mechbp.models.recipe_edits import restored_on_failure
from mechbp.models.run_folder import step_file
from mechbp.randomness import rng

GOOD = toml(recipe())


def read(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recipe(path)


def test_a_recipe_arrives(tmp_path):
    config = read(tmp_path, GOOD + "[requirement]\naccuracy = 1\n")
    assert (config.process.vocab_size, config.process.recipe, config.model.n_heads) == (3, "paper", 2)
    assert (config.objective.mask, config.training.learning_rate, config.requirement.accuracy) == ("rate", 0.01, 1.0)
    assert config == read(tmp_path, GOOD + "[requirement]\naccuracy = 1.0\n")


def test_only_requirements_leave_the_trained_recipe_unchanged(tmp_path):
    base = read(tmp_path, GOOD).trained_recipe()
    assert read(tmp_path, GOOD + "[requirement]\naccuracy = 0.5\n").trained_recipe() == base
    assert read(tmp_path, toml(recipe(training__seed=1))).trained_recipe() != base
    assert read(tmp_path, toml(recipe(process__sigma=0.5))).trained_recipe() != base


SETTING = '[[llc]]\nname = "main"\nn_beta = 10\nlocalization = 100\n'


def test_settings_of_measurements_arrive(tmp_path):
    (one,) = read(tmp_path, GOOD + SETTING.replace("[[llc]]", "[llc]")).llc
    assert (one.name, one.n_beta, one.steps, one.step_size, one.burn_in, one.l2) == ("main", 10.0, "all", "auto", "auto", 0.0)
    assert read(tmp_path, GOOD + SETTING).llc == (one,) and read(tmp_path, GOOD).llc == ()
    more = SETTING.replace("main", "other") + "steps = [0, 32]\nstep_size = 1e-4\nburn_in = 50\n"
    _, other = read(tmp_path, GOOD + SETTING + more).llc
    assert (other.steps, other.step_size, other.burn_in) == ((0, 32), 1e-4, 50)
    assert read(tmp_path, GOOD + SETTING + 'steps = "last"\n').llc[0].steps == "last"


# ruff: noqa: E501
WRONG = {
    "setting without a name": (GOOD + "[llc]\nn_beta = 1\n", "[llc] lacks name, localization."),
    "second setting without a name": (GOOD + SETTING + "[[llc]]\n", "[llc[1]] lacks name, n_beta, localization."),
    "setting as a number": ("llc = 3\n" + GOOD, "llc must be a list, got 3."),
    "setting with an unknown key": (GOOD + SETTING + "drows = 3\n", "[llc[0]] has no key 'drows'; did you mean 'draws'?"),
    "two settings of one name": (GOOD + SETTING + SETTING, "llc: two settings are called 'main'."),
    "setting with a name of its own kind": (GOOD + SETTING.replace("main", "../x"), "llc.name must be up to 64 of a-z"),
    "temperature 0": (GOOD + SETTING.replace("10\n", "0\n", 1), "llc.main.n_beta must be in 1e-06..1000000000.0, got 0.0."),
    "step size in words": (GOOD + SETTING + 'step_size = "small"\n', "llc[0].step_size must be 'auto' or a finite number, got 'small'."),
    "step size nan": (GOOD + SETTING + "step_size = nan\n", "llc[0].step_size must be 'auto' or a finite number, got nan."),
    "step size 0": (GOOD + SETTING + "step_size = 0\n", "llc.main.step_size must be in 1e-12..1, got 0.0."),
    "burn-in 0": (GOOD + SETTING + "burn_in = 0\n", "llc.main.burn_in must be in 1..10000000, got 0."),
    "burn-in without end": (GOOD + SETTING.replace("100", "0"), "llc.main: without localization no burn-in is long enough."),
    "no steps": (GOOD + SETTING + "steps = []\n", "llc.main.steps must be 'all', 'last' or ascending stored steps, got []."),
    "steps in disorder": (GOOD + SETTING + "steps = [3, 1]\n", "ascending stored steps, got [3, 1]."),
    "steps in words": (GOOD + SETTING + 'steps = "some"\n', "llc[0].steps must be 'all' or 'last' or a list, got 'some'."),
    "a step in words": (GOOD + SETTING + 'steps = [1, "a"]\n', "llc[0].steps[1] must be an integer, got 'a'."),
    "one chain": (GOOD + SETTING + "chains = 1\n", "llc.main.chains must be in 2..256, got 1."),
    "unknown sampler": (GOOD + SETTING + 'sampler = "hmc"\n', "llc[0].sampler must be one of 'sgld', 'averaged noise', 'mala', got 'hmc'."),
    "mala on batches": (GOOD + SETTING + 'sampler = "mala"\n', "llc.main: sampler 'mala' accepts by the loss of all data. Set n_batches = 1, not 32."),
    "giant batches": (GOOD + SETTING + "batch_size = 1_000_000\n", "llc.main: batches of 128,000,000 tokens in all; at most 16,777,216"),
    "unknown table": (GOOD + "[trainig]\n", "[recipe] has no key 'trainig'; did you mean 'training'?"),
    "unknown key": (toml(recipe(training__learning_rat=1)), "[training] has no key 'learning_rat'; did you mean 'learning_rate'?"),
    "missing key": (GOOD.replace("steps = 40\n", "", 1), "[training] lacks steps."),
    "missing table": (GOOD.replace("[objective]", "[requirement]"), "[recipe] lacks objective."),
    "empty": ("", "[recipe] lacks process, model, objective, training."),
    "a table as a number": ("process = 5\nmodel = 1\nobjective = 1\ntraining = 1\n", "[process] must be a table, got 5."),
    "a number as a table": (GOOD + "[training.seed]\n", "training.seed must be an integer, got {}."),
    "nan": (GOOD.replace("0.01", "nan"), "training.learning_rate must be a finite number, got nan."),
    "inf": (GOOD.replace("0.01", "-inf"), "training.learning_rate must be a finite number, got -inf."),
    "overflow": (GOOD.replace("0.01", "1e999"), "training.learning_rate must be a finite number, got inf."),
    "huge integer": (GOOD.replace("0.01", "1" + "0" * 400), "must be a finite number, got an integer of 1329 bits."),
    "huge hexadecimal": (GOOD.replace("0.01", "0x" + "f" * 9000), "must be a finite number, got an integer of 36000 bits."),
    "huge steps": (GOOD.replace("steps = 40", "steps = 0x" + "f" * 9000, 1), "training.steps must be in 1..100000000, got an integer of"),
    "integer of 9,000 digits": (GOOD.replace("0.01", "9" * 9000), "is no valid TOML"),
    "boolean": (GOOD.replace("steps = 40", "steps = true", 1), "training.steps must be an integer, got True."),
    "float for integer": (GOOD.replace("steps = 40", "steps = 40.0", 1), "training.steps must be an integer, got 40.0."),
    "text for number": (GOOD.replace("0.01", '"fast"'), "training.learning_rate must be a finite number, got 'fast'."),
    "date": (GOOD.replace("0.01", "2020-01-01"), "training.learning_rate must be a finite number, got datetime.date(2020, 1, 1)."),
    "list": (GOOD.replace("0.01", "[0.01]"), "training.learning_rate must be a finite number, got [0.01]."),
    "unknown task": (
        GOOD.replace('"masked"', '"mask"'),
        "objective.task must be one of 'masked', 'root', 'root-all', 'next-token', got 'mask'.",
    ),
    "zero steps": (GOOD.replace("steps = 40", "steps = 0", 1), "training.steps must be in 1..100000000, got 0."),
    "negative seed": (toml(recipe(training__seed=-1)), "training.seed must be in 0.."),
    "beta2 of 1": (toml(recipe(training__beta2=1)), "training.beta2 must be in 0..0.999999, got 1.0."),
    "vocabulary of a million": (toml(recipe(process__vocab_size=10**6)), "process.vocab_size must be in 2..128, got 1000000."),
    "depth 0": (toml(recipe(process__depth=0)), "process.depth must be in 1..12, got 0."),
    "depth 40": (toml(recipe(process__depth=40)), "process.depth must be in 1..12, got 40."),
    "filter level": (toml(recipe(process__filter_level=3)), "process.filter_level must be in 0..2, got 3."),
    "sigma": (toml(recipe(process__sigma=-1)), "process.sigma must be in 0..100, got -1.0."),
    "heads": (toml(recipe(model__n_heads=3)), "model: d_model = 8 must be a multiple of n_heads = 3."),
    "giant model": (toml(recipe(model__d_model=4096, model__n_layers=64)), "parameters; at most 40,000,000."),
    "giant batch": (toml(recipe(training__batch_size=10**6, process__depth=12)), "a batch of 4,096,000,000 tokens; at most 16,777,216"),
    "mask rates": (toml(recipe(objective__mask_rate_low=0.5)), "mask rates must satisfy 0 <= low <= high <= 1, got 0.5 and 0.4."),
    "causal mask": (toml(recipe(model__attention="causal")), "task 'masked' needs bidirectional attention, got 'causal'."),
    "non-causal next token": (toml(recipe(objective__task="next-token")), "task 'next-token' needs causal attention"),
    "key twice": (GOOD + "seed = 1\nseed = 2\n", "is no valid TOML"),
    "unclosed": (GOOD + "[", "is no valid TOML"),
    "not UTF-8": (GOOD.encode() + b"# \xff", "is no valid TOML"),
    "UTF-16": (GOOD.encode("utf-16"), "is no valid TOML"),
    "NUL": (GOOD + "\0", "is no valid TOML"),
    "nested 50,000 deep": ("a = " + "[" * 50_000, "is no valid TOML"),
    "tables nested 500 deep": ("[" + ".".join("a" * 500) + "]\n", "[recipe] has no key 'a'"),
    "key of 50,000 characters": ("k" * 50_000 + " = 1\n", "[recipe] has no key 'kkk"),
    "key with escapes": ('"\\u001b[31m\\n\\n\\n\\n" = 1\n', "[recipe] has no key '\\x1b[31m\\n"),
    "too large": (GOOD + "#" * MAX_RECIPE_BYTES, "a recipe has at most 100,000 bytes."),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_recipes_are_refused(kind, tmp_path):
    text, message = WRONG[kind]
    with pytest.raises((InputError, LimitExceeded), match=re.escape(message)) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert (
        said.startswith((f"{tmp_path / 'run.toml'}", "cannot read"))
        and said.count("\n") <= 2
        and len(said) < 500 + len(str(tmp_path))
    )


def test_missing_recipe_and_folder_in_its_place(tmp_path):
    with pytest.raises(
        InputError, match="cannot read .*run.toml: No such file or directory. A run is a folder with a run.toml in it."
    ):
        read_recipe(tmp_path / "run.toml")
    with pytest.raises(InputError, match="Is a directory"):
        read_recipe(tmp_path)


def mutations(count):
    """Recipes with a few bytes changed, lines dropped, doubled or swapped, values exchanged."""
    draw, base = rng(0, "mutations"), GOOD.encode()
    values = [
        b"0",
        b"-1",
        b"nan",
        b"1e308",
        b"true",
        b'""',
        b"[]",
        b"{}",
        b"1_0",
        b"0x7fffffffffffffff",
        b"99999999999",
        b"'x'",
        b"=",
    ]
    for _ in range(count):
        lines = base.splitlines(keepends=True)
        kind, i, j = draw.integers(5), draw.integers(len(lines)), draw.integers(len(lines))
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(i, lines[j])
        elif kind == 2 and b"=" in lines[i]:
            lines[i] = lines[i].split(b"=")[0] + b"= " + values[draw.integers(len(values))] + b"\n"
        data = bytearray(b"".join(lines))
        if kind >= 3:
            for _ in range(draw.integers(1, 4)):
                data[draw.integers(len(data))] = draw.integers(256)
        yield bytes(data)


def check_mutations(tmp_path, count):
    refused = 0
    for text in mutations(count):
        try:
            read(tmp_path, text)
        except MechbpError as error:
            refused += 1
            assert str(error).count("\n") <= 2 and "run.toml" in str(error)
    assert count / 3 < refused < count


def test_300_mutated_recipes_are_read_or_refused(tmp_path):
    check_mutations(tmp_path, 300)


@pytest.mark.long
def test_5000_mutated_recipes_are_read_or_refused(tmp_path):
    check_mutations(tmp_path, 5000)


def test_shipped_recipes_are_valid():
    from mechbp.models.run_folder import run_names
    from mechbp.models.runs import load

    assert {"tree-mlm-k0", "tree-root-k0"} <= set(run_names())
    for name in run_names():
        config = load(name).config
        assert config.objective.targets in ("tokens", "posteriors")


@pytest.mark.parametrize("stored", [False, True])
def test_a_recipe_is_put_back_only_where_nothing_was_stored_with_the_new_one(tmp_path, stored):
    (tmp_path / "run.toml").write_text("before")
    with pytest.raises(InputError, match="failed"), restored_on_failure([tmp_path]):
        (tmp_path / "run.toml").write_text("after")
        if stored:
            step_file(tmp_path, 0).touch()
        raise InputError("failed")
    assert (tmp_path / "run.toml").read_text() == ("after" if stored else "before")


BY_HAND = {
    "a text for an integer": (lambda: TrainingConfig("100", 1, 1.0), "training.steps must be an integer, got '100'."),
    "true for an integer": (lambda: TrainingConfig(100, True, 1.0), "training.batch_size must be an integer, got True."),
    "a fraction for an integer": (lambda: TrainingConfig(100, 1, 1.0, 0.5), "training.seed must be an integer, got 0.5."),
    "a text for a number": (
        lambda: TrainingConfig(100, 1, "fast"),
        "training.learning_rate must be a finite number, got 'fast'.",
    ),
    "nan": (lambda: TrainingConfig(100, 1, math.nan), "training.learning_rate must be a finite number, got nan."),
    "an unknown word": (
        lambda: ModelConfig(1, 2, 8, 8, attention="casual"),
        "model.attention must be 'bidirectional' or 'causal', got",
    ),
    "a list for a word": (lambda: ModelConfig(1, 2, 8, 8, attention=["causal"]), "model.attention must be 'bidirectional' or"),
    "1 for true": (lambda: LLCConfig("a", 1.0, 1.0, centre_gradients=1), "llc.a.centre_gradients must be true or false, got 1."),
    "a list for a step": (
        lambda: LLCConfig("a", 1.0, 1.0, step_size=[1]),
        "llc.a.step_size must be 'auto' or a finite number, got [1].",
    ),
    "a number for a text": (lambda: StartConfig(run=5, sha256="0" * 64), "start.run must be a text, got 5."),
    "a number for a name": (lambda: LLCConfig(3, 1.0, 1.0), "llc.name must be up to 64 of a-z"),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_configurations_made_by_hand_are_held_to_the_kinds_of_their_fields(kind):
    make, told = BY_HAND[kind]
    with pytest.raises(InputError, match=re.escape(told)):
        make()


def test_what_a_configuration_made_by_hand_may_be_is_taken(unchecked):
    made = TrainingConfig(np.int64(100), 1, 1, final_rate=np.float32(0.5))
    assert (made.steps, made.learning_rate, made.final_rate) == (100, 1, 0.5)
    assert LLCConfig("a", 1.0, 1.0, step_size=1e-4, burn_in=50, centre_gradients=True).step_size == 1e-4

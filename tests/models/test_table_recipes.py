"""Processes by their tables: transitions, rules, words in a recipe or a file beside it; and processes at hand as recipes."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import toml

import mechbp
from mechbp.errors import InputError, LimitExceeded
from mechbp.models.config import RunConfig, read_recipe
from mechbp.models.families import FAMILIES
from mechbp.models.recipe_edits import Setting
from mechbp.models.run_folder import stored_steps
from mechbp.models.runs import load
from mechbp.models.starting import new_run
from mechbp.models.training import train

SWITCH = [[[0.6, 0.1], [0.05, 0.1]], [[0.2, 0.1], [0.05, 0.8]]]
"""[token][from][to]: two states, two tokens."""
RULES = mechbp.TreeGrammar.random(2, 1.0, 3).rules.tolist()
WORDS = [[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]
TABLES = {
    "hmm": ({"kind": "hmm", "length": 5, "transitions": SWITCH}, "next-token", "transitions"),
    "rules": ({"kind": "rules", "depth": 2, "rules": RULES}, "masked", "rules"),
    "topic-words": (
        {"kind": "topic-words", "length_low": 4, "length_high": 6, "word_given_topic": WORDS, "alpha": [0.3, 0.5]},
        "masked",
        "word_given_topic",
    ),
}


def recipe(process, task):
    attention = "causal" if task == "next-token" else "bidirectional"
    return toml(
        {
            "process": process,
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 8, "d_mlp": 8, "attention": attention},
            "objective": {"task": task},
            "training": {"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "stored_steps": 1},
        }
    )


def read(folder: Path, process, task="next-token") -> RunConfig:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(recipe(process, task))
    return read_recipe(folder / "run.toml")


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_stands_in_the_recipe_or_beside_it(kind, tmp_path):
    table, task, key = TABLES[kind]
    inside = read(tmp_path / "inside", table, task)
    held = getattr(inside.process.build(), key) if kind != "rules" else inside.process.build().grammar.rules
    np.testing.assert_allclose(held, table[key], rtol=0, atol=1e-12)
    beside = {}
    for suffix, save in (
        (".json", lambda path: path.write_text(json.dumps(table[key]))),
        (".npy", lambda p: np.save(p, table[key])),
    ):
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        save(folder / f"numbers{suffix}")
        beside[suffix] = read(folder, table | {key: f"numbers{suffix}"}, task)
        assert beside[suffix] == inside and beside[suffix].trained_recipe() == inside.trained_recipe()
    train(tmp_path / "npy")
    assert stored_steps(tmp_path / "npy") == (0, 2) and load(tmp_path / "npy").model is not None
    copied = new_run(tmp_path / "copied", str(tmp_path / "json"), [Setting.of("training.seed=1")]).parent
    assert (copied / "numbers.json").is_file() and read_recipe(copied / "run.toml").process == inside.process
    changed = np.load(tmp_path / "npy" / "numbers.npy")
    changed[0], changed[1] = changed[1].copy(), changed[0].copy()
    np.save(tmp_path / "npy" / "numbers.npy", changed)
    with pytest.raises(mechbp.errors.CheckpointError, match="belongs to another recipe"):
        train(tmp_path / "npy")


def test_a_chain_by_its_table_is_the_chain_by_its_name(tmp_path):
    named = mechbp.mess3(0.15, 0.6, length=5)
    config = read(tmp_path, {"kind": "hmm", "length": 5, "transitions": named.transitions.tolist()})
    tokens = named.sample(50, mechbp.rng(0, "chain")).tokens
    np.testing.assert_allclose(config.process.build().beliefs(tokens), named.beliefs(tokens), rtol=0, atol=1e-12)
    assert config.process.provenance()["transitions_sha256"] and hash(config.process)


HMM = {"kind": "hmm", "length": 5}
WRONG = {
    "rows that do not sum to 1": (
        {"transitions": [[[0.6]], [[0.5]]]},
        r"transitions from state 0 sum to 1.1 over tokens and arriv",
    ),
    "a negative probability": ({"transitions": [[[-0.5]], [[1.5]]]}, r"transitions\[0, 0, 0\] = -0.5 is no probability"),
    "states that differ in number": (
        {"transitions": [[[0.5, 0.5]], [[0, 0]]]},
        r"must be \[token, from, to\], got shape \[2, 1, 2\]",
    ),
    "a ragged table": ({"transitions": [[[0.5], [0.5, 1]]]}, r"must be the numbers \[token\]\[from\]\[to\], all rows"),
    "too few axes": ({"transitions": [[0.5, 0.5]]}, r"process.transitions\[0\]\[0\] must be a list, got 0.5"),
    "no numbers": ({"transitions": []}, r"must be the numbers \[token\]\[from\]\[to\]"),
    "words": ({"transitions": [[["a"]]]}, r"process.transitions\[0\]\[0\]\[0\] must be a finite number, got 'a'"),
    "no table": ({}, r"\[process\] lacks transitions"),
    "two stationary distributions": ({"transitions": [[[1, 0], [0, 1]]]}, r"stationary"),
    "a start of another size": ({"transitions": SWITCH, "start": [1, 0, 0]}, r"start"),
    "a missing file": ({"transitions": "no.json"}, r"process.transitions: cannot read .*no.json: No such file or directory"),
    "a file elsewhere": ({"transitions": "../x.json"}, r"process.transitions: '../x.json' is not a valid name"),
    "a file of no numbers": ({"transitions": "run.toml"}, r"is no file of numbers; it must end in .json or .npy"),
    "JSON that is none": ({"transitions": "bad.json"}, r"bad.json holds no numbers: Expecting value"),
    "JSON that is a table": ({"transitions": "table.json"}, r"table.json must hold a list of numbers, got \{\}"),
    "an array of objects": ({"transitions": "objects.npy"}, r"objects.npy holds no numbers"),
    "an array of words": ({"transitions": "words.npy"}, r"words.npy holds no numbers: an array of <U1"),
    "an array of NaN": ({"transitions": "nan.npy"}, r"must be a finite number, got nan"),
    "an empty file": ({"transitions": "empty.npy"}, r"empty.npy holds no numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_table_is_said(kind, tmp_path):
    (tmp_path / "bad.json").write_text("nope")
    (tmp_path / "table.json").write_text("{}")
    (tmp_path / "empty.npy").write_bytes(b"")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "words.npy", np.array([[["a"]]]))
    np.save(tmp_path / "nan.npy", np.full((1, 1, 1), np.nan))
    table, message = WRONG[kind]
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, HMM | table)
    assert str(caught.value).startswith(str(tmp_path / "run.toml")) and str(caught.value).count("\n") <= 2


def test_tables_have_a_limit(tmp_path):
    (tmp_path / "many.json").write_text(json.dumps([[[0.5] * 20_001]]))
    with pytest.raises(LimitExceeded, match="more than 20,000 numbers"):
        read(tmp_path, HMM | {"transitions": "many.json"})


PROCESSES = {
    "mess3": mechbp.mess3(0.15, 0.6, length=6),
    "rrxor": mechbp.rrxor(0.3, 0.7).of_length(6),
    "hmm": mechbp.HiddenMarkovModel(np.array(SWITCH), length=6),
    "rules": mechbp.FilteredTree(mechbp.TreeGrammar.random(3, 1.0, 0), 3, 1),
    "topics": mechbp.TopicModel.disjoint(3, 2, alpha=0.2, length=(3, 7)),
    "topic-words": mechbp.TopicModel.ring(3, 2, 1, 0.25, alpha=0.2, length=7),
    "sorting": mechbp.SortedLists(9, 4, window=6),
}


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_process_at_hand_has_a_recipe_that_builds_it_again(kind):
    process = PROCESSES[kind]
    family = next(family for family in FAMILIES if isinstance(process, family.processes))
    assert family.recipe_of is not None
    recipe = family.recipe_of(process)
    assert recipe.kind == kind and hash(recipe) == hash(family.recipe_of(process))
    task = next(iter(family.tasks.values()))
    asked = task.questions(process, task.draw(process, 40, mechbp.rng(0, "again")))
    again = task.exact(recipe.build(), asked.tokens)
    np.testing.assert_allclose(again, task.exact(process, asked.tokens), rtol=0, atol=1e-12)

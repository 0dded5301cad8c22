"""Models are taught lists of one split, asked about another, at the places where the sorted list is to come."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from brute_sorting import all_lists
from small_runs import toml

from mechbp.errors import InputError
from mechbp.models.answers import ask, model_answers
from mechbp.models.config import RunConfig, read_recipe
from mechbp.models.families import FAMILIES
from mechbp.models.objectives import training_batch
from mechbp.models.runs import load
from mechbp.models.tasks.sorting import SORTING, SortingRecipe
from mechbp.models.tasks.task import Task, own_oracle
from mechbp.models.training import EVALUATION_SEED, measure, train, untrained_model
from mechbp.models.verify import VERIFY_SEED, verify_run
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import in_split
from mechbp.randomness import rng
from mechbp.theory.sorting.ladder import information_ladder

SORT = SORTING.tasks["sort"]
RECIPE = {
    "process": {"kind": "sorting", "vocab_size": 8, "length": 3},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 24, "d_mlp": 0, "attention": "causal"},
    "objective": {"task": "sort"},
    "training": {
        "steps": 400, "batch_size": 64, "learning_rate": 1e-2, "warmup_steps": 10, "final_rate": 0.1, "weight_decay": 0.0,
        "l2": 1e-4, "gradient_clip": 0.0, "stored_steps": 2, "measured_steps": 4,
    },
    "requirement": {"kl_bp_to_model_nats": 0.1, "accuracy": 0.97},
}  # fmt: skip


def config_of(folder, **changes) -> RunConfig:
    tables = {name: dict(table) for name, table in RECIPE.items()}
    for path, value in changes.items():
        table, key = path.split("__")
        tables[table][key] = value
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(toml(tables))
    return read_recipe(folder / "run.toml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sorting"
    config_of(folder, process__vocab_size=16)
    train(folder)
    return load(folder)


def names(tokens, length):
    """SHA-256 of every list in ascending order."""
    return {hashlib.sha256(bytes(sorted(row[:length]))).hexdigest() for row in tokens.tolist()}


def test_the_wing_is_registered():
    assert SORTING in FAMILIES and isinstance(SORT, Task)


@pytest.mark.parametrize("training_set", [0, 300])
def test_what_judges_a_model_is_never_taught(training_set, tmp_path):
    """All 56 lists of 3 out of 8 come up many times: those asked by curves and by verify are never among those taught."""
    config = config_of(tmp_path / "run", training__training_set=training_set)
    process = config.process.build()
    taught = set()
    for step in range(20):
        taught |= names(training_batch(config, process, step).inputs.numpy(), 3)
    asked = names(ask(SORT, process, 512, rng(EVALUATION_SEED, "held-out")).tokens, 3)
    asked |= names(ask(SORT, process, 512, rng(VERIFY_SEED, "verify")).tokens, 3)
    held = np.array(list(itertools.combinations(range(8), 3)))
    assert not taught & asked
    assert asked == names(held[in_split(held, "test")], 3) and taught == names(held[in_split(held, "train")], 3)


def test_a_lesson_shows_all_but_the_last_and_asks_for_the_sorted_half(tmp_path):
    config = config_of(tmp_path / "run")
    process = config.process.build()
    batch = training_batch(config, process, 3)
    assert batch.inputs.shape == (64, 6) and (batch.inputs[:, 3] == 8).all()
    assert torch.equal(batch.reads, torch.tensor([[False] * 3 + [True] * 3]).expand(64, 6))
    expected = np.sort(batch.inputs[:, :3].numpy(), axis=1)
    assert (batch.targets.reshape(64, 3).numpy() == expected).all()
    assert (batch.inputs[:, 4:].numpy() == expected[:, :2]).all()
    soft = training_batch(config_of(tmp_path / "soft", objective__targets="posteriors"), process, 3)
    assert torch.equal(soft.inputs, batch.inputs) and torch.equal(soft.targets.argmax(dim=1), batch.targets)
    assert soft.targets.shape == (192, 9) and (soft.targets.sum(dim=1) == 1).all()


def test_exact_answers_equal_enumeration():
    process = SortedLists(5, 3, window=4)
    tokens = np.array([[*values, 5, *sorted(values)] for values in all_lists(5, 3, window=4)])
    found = SORT.exact(process, tokens)
    for row, answers in zip(tokens, found, strict=True):
        for j, answer in enumerate(answers):
            same = [other for other in tokens if (other[: 4 + j] == row[: 4 + j]).all()]
            assert answer[same[0][4 + j]] == 1 and answer.sum() == 1 and len(same) == 1


def test_a_model_is_read_where_the_sorted_list_is_to_come(tmp_path):
    config = config_of(tmp_path / "run")
    process = config.process.build()
    model = untrained_model(config, process)
    assert (model.cfg.d_vocab, model.cfg.d_vocab_out, model.cfg.n_ctx) == (9, 9, 7)
    asked = ask(SORT, process, 5, rng(0, "read"))
    found = model_answers(model, SORT, process, asked.tokens, batch_size=2)
    expected = model(torch.from_numpy(SORT.inputs(process, asked.tokens)))[:, 3:6].double().softmax(-1).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert asked.truth.shape == found.shape[:2] and (asked.truth == np.sort(asked.tokens[:, :3], axis=1)).all()


def test_the_published_model_has_the_published_size(tmp_path):
    size = {"process__vocab_size": 51, "process__length": 10, "model__d_model": 96, "model__d_head": 48}
    for changes, parameters in (({}, 49_684), ({"model__normalization": "none"}, 49_300), ({"model__n_heads": 1}, 31_108)):
        config = config_of(tmp_path / "run", **size, **changes)
        model = untrained_model(config, config.process.build())
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_a_model_learns_to_sort_lists_it_has_not_seen(run):
    last = run.metrics[-1]
    assert last["accuracy"] > 0.97 and last["kl_sorted_to_model_nats"] == last["cross_entropy_nats"] < 0.1
    assert run.metrics[0]["accuracy"] < 0.5 and own_oracle(run.task, run.process) == "sorted"
    assert {check.verdict for check in verify_run(run)} == {"pass"}


def test_rungs_stand_beside_the_curves(run):
    """What a rung loses against exact sorting is its cross-entropy."""
    tokens = run.process.sample(4000, rng(0, "rungs")).tokens
    exact = run.task.exact(run.process, tokens)
    ladder = information_ladder(run.process)
    oracles = run.task.oracles(run.process)
    assert list(oracles) == ["sorted", "token", "larger"]
    for name in ("token", "larger"):
        lost = -np.log((run.task.exact(oracles[name], tokens) * exact).sum(axis=-1)).mean(axis=1)
        assert abs(lost.mean() - ladder[name].mean_nats) < 4 * lost.std() / np.sqrt(len(lost)) + 1e-12
    line = measure(run.at(0), run.process, run.task)
    assert line["kl_token_to_model_nats"] > 0 and line["kl_larger_to_model_nats"] > 0
    assert list(SORT.oracles(SortedLists(8, 3, repeats=True))) == ["sorted", "token"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process__length": 9}, "9 values at least 1 apart need a range of 9, there are 8"),
        ({"process__vocab_size": 513}, "process.vocab_size must be in 1..512, got 513"),
        ({"process__length": 0}, "process.length must be in 1..128, got 0"),
        ({"model__attention": "bidirectional"}, "task 'sort' needs causal attention"),
        ({"training__final_rate": 1.5}, "training.final_rate must be in 0..1, got 1.5"),
    ],
)
def test_recipes_that_make_no_sense(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        config_of(tmp_path / "run", **changes)


def test_recipes_have_names():
    assert SortingRecipe("sorting", 51, 10).name == "sorting 10 of 51 values"
    assert SortingRecipe("sorting", 51, 10, window=15).provenance() == {"process": "sorting 10 of 51 values, window 15"}
    assert SortingRecipe("sorting", 51, 10, gap=3).name == "sorting 10 of 51 values, gaps of 3 or more"
    assert SortingRecipe("sorting", 51, 10, repeats=True).name == "sorting 10 of 51 values, with repeats"
    assert SortingRecipe("sorting", 51, 10).n_tokens == 21

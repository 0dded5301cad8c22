"""Whatever a process or a result holds, `repr` of it is a line."""

import dataclasses
import importlib
import pkgutil
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import write_run

import mechbp
import mechbp.methods
import mechbp.models.tasks
import mechbp.processes
import mechbp.theory
from mechbp.brief import Brief
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.processes.topics.supports import SupportMixture

SHORT = 120
"""Characters that a public type takes."""
TOKENS = np.random.default_rng(0).integers(4, size=(4, 16))
LONGEST = 700
"""Characters; a result of a dozen fields says each of them in about fifty."""
TREE = mechbp.FilteredTree(mechbp.TreeGrammar.random(vocab_size=3, sigma=1.0, seed=0), depth=2)
CHAIN = mechbp.mess3(x=0.05, alpha=0.85).of_length(4)
TOPICS = mechbp.TopicModel.disjoint(10, 10, alpha=0.1).of_length((4, 6))
LISTS = mechbp.SortedLists(vocab_size=6, length=3)
PUBLIC = {
    "TreeGrammar": (lambda: TREE.grammar, "TreeGrammar(3 symbols, "),
    "FilteredTree": (lambda: TREE, "FilteredTree(grammar=TreeGrammar(3 symbols, "),
    "HiddenMarkovModel": (lambda: CHAIN, "HiddenMarkovModel(transitions=float64[3, 3, 3], start=float64[3], length=4)"),
    "TopicModel": (lambda: TOPICS, "TopicModel(word_given_topic=float64[10, 100], alpha=float64[10], length=[4, 6])"),
    "SupportMixture": (lambda: SupportMixture.disjoint(4, 3, 2), "SupportMixture(word_given_topic=float64[4, 12], topics_per"),
    "SortedLists": (lambda: LISTS, "SortedLists(vocab_size=6, length=3, "),
    "Run": (lambda: mechbp.load("tree-mlm-k0"), "Run('tree-mlm-k0', filter level 0, depth 4, task 'masked', step 40,000)"),
    "untrained Run": (lambda: _untrained(), "Run('fresh', filter level 0, depth 2, task 'masked', not trained yet)"),
    "ModelCheck": (lambda: mechbp.check_model(*_model()), "ModelCheck("),
    "HookTable": (lambda: mechbp.hook_table(_model()[0]), "HookTable("),
    "CompiledBP": (lambda: mechbp.compile_bp(TREE), "CompiledBP(leaf, 3 symbols, depth 2, filter level 0, "),
    "Slots": (lambda: mechbp.compile_bp(TREE).slots, "Slots("),
    "Report": (lambda: mechbp.Report("Is it so?").add("It is."), "Report('Is it so?', 0 claims, 1 parts)"),
    "Metric": (lambda: mechbp.metrics.log_prob(0, 1), ""),
}
"""Public type -> an example of it, and how its repr begins."""
DRAWN = {type(process).__name__: process for process in (TREE, CHAIN, TOPICS, LISTS)}


def _untrained():
    with tempfile.TemporaryDirectory() as folder:
        return mechbp.load(write_run(Path(folder) / "fresh"))


def _model():
    return mechbp.load("tree-mlm-k0").model, TOKENS


@pytest.mark.parametrize("name", PUBLIC)
def test_public_types_tell_of_themselves_in_a_short_line(name):
    make, begins = PUBLIC[name]
    told = repr(make())
    assert told.startswith(begins) and len(told) < SHORT and is_plain(told), told


@pytest.mark.parametrize("process", DRAWN.values(), ids=DRAWN)
def test_samples_and_beliefs_tell_their_sizes(process):
    sample = process.sample(50, mechbp.rng(0, "sample"))
    for found in (sample, process.beliefs(sample.tokens), process.small().joint()):
        if not isinstance(found, np.ndarray):
            told = repr(found)
            assert len(told) < 160 and is_plain(told) and re.search(r"=(u?int|float)\d+\[\d+", told), told


def is_plain(told):
    """Whether a line holds neither an address nor an array of numbers."""
    return "\n" not in told and "object at 0x" not in told and "array(" not in told and told.isprintable()


def results():
    """Every public dataclass of processes, tasks, methods and theory that holds arrays, or intervals of them."""
    for package in (mechbp.processes, mechbp.models.tasks, mechbp.methods, mechbp.theory):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if dataclasses.is_dataclass(value) and value.__module__ == module.name and not name.startswith("_"):
                    told = " ".join(str(field.type) for field in dataclasses.fields(value))
                    if "ndarray" in told or "Tensor" in told or "Interval" in told:
                        yield value


def test_every_result_is_brief():
    found = list(results())
    assert len(found) > 120
    assert [value.__name__ for value in found if value.__repr__ is not Brief.__repr__ and not own_repr(value)] == []


def own_repr(value):
    return "__repr__" in vars(value) and value.__repr__.__code__.co_filename != "<string>"  # that of @dataclass has no file


def test_a_grid_of_a_quarter_of_a_million_numbers_says_its_sizes():
    model = mechbp.load("tree-mlm-k0").model
    tokens = np.random.default_rng(0).integers(4, size=(300, 16))
    grid = mechbp.probe(model, tokens, {"first": tokens[:, :1]}, hooks=["blocks.*.hook_resid_post"], rng=mechbp.rng(0, "p"))
    assert len(repr(grid)) < LONGEST and "ProbeGrid(" in repr(grid)


def test_numbers_are_rounded_and_what_is_many_is_counted():
    interval = bootstrap_mean(np.arange(50.0), mechbp.rng(0, "i"))
    assert repr(interval).startswith("Interval(mean=24.5, low=") and repr(interval).endswith("n=50, level=0.95)")
    assert "mean=float64[3]" in repr(Interval(np.zeros(3), np.zeros(3), np.zeros(3), 2))

    @dataclasses.dataclass(frozen=True, repr=False)
    class Odd(Brief):
        model: object
        many: list
        named: dict
        text: str
        hidden: int = dataclasses.field(default=3, repr=False)

    told = repr(Odd(torch.nn.Linear(2, 2), [1] * 9, {key: 1 for key in ("a", "b, c", *"def")}, "x" * 999))
    assert told == f"Odd(model=Linear, many=[9], named={{a, 'b, c', d, e, …}}, text='{'x' * 58}…)"

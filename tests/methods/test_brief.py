"""Whatever a result holds, `repr` of it is a line."""

import dataclasses
import importlib
import pkgutil

import numpy as np
import torch

import mechbp
import mechbp.methods
import mechbp.theory
from mechbp.methods.brief import Brief
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean

LONGEST = 700
"""Characters; a result of a dozen fields says each of them in about fifty."""


def results():
    """Every public dataclass of methods and theory that holds arrays, or intervals of them."""
    for package in (mechbp.methods, mechbp.theory):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for name, value in vars(importlib.import_module(module.name)).items():
                if dataclasses.is_dataclass(value) and value.__module__ == module.name and not name.startswith("_"):
                    told = " ".join(str(field.type) for field in dataclasses.fields(value))
                    if "ndarray" in told or "Tensor" in told or "Interval" in told:
                        yield value


def test_every_result_is_brief():
    found = list(results())
    assert len(found) > 90
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

    told = repr(Odd(torch.nn.Linear(2, 2), [1] * 9, {key: 1 for key in "abcdef"}, "x" * 999))
    assert told == f"Odd(model=Linear, many=[9], named={{a, b, c, d, …}}, text='{'x' * 58}…)"

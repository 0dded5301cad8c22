"""Argument sets drawn at random, valid and odd ones mixed: a right answer, or a refusal that can be read, and nothing else."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nonsense.calls import CALLS
from nonsense.odd_values import KIND_OF
from nonsense.outcome import outcome
from nonsense.sane_values import sane

SETTLED = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
HEAVY = {"judge": 4, "check_process": 6, "load": 10, "Run.save": 8, "Run.from_model": 10, "check_model": 10, "score": 10}
"""Examples in the ordinary tests of calls that take a tenth of a second or more."""
EXAMPLES, MANY = 23, 200


def drawn_arguments(name, data):
    """The valid call with some arguments exchanged: for others that are right, and up to three that are odd."""
    arguments = CALLS[name].valid()
    parameters = sorted(arguments)
    for parameter in data.draw(st.lists(st.sampled_from(parameters), unique=True, max_size=4), "varied"):
        if others := sane(name, parameter):
            arguments[parameter] = others[data.draw(st.integers(0, len(others) - 1), parameter)]
    for parameter in data.draw(st.lists(st.sampled_from(parameters), unique=True, max_size=3), "odd"):
        kind = KIND_OF[parameter]
        arguments[parameter] = kind[data.draw(st.integers(0, len(kind) - 1), parameter)]()
    return arguments


def check(name, data):
    arguments = drawn_arguments(name, data)
    wrong = outcome(CALLS[name], arguments)
    assert not wrong, f"{name}: {wrong}"


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_drawn_arguments(name, somewhere):
    settings(max_examples=HEAVY.get(name, EXAMPLES), **SETTLED)(given(st.data())(lambda data: check(name, data)))()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(CALLS))
def test_many_drawn_arguments(name, somewhere):
    settings(max_examples=MANY, **SETTLED)(given(st.data())(lambda data: check(name, data)))()

"""Every parameter of the public interface is handed odd values, one at a time: a right answer, or a refusal that can be read."""

import inspect

import pytest
from nonsense.calls import CALLS
from nonsense.odd_values import KIND_OF
from nonsense.outcome import outcome

import mechbp

INTERFACES = {
    "Process": "a protocol that users implement: check_process holds theirs to it",
    "Task": "a protocol that users implement: Run.from_model and score hold theirs to it",
    "Family": "a record: register checks it",
    "ContractError": "an exception: it tells what it was given",
}
"""Public classes with no code of their own behind their methods."""
WITHOUT_ARGUMENTS = ("small", "joint", "document")
SIMPLE = {"rng": {"labels"}}
LIMITED = {"load", "judge", "Run.save", "check_process"}
"""Slower than a hundredth of a second: fewer odd values each in the ordinary tests."""


def public_functions():
    """Every function of mechbp.__all__ and every public method of its classes, by name, with its parameters."""
    found = {}
    for name in mechbp.__all__:
        value = getattr(mechbp, name)
        if not inspect.isclass(value):
            found[name] = list(inspect.signature(value).parameters)
        elif name not in INTERFACES:
            found[name] = [one for one in inspect.signature(value).parameters if name != "Run"]
            for method, function in vars(value).items():
                function = getattr(function, "__func__", function)
                if not method.startswith("_") and inspect.isfunction(function) and method not in WITHOUT_ARGUMENTS:
                    found[f"{name}.{method}"] = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    return {name: parameters for name, parameters in found.items() if name != "Run"}


PUBLIC = public_functions()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_in_the_table(name):
    assert name in CALLS, f"tests/nonsense/calls.py has no valid call of {name}"
    missing = [parameter for parameter in PUBLIC[name] if parameter not in KIND_OF]
    assert not missing, f"{name}: tests/nonsense/odd_values.py has no odd values for {missing}"
    assert set(CALLS[name].valid()) == set(PUBLIC[name]), f"{name}: its valid call leaves parameters out"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_valid_call_is_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = outcome(CALLS[name], CALLS[name].valid())
    assert not wrong, f"{name}: {wrong}"


@pytest.mark.parametrize("name", PUBLIC)
def test_odd_values_are_refused_or_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faults = []
    for parameter in PUBLIC[name]:
        for make in KIND_OF[parameter][:: 4 if name in LIMITED else 1]:
            arguments = CALLS[name].valid()
            arguments[parameter] = make()
            if wrong := outcome(CALLS[name], arguments):
                faults.append(f"{parameter}={_shown(arguments[parameter])}: {wrong}")
    assert not faults, f"{name}\n" + "\n".join(faults)


def _shown(value):
    try:
        return repr(value)[:60]
    except Exception:
        return type(value).__name__

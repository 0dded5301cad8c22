"""Changed inputs of every kind are answered or refused in three lines: a few here, thousands in the slow set."""

import os

import pytest

from mechbp.errors import InputError
from tests.fuzz import outcome
from tests.fuzz.targets import TARGETS, fuzz, told

pytestmark = pytest.mark.usefixtures("unchecked")


def covered(target, seen):
    """What makes a run of the generator worth something: inputs are refused for many reasons, and some are not refused."""
    print(told(target, seen))
    accepted = sum(count for kind, count in seen.items() if kind == "answer" or kind.endswith(": 0"))
    return accepted >= seen.total() / 100 and len(seen) >= 10


@pytest.mark.parametrize("target", TARGETS)
def test_40_changed_inputs_are_answered_or_refused(target, tmp_path):
    assert covered(target, fuzz(target, tmp_path, count=40))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_300_changed_inputs_are_answered_or_refused(target, tmp_path):
    assert covered(target, fuzz(target, tmp_path, seed=2, count=300))


@pytest.mark.long
@pytest.mark.parametrize("target", TARGETS)
def test_5000_changed_inputs_are_answered_or_refused(target, tmp_path):
    seen = fuzz(target, tmp_path, seed=1, count=5000, seconds=1200)
    assert covered(target, seen) and seen.total() == 5000


@pytest.mark.parametrize(
    ("work", "named"),
    [
        (lambda: {}["x"], "KeyError"),
        (lambda: os.system("true"), "os.system"),
        (lambda: exec("import warnings; warnings.warn('x')"), "UserWarning"),
        (lambda: (_ for _ in ()).throw(InputError("a\nb\nc\nd")), "cannot be shown"),
        (lambda: (_ for _ in ()).throw(InputError("\x1b[31m")), "cannot be shown"),
        (lambda: os.read(os.pipe()[0], 1), "no answer after"),
    ],
)
def test_what_is_neither_answered_nor_refused_is_noticed(work, named, monkeypatch):
    monkeypatch.setattr(outcome, "PATIENCE_S", 1)
    with pytest.raises(outcome.Surprise, match=named):
        outcome.refusal_or_answer(work)


def test_an_input_has_its_number_whatever_came_before(tmp_path):
    one_by_one = [fuzz("checkpoint", tmp_path, first=number, count=1) for number in range(20)]
    assert sum(one_by_one, start=type(one_by_one[0])()) == fuzz("checkpoint", tmp_path, count=20)

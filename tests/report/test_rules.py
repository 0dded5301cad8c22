"""Rules: every function, missing numbers, and refusals of everything that is not part of the language."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.report.rule_functions import FUNCTIONS
from mechbp.report.rules import DEEPEST, LONGEST, Rule

NUMBERS = {
    "kl": 0.02,
    "gap": -0.5,
    "up": [1, 2, 3.5],
    "holes": [1.0, None, 3.0],
    "right": [True, True, False, True],
    "enough": True,
    "missing": None,
    "nothing": [],
}


def decide(text: str, **numbers) -> bool:
    return Rule.parse(text, "exact.holds").decide({**NUMBERS, **numbers})


TRUE = {
    "all": "all(up > 0) and not all(right)",
    "any": "any(right) and not any(up > 9)",
    "count": "count(right) == 3",
    "share": "share(right) == 0.75",
    "sum": "sum(up) == 6.5",
    "mean": "mean(up) == 6.5 / 3",
    "median": "median(up) == 2",
    "min": "min(up) == 1 and min(kl, 1) == kl and min(up, 2)[2] == 2",
    "max": "max(up) == 3.5 and max(up, 2)[0] == 2 and max(1, kl, 3) == 3",
    "abs": "abs(gap) == 0.5 and all(abs(-up) == up)",
    "diff": "diff(up)[0] == 1 and diff(up)[-1] == 1.5 and len(diff(up)) == 2",
    "len": "len(up) == 3 and len(right) == 4 and len(nothing) == 0",
    "rising": "rising(up) and not rising(-up)",
    "falling": "falling(-up) and not falling(up)",
}


def test_every_function_is_tested():
    assert set(TRUE) == set(FUNCTIONS)


@pytest.mark.parametrize("text", TRUE.values(), ids=list(TRUE))
def test_functions(text):
    assert decide(text)


@pytest.mark.parametrize(
    "text",
    [
        "kl <= 0.02",
        "0 < kl < 0.1",
        "kl < 0.01 or enough",
        "not (kl < 0.01 or not enough)",
        "all(0 < up) and all(up < 4)",
        "all(0 < up < 4)",
        "all(up[1:] - up[:-1] == diff(up))",
        "up[-1] - up[0] == 2.5",
        "all(up > 2 or up < 2.5)",
        "1 + 2 * 3 - 8 / 4 == 5",
        "len(up) > 2 and up[2] > 3",
        "not (len(up) > 9 and up[9] > 3)",
    ],
)
def test_what_is_true(text):
    assert decide(text)


@pytest.mark.parametrize(
    "text",
    [
        "missing < 1",
        "missing > 1",
        "missing == missing",
        "missing != 1",
        "missing + 1 <= 1",
        "kl / 0 > 1",
        "0 / 0 == 0 / 0",
        "all(holes > 0)",
        "mean(holes) > 0",
        "max(holes) > 0",
        "rising(holes)",
        "min(kl, missing) < 1",
        "0 < missing < 1",
        "all(nothing)",
        "all(nothing > 0)",
        "any(nothing)",
        "share(nothing) >= 0",
        "mean(nothing) > -1",
        "max(nothing) < 9",
        "rising(nothing)",
        "rising(up[:1])",
        "all(nothing > kl) or any(nothing > kl)",
    ],
)
def test_what_was_not_measured_never_holds(text):
    assert not decide(text)


def test_arrays_and_numpy_scalars_are_taken():
    assert decide("all(x > y) and t", x=np.array([1.0, 2.0]), y=np.float64(0.5), t=np.True_)
    assert not decide("x > 0", x=np.float32("nan"))


@pytest.mark.parametrize(
    "text, message",
    [
        ("__import__('os').system('x')", "position 1"),
        ("__import__(kl)", "unknown function '__import__'"),
        ("kl.__class__", "Attribute is not part"),
        ("(lambda: 1)()", "Call is not part"),
        ("[x for x in up] == 1", "ListComp is not part"),
        ("kl ** 9 ** 9 > 1", "BinOp is not part"),
        ("kl % 2 > 1", "BinOp is not part"),
        ("up @ up > 1", "BinOp is not part"),
        ("1 << 9 > kl", "BinOp is not part"),
        ("'a' < 'b'", "Constant is not part"),
        ("None == kl", "Constant is not part"),
        ("1j > kl", "Constant is not part"),
        ("f'{kl}' > 1", "JoinedStr is not part"),
        ("kl if enough else gap", "IfExp is not part"),
        ("kl in up", "Compare is not part"),
        ("kl is kl", "Compare is not part"),
        ("(kl := 3) > 1", "NamedExpr is not part"),
        ("{1: 2}", "Dict is not part"),
        ("max(*up) > 1", "Starred is not part"),
        ("max(up, key=kl) > 1", "Call is not part"),
        ("all(right)(kl)", "Call is not part"),
        ("+kl > 1", "UnaryOp is not part"),
        ("~enough", "UnaryOp is not part"),
        ("up[::2] == 1", "named by a whole number"),
        ("up[kl] == 1", "named by a whole number"),
        ("up[True] == 1", "named by a whole number"),
        ("up[1, 2] == 1", "named by a whole number"),
        ("min() > 1", "min takes 1 to 9"),
        ("max(" + "kl, " * 9 + "kl) > 1", "max takes 1 to 9"),
        ("abs(kl, gap) > 1", "abs takes 1 argument"),
        ("kl <", "invalid syntax at position"),
        ("import os", "is no rule"),
        ("kl < 1; gap < 1", "is no rule"),
        ("1e999 > kl", "must be finite"),
        ("9" * 400 + " > kl", "must be finite"),
        ("(" * 300, "is no rule"),
        ("kl < 1\n", "one line"),
        ("kl <\n1", "one line"),
        ("kl ≤ 1", "ASCII"),
        ("", "one line"),
        ("kl<1" + " " * LONGEST, "one line"),
    ],
)
def test_what_is_not_part_of_the_language_is_refused_unseen(text, message):
    with pytest.raises(InputError) as caught:
        Rule.parse(text, "exact.holds")
    assert message in str(caught.value) and "exact.holds" in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text, message",
    [
        ("kll < 1", "position 1: unknown number 'kll'; did you mean 'kl'; known: kl, gap"),
        ("True or kll < 1", "unknown number 'kll'"),
        ("gap < 0 and all < 1", "position 13: unknown number 'all'"),
        ("all(up > up[1:])", "position 5: lists of 3 and 2 entries meet"),
        ("all(up > 0 or right)", "lists of 3 and 4 entries meet"),
        ("any(0 < up < right[0])", "expected a number, got true or false"),
        ("kl", "gives a number"),
        ("up > 0", "gives a list of 3"),
        ("kl and enough", "position 1: expected true or false, got a number"),
        ("enough + 1 > 1", "position 1: expected a number, got true or false"),
        ("all(kl)", "expected true or false"),
        ("all(min(up, up[1:]) > 0)", "lists of 3 and 2 entries meet"),
        ("all(max(kl, up, up[1:]) > 0)", "lists of 3 and 2 entries meet"),
        ("up[7] > 1", "entry 7 of a list of 3"),
        ("kl[0] > 1", "no entries"),
        ("rising(kl)", "rising needs a list"),
        ("falling(kl)", "falling needs a list"),
        ("all(diff(kl) > 0)", "diff needs a list"),
        ("len(kl) > 1", "len needs a list"),
    ],
)
def test_numbers_that_do_not_fit_are_named(text, message):
    with pytest.raises(InputError) as caught:
        decide(text)
    assert message in str(caught.value) and "exact.holds" in str(caught.value)


@pytest.mark.parametrize("number", ["1", [1, [2]], [1, True], [None, True], {}, [1, "2"], np.ones((2, 2)), 10**400, 1j])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(InputError, match="exact.holds: x"):
        decide("enough", x=number)


def test_deep_nesting_is_refused():
    for text in ("-" * (LONGEST - 6) + "kl < 1", "not " * 120 + "enough", "abs(" * 90 + "kl" + ")" * 90 + "<1"):
        with pytest.raises(InputError, match="stand within each other"):
            Rule.parse(text)
    assert decide("not " * 20 + "enough")


def test_a_reader_is_shown_the_bounds():
    rule = Rule.parse("kl <= close and all(-up >= low) and share(up > close) >= half")
    assert rule.shown({"close": 0.03, "low": -1, "half": 0.5}) == "kl <= 0.03 and all(-up >= (-1)) and share(up > 0.03) >= 0.5"
    assert Rule.parse("all(up >= least)").shown({"least": [0.5, 2]}) == "all(up >= (0.5, 2))"
    assert rule.names == {"kl", "close", "up", "low", "half"}


def test_as_many_operations_stand_within_each_other_as_are_allowed():
    assert Rule.parse("-" * (DEEPEST - 1) + "a > 0", "x").decide({"a": -1.0})
    with pytest.raises(InputError, match=f"more than {DEEPEST} operations"):
        Rule.parse("-" * DEEPEST + "a > 0", "x")

"""How sentences, tables and figures tell of means with intervals: by hand, with numbers that no two ends share."""

import numpy as np
import pytest

from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.telling import dots, ends, examples, finite, frame, gap_caution, largest, named, panel, told

ONE = Interval(np.array(0.5), np.array(0.25), np.array(1.5), 1200)
TWO = Interval(np.array([0.5, -2.0]), np.array([0.25, -3.0]), np.array([1.5, -1.0]), 1200, 0.9)


def gap(low, high):
    return Interval(np.array((low + high) / 2), np.array(low), np.array(high), 9)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-0.3, -0.1)])
def test_a_gap_clear_of_zero_on_either_side_needs_no_caution(low, high):
    assert gap_caution(gap(low, high)) == []


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (0.0, 0.3), (-0.3, 0.0), (np.nan, np.nan)])
def test_a_gap_that_holds_zero_or_of_which_nothing_is_known_is_cautioned_against(low, high):
    (line,) = gap_caution(gap(low, high))
    assert line.startswith("caution: the gap's interval holds 0")


def test_the_largest_entry_keeps_its_sign():
    assert largest(np.array([[1.0, -3.0], [np.nan, 2.0]]), ["a", "b", "c", "d"]) == ("b", -3.0)
    assert largest(np.array([np.nan]), ["a"])[0] == "none" and np.isnan(largest(np.array([]), [])[1])


def test_sentences():
    assert told(ONE, "nats") == "0.5 [0.25, 1.5] nats" and told(gap(np.nan, np.nan)) == "nan"
    assert examples(ONE, "pairs") == "n = 1,200 pairs, 95% intervals" and examples(TWO) == "n = 1,200 examples, 90% intervals"


def test_points_of_one_interval_and_of_several_are_the_same():
    found = points(TWO, "y")
    assert list(found) == ["y", "low", "high"]
    assert {end: list(values) for end, values in found.items()} == points([TWO[0], TWO[1]], "y")
    assert points([ONE], "x") == {"x": [0.5], "low": [0.25], "high": [1.5]}


def test_tables():
    assert {name: list(values) for name, values in ends("a", TWO).items()} == {
        "a": [0.5, -2.0], "a_low": [0.25, -3.0], "a_high": [1.5, -1.0]
    }  # fmt: skip
    table = frame({"layer": [0, 1], "head": ["x", "y"]}, {"value": np.array([[1, 2], [3, 4]]), "n": 9})
    assert table.to_dict("list") == {"layer": [0, 0, 1, 1], "head": ["x", "y"] * 2, "value": [1, 2, 3, 4], "n": [9] * 4}
    assert frame({}, {"value": 3.0}).to_dict("list") == {"value": [3.0]}
    assert named({"first": ONE, "second": TWO[1]}).to_dict("list") == {
        "measure": ["first", "second"], "mean": [0.5, -2.0], "low": [0.25, -3.0], "high": [1.5, -1.0]
    }  # fmt: skip


def test_figures():
    series = dots("nats", {"first": ONE, "second": TWO[1]}, "found", references=[])
    assert series["categories"] == ["first", "second"] and series["references"] == []
    assert series["series"] == [{"name": "found", "x": [0.5, -2.0], "low": [0.25, -3.0], "high": [1.5, -1.0]}]
    shown = panel("p", Interval(TWO.mean[None], TWO.low[None], TWO.high[None], 9), control=np.zeros((1, 2)))
    assert [shown[key][0, 0] for key in ("values", "low", "high", "control")] == [0.5, 0.25, 1.5, 0.0]
    np.testing.assert_array_equal(finite(np.array([1.0, np.inf, -np.inf])), [1.0, np.nan, np.nan])

"""The pieces of pages: numbers in sentences, points and panels, and intervals cut and stacked on their way there."""

import numpy as np
import pytest

from mechbp.figures import check_data
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.randomness import rng
from mechbp.report.parts import estimate, left_out, listed, panel


def scalar(mean, low, high):
    return Interval(*(np.asarray(end, float) for end in (mean, low, high)), 10)


@pytest.mark.parametrize(
    ("ends", "digits", "unit", "text"),
    [
        ((0.0214, 0.0191, 0.0232), 3, "nats", "0.021 [0.019, 0.023] nats"),
        ((0.5, 0.25, 0.75), 2, "", "0.50 [0.25, 0.75]"),
        ((0.0002, 0.0001, 0.0004), 3, "nats", "< 0.001 nats"),
        ((0.0002, 0.0001, 0.0004), 4, "", "0.0002 [0.0001, 0.0004]"),
        ((0.0, 0.0, 0.0), 3, "", "0.000 [0.000, 0.000]"),
        ((0.0001, -0.002, 0.0004), 3, "", "0.000 [-0.002, 0.000]"),  # an interval that holds 0 keeps its ends
        ((-0.0001, -0.0004, 0.0002), 3, "", "0.000 [0.000, 0.000]"),
        ((-2.0, -3.0, -1.0), 1, "nats", "-2.0 [-3.0, -1.0] nats"),
    ],
)
def test_estimates_in_sentences(ends, digits, unit, text):
    assert estimate(scalar(*ends), digits, unit) == text


def test_lists_in_sentences():
    assert [listed(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_points_stand_along_the_axis_asked_for():
    found = points([scalar(2, 1, 3), scalar(5, 4, 6)], "x")
    assert found == {"x": [2.0, 5.0], "low": [1.0, 4.0], "high": [3.0, 6.0]}
    check_data("dots", {"x_title": "x", "categories": ["a", "b"], "series": [{"name": "s", **found}]}, "here")


def test_panels_keep_three_decimals_and_every_end():
    interval = Interval(np.array([[0.123456, 0.5]]), np.array([[0.1, 0.4]]), np.array([[0.2, np.nan]]), 10)
    found = panel("title", interval)
    np.testing.assert_array_equal(found["values"], [[0.123, 0.5]])
    np.testing.assert_array_equal(found["low"], [[0.1, 0.4]])
    np.testing.assert_array_equal(found["high"], [[0.2, np.nan]])
    assert found["title"] == "title" and set(found) == {"title", "values", "low", "high"}


def test_cutting_intervals_cuts_all_ends_alike():
    whole = bootstrap_mean(rng(0).normal(size=(20, 3, 4)), rng(1), level=0.8)
    for where in (1, (slice(None), 2), np.array([[0, 2], [1, 1]]), (np.array([0, 1]), np.array([3, 0])), (2, 3)):
        cut = whole[where]
        for end in ("mean", "low", "high"):
            np.testing.assert_array_equal(getattr(cut, end), getattr(whole, end)[where])
        assert (cut.n, cut.level) == (20, 0.8)
    with pytest.raises(IndexError):
        whole[3]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stacked_intervals_come_apart_again(axis):
    parts = [bootstrap_mean(rng(seed).normal(size=(20, 3)), rng(1), level=0.9) for seed in range(2)]
    whole = Interval.stack(parts, axis)
    assert whole.mean.shape == ((2, 3) if axis == 0 else (3, 2)) and (whole.n, whole.level) == (20, 0.9)
    for index, part in enumerate(parts):
        for end in ("mean", "low", "high"):
            np.testing.assert_array_equal(np.take(getattr(whole, end), index, axis=axis), getattr(part, end))


def test_runs_are_left_out_by_name_and_none_leaves_no_section():
    (section,) = left_out(["a", "b"], "this page compares others")
    assert (section.status, section.reason) == ("skipped", "a, b: this page compares others")
    assert left_out([], "this page compares others") == []

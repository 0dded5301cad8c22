"""Numbers of claims, read from texts: those written as pages write them, and none where the text says another quantity."""

import numpy as np
import pytest

from mechbp.methods.statistics.intervals import Interval
from mechbp.report.claim import Claim
from mechbp.report.estimates import estimates, row
from mechbp.report.parts import estimate


def claim(measured, control="", **numbers):
    return Claim("c", "s", "r", measured, control, "holds", numbers=numbers)


def read(measured, control="", **numbers):
    found = row(claim(measured, control, **numbers))
    return found.effect, found.control


def test_what_pages_write_is_read_back():
    interval = Interval(np.asarray(0.0214), np.asarray(-0.5), np.asarray(1204.25), 10)
    effect, control = read(f"layer 2: KL {estimate(interval, 3, 'nats')}\nn = 1,024")
    assert effect is not None and control is None
    assert (effect.value, effect.low, effect.high) == (0.021, -0.5, 1204.25)
    assert (effect.unit, effect.symbol, effect.name, effect.group) == ("nats", "KL", "layer 2: KL", "nats")


def test_the_estimate_that_decides_is_drawn():
    text = "layer 1: used 0.10 [0.05, 0.15], over rivals 0.31 [0.28, 0.33]"
    assert read(text)[0].value == 0.10
    assert read(text, over_low=0.2794)[0].value == 0.31  # 0.2794 is written 0.28
    assert read(text, over_low=0.2851)[0].value == 0.10  # is written 0.29
    assert read("1.2e-04 [1.0e-04, 1.5e-04], 3.1e-04 [2.9e-04, 3.3e-04]", gain_low=2.91e-4)[0].value == 3.1e-4


@pytest.mark.parametrize(
    "measured, control, value",
    [
        ("R² 0.9 [0.8, 1.0]", "random weights: R² 0.2", 0.2),
        ("R² 0.9 [0.8, 1.0]", "random weights: MSE 0.2, R² 0.3 [0.1, 0.4]", 0.3),
        ("R² 0.9 [0.8, 1.0]", "random weights: MSE 0.2", None),
        ("R² 0.9 [0.8, 1.0]", "R² above that: 0.2", None),
        ("0.9 [0.8, 1.0] nats", "uniform: 1.5 nats", 1.5),
        ("0.9 [0.8, 1.0] nats", "uniform: 1.5 decades", None),
        ("0.9 [0.8, 1.0] nats", "difference 1.5 [1.4, 1.6] nats", None),
        ("0.9 [0.8, 1.0] nats", "KL < 0.001 nats", None),
        ("increase of KL, nats\nrun: 0.9 [0.8, 1.0]", "uniform: 1.5 [1.4, 1.6], 0.7 [0.6, 0.8]", 1.5),
        ("2 up: 0.1 [0.0, 0.2]", "before: 2 up 0.95, 1 up 0.96", 0.95),
        ("2 up: 0.1 [0.0, 0.2]", "before: 1 up 0.96", None),
        ("2 up: 0.1 [0.0, 0.2]", "n = 512 pairs, 3 seeds, p 0.012", None),
    ],
)
def test_a_control_is_drawn_only_where_it_is_said_to_be_the_same_quantity(measured, control, value):
    found = read(measured, control)[1]
    assert (found and found.value) == value


def test_counts_parts_of_words_and_prose_are_no_estimates():
    assert [e.written for e in estimates("BP_0 and k1: 3 of 4 runs at step 8,000, n = 1,024")] == []
    assert read("319 of 319 found") == (None, None)
    effect = read("largest 12.2 at step 77, 8.3 at step 8,000: 0.323 [0.282, 0.363] lower")[0]
    assert effect.written == "0.323 [0.282, 0.363]" and effect.name == "at step 8,000"


def test_a_unit_in_the_line_above_counts_for_bare_numbers_alone():
    assert read("cost, nats\nrun: 0.2 [0.1, 0.3]")[0].unit == "nats"
    assert read("cost, nats\nrun: R² 0.2 [0.1, 0.3]")[0].unit == ""
    assert read("KL < 0.0001 nats\naccuracy below by 0.2 [0.1, 0.3]")[0].unit == ""

"""What is said of interchanged heads."""

import numpy as np

from mechbp.theory.sorting.head_interchange import HeadInterchange


def test_sets_of_heads_are_named_and_the_unedited_run_is_the_control():
    named = np.array([[0, 1], [0, 1], [0, 0], [0, 1]])  # answers of the base, 0, and of the source, 1
    found = HeadInterchange(((), (0, 2)), named, np.zeros((4, 2)), np.zeros(4, np.int64), np.ones(4, np.int64))
    control, heads, _ = found.summary().splitlines()
    assert control.startswith("no head (control): follows the source in 0") and heads.startswith(
        "heads 0, 2: follows the source in 0.75"
    )

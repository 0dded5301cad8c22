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


def test_what_is_drawn_is_what_is_tabulated():
    named = np.array([[0, 1], [0, 1], [0, 0], [2, 1]])
    found = HeadInterchange(((), (0, 2)), named, np.zeros((4, 2)), np.zeros(4, np.int64), np.ones(4, np.int64))
    drawn, table = found.picture().data, found.to_dataframe()
    assert drawn["x_range"] == [-0.02, 1.02] and drawn["categories"] == list(table["heads"])
    assert {series["name"]: list(series["x"]) for series in drawn["series"]} == {
        "follows": [0.0, 0.75], "keeps": [0.75, 0.25], "other": [0.25, 0.0]
    }  # fmt: skip
    assert list(table["follows"]) == [0.0, 0.75] and set(table["n"]) == {4}

"""Dots: the table by hand, and what a logarithmic axis leaves out."""

import pytest

from mechbp.errors import InputError
from mechbp.figures import check_data, draw, table

DATA = {
    "x_title": "KL (nats)",
    "categories": ["one", "two"],
    "series": [{"name": "a", "x": [1.0, 2.0]}, {"name": "b", "x": [3.0, None], "control": True}],
    "references": [{"name": "floor", "x": 0.1}, {"name": "zero", "x": 0.0}],
}


def test_table_by_hand():
    assert table("dots", DATA).rows == (
        ("one", "a", 1.0),
        ("one", "b", 3.0),
        ("two", "a", 2.0),
        ("two", "b", None),
        ("reference line", "floor", 0.1),
        ("reference line", "zero", 0.0),
    )


def test_series_stand_side_by_side_in_their_rows():
    first, second = draw("dots", DATA).data
    assert [round(y) for y in first.y] == [round(y) for y in second.y] == [0, 1]
    assert all(a < b for a, b in zip(first.y, second.y, strict=True))
    assert second.marker.symbol.endswith("-open") and not first.marker.symbol.endswith("-open")


def test_a_logarithmic_axis_leaves_out_references_at_zero_and_refuses_such_points():
    drawn = [draw("dots", {**DATA, "x_log": log}).layout.shapes for log in (False, True)]
    assert [[shape.name for shape in shapes if shape.name] for shapes in drawn] == [["floor", "zero"], ["floor"]]
    with pytest.raises(InputError, match=r"series\[0\].x: a logarithmic axis needs positive values"):
        check_data("dots", {**DATA, "x_log": True, "series": [{"name": "a", "x": [0, 1]}]}, "here")

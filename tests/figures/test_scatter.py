"""Scatter plots: points, densities and the identity line."""

import pytest

from mechbp.errors import InputError
from mechbp.figures import check_data, draw, table

DENSITY = {"x_edges": [0, 0.5, 1], "y_edges": [0, 1], "counts": [[100, 0]]}
DATA = {"x_title": "exact", "y_title": "model", "identity": True, "density": DENSITY}


def test_a_density_is_drawn_in_powers_of_ten_and_tabled_in_counts():
    check_data("scatter", DATA, "here")
    figure = draw("scatter", DATA)
    assert [list(row) for row in figure.data[0].z] == [[2, None]]
    assert [shape.name for shape in figure.layout.shapes] == ["identity"]
    result = table("scatter", DATA)
    assert result.headers == ("series", "x from", "x to", "y from", "y to", "count")
    assert result.rows == (("density", 0, 0.5, 0, 1, 100), ("density", 0.5, 1, 0, 1, 0))


def test_area_grows_with_count():
    point = {"name": "bins", "x": [0.1, 0.9], "y": [0.2, 0.8], "count": [10, 1000]}
    few, many = draw("scatter", {"x_title": "", "y_title": "", "series": [point]}).data[0].marker.size
    assert few < many


@pytest.mark.parametrize(
    "density, message",
    [
        ({**DENSITY, "x_edges": [0, 0, 1]}, "density.x_edges: expected at least two rising numbers"),
        ({**DENSITY, "counts": [[1]]}, r"density.counts\[0\]: expected 2 entries, got 1"),
        ({**DENSITY, "counts": [[1, -1]]}, r"density.counts\[0\]: counts must be numbers >= 0"),
        (None, "expected an object, got NoneType"),
    ],
)
def test_densities_that_make_no_sense_are_refused(density, message):
    with pytest.raises(InputError, match=message):
        check_data("scatter", {**DATA, "density": density}, "here")


def test_a_scatter_needs_something_to_show():
    with pytest.raises(InputError, match="needs series, density, or both"):
        check_data("scatter", {"x_title": "", "y_title": ""}, "here")

"""Clouds: every point keeps its colour, panels share one scale, the last frame is shown."""

import pytest

from mechbp.errors import InputError
from mechbp.figures import check_data, draw, table

PANELS = [{"title": "theory", "x": [0, 1], "y": [1, 0]}, {"title": "model", "x": [0.1, 0.9], "y": [0.8, None]}]
DATA = {"panels": PANELS, "colors": [[1, 0, 0], [0, 0, 1]], "x_range": [0, 1], "y_range": [0, 1], "outline": [[0, 0], [1, 1]]}


def test_table_by_hand():
    result = table("clouds", DATA)
    assert result.headers == ("point", "theory: x", "theory: y", "model: x", "model: y")
    assert result.rows == (("1", 0, 1, 0.1, 0.8), ("2", 1, 0, 0.9, None))


def test_a_point_has_one_colour_and_one_scale_in_all_panels():
    figure = draw("clouds", DATA)
    assert figure.data[0].marker.color == figure.data[1].marker.color and len(set(figure.data[0].marker.color)) == 2
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == (0, 1)
    assert [shape.xref for shape in figure.layout.shapes] == ["x", "x2"]


def test_the_last_frame_is_shown():
    frames = [{"name": name, "panels": [{"title": "p", "x": [x], "y": [0]}]} for name, x in (("first", 0), ("last", 1))]
    data = {"frames": frames, "colors": [[0, 0, 0]], "x_range": [0, 1], "y_range": [0, 1]}
    figure = draw("clouds", data)
    assert [frame.name for frame in figure.frames] == ["first", "last"] and list(figure.data[0].x) == [1]
    assert [row[0] for row in table("clouds", data).rows] == ["first", "last"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"colors": [[1, 0], [0, 1]]}, r"colors\[0\]: expected 3 entries, got 2"),
        ({"colors": [[1, 0, 0]]}, r"panels\[0\].x: expected 1 entries, got 2"),
        ({"outline": [[0, None]]}, r"outline\[0\]: a number is missing"),
        ({"panels": [PANELS[0], PANELS[0]]}, "'theory' occurs twice"),
    ],
)
def test_refusals_name_the_place(change, message):
    with pytest.raises(InputError, match=message):
        check_data("clouds", {**DATA, **change}, "here")

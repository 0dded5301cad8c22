"""Densities: an image per panel where it belongs, counts that add up in the table, and no image that is none."""

import base64

import pytest
from demo import SQUARE

from mechbp.errors import InputError
from mechbp.figures import check_data, draw, table

PANELS = [{"title": name, "png": SQUARE, "counts": [[3, 0, 1], [0, 2, 0]]} for name in ("exact", "read")]
DATA = {"panels": PANELS, "x_edges": [0, 1, 2, 3], "y_edges": [1, 2, 3], "outline": [[0, 1], [3, 1], [1.5, 3]]}


def test_table_by_hand():
    result = table("densities", DATA)
    assert result.headers == ("panel", "x from", "x to", "y from", "y to", "count") and result.n_labels == 1
    assert result.rows[:3] == (("exact", 0, 1, 1, 2, 3), ("exact", 2, 3, 1, 2, 1), ("exact", 1, 2, 2, 3, 2))
    assert len(result.rows) == 6


@pytest.mark.parametrize("narrow", [False, True])
def test_images_fill_their_panels_and_counts_lie_under_them(narrow):
    figure = draw("densities", DATA, narrow)
    for image, trace, panel, axis in zip(figure.layout.images, figure.data, PANELS, ("", "2"), strict=True):
        assert image.source == "data:image/png;base64," + panel["png"]
        assert (image.x, image.y, image.sizex, image.sizey) == (0, 3, 3, 2)
        assert (image.xref, image.yref, trace.xaxis) == ("x" + axis, "y" + axis, "x" + axis)
        assert list(map(list, trace.z)) == panel["counts"] and trace.opacity == 0
    left, right = figure.layout.xaxis, figure.layout.xaxis2
    assert (left.domain == right.domain) == narrow and left.range == right.range == (0, 3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"png": "<svg>"}, r"panels\[0\].png: expected an image in base64, got '<svg>'"),
        ({"png": base64.b64encode(b"GIF89a").decode()}, "expected a PNG image, got one that begins with b'GIF89a'"),
        ({"png": 3}, "png: expected text"),
        ({"counts": [[1, 2, 3], [1]]}, r"counts\[1\]: expected 3 entries, got 1"),
        ({"counts": [[1, 2, -1], [0, 0, 0]]}, r"counts\[0\]: counts must be numbers >= 0"),
    ],
)
def test_what_is_no_density_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        check_data("densities", {**DATA, "panels": [PANELS[0] | change]}, "here")

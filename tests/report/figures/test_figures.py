"""Figures: every number of the data is drawn and stands in the table; colours and scales keep their promises."""

import itertools
import json

import pytest
from demo import demo

from mechbp.report.figures import draw, table
from mechbp.report.figures import style as style
from mechbp.report.figures.table import format_cell

FIGURES = [figure for figure in demo().figures if figure.status == "done"]
each = pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)


def numbers(value, key=""):
    """Every measured number in a figure's data, without what only says how to draw it."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in ("range", "x_range", "y_range", "panel_columns", "color", "colors", "outline"):
                yield from numbers(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


@each
def test_table_holds_every_number(figure):
    cells = {cell for row in table(figure.kind, figure.data).rows for cell in row if not isinstance(cell, str)}
    missing = [value for value in numbers(figure.data) if value not in cells]
    assert not missing


@each
def test_table_invents_no_number(figure):
    known = set(numbers(figure.data))
    invented = [
        cell
        for row in table(figure.kind, figure.data).rows
        for cell in row
        if isinstance(cell, (int, float)) and cell not in known
    ]
    assert not invented


@each
def test_traces_are_the_same_on_narrow_pages(figure):
    wide, narrow = draw(figure.kind, figure.data), draw(figure.kind, figure.data, narrow=True)
    assert [t.to_plotly_json() for t in wide.data] == [t.to_plotly_json() for t in narrow.data]
    assert wide.layout != narrow.layout


@each
def test_drawing_leaves_its_data_alone(figure):
    before = json.dumps(figure.data)
    draw(figure.kind, figure.data)
    assert json.dumps(figure.data) == before


def test_table_row_by_hand():
    data = {
        "x_title": "Step",
        "y_title": "KL (nats)",
        "series": [{"name": "a", "x": [1, 2], "y": [0.5, None], "low": [0.4, None], "high": [0.6, None]}],
        "references": [{"name": "floor", "y": 0.1}],
    }
    result = table("lines", data)
    assert result.headers == ("series", "Step", "KL (nats)", "low", "high")
    assert result.rows == (("a", 1, 0.5, 0.4, 0.6), ("a", 2, None, None, None), ("floor", None, 0.1, None, None))
    assert [format_cell(cell) for cell in result.rows[1]] == ["a", "2", "–", "–", "–"]


def test_heat_maps_share_one_scale_over_frames_and_diverging_ones_are_centred():
    data = {"rows": ["r"], "columns": ["c"], "value_title": "v", "frames": []}
    data["frames"] = [{"name": str(v), "panels": [{"title": "p", "values": [[v]]}]} for v in (-1.0, 3.0)]
    sequential, diverging = draw("heatmap", data), draw("heatmap", {**data, "scale": "diverging"})
    assert (sequential.layout.coloraxis.cmin, sequential.layout.coloraxis.cmax) == (-1, 3)
    assert (diverging.layout.coloraxis.cmin, diverging.layout.coloraxis.cmax) == (-3, 3)


def test_bands_break_at_gaps():
    line = {"name": "a", "x": [1, 2, 3, 4], "y": [1, 1, None, 1], "low": [0, 0, 0, 0], "high": [2, 2, 2, 2]}
    band = draw("lines", {"x_title": "", "y_title": "", "series": [line]}).data[0]
    assert band.x == (1, 2, 2, 1, None, 4, 4)


def test_text_is_no_markup_for_plotly():
    line = {"name": '<a href="javascript:x">b</a>', "x": [1], "y": [1]}
    assert "<a" not in draw("lines", {"x_title": "<b>", "y_title": "&", "series": [line]}).to_json()


def test_series_colours_stand_out_on_both_papers():
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for color, paper in itertools.product((*style.PALETTE, style.GREY), style.PAPER.values()):
        dark, light = sorted((luminance(color), luminance(paper)))
        assert (light + 0.05) / (dark + 0.05) >= 3, (color, paper)


def test_heatmap_labels_stand_at_their_own_cells():
    """Plotly takes the tick 1 for the category "1" even where that is the first: ticks go by name."""
    data = {
        "rows": ["2", "1"],
        "columns": ["1", "2", "leaf"],
        "value_title": "v",
        "panels": [{"title": "t", "values": [[1, 2, 3]] * 2}],
    }
    layout = draw("heatmap", data).layout
    for axis, labels in ((layout.xaxis, ["1", "2", "leaf"]), (layout.yaxis, ["2", "1"])):
        assert list(axis.tickvals) == list(axis.ticktext) == labels

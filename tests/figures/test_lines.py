"""Lines: the table by hand, bands, and text that is no markup."""

from mechbp.figures import draw, table
from mechbp.figures.table import format_cell


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


def test_bands_break_at_gaps():
    line = {"name": "a", "x": [1, 2, 3, 4], "y": [1, 1, None, 1], "low": [0, 0, 0, 0], "high": [2, 2, 2, 2]}
    band = draw("lines", {"x_title": "", "y_title": "", "series": [line]}).data[0]
    assert band.x == (1, 2, 2, 1, None, 4, 4)


def test_text_is_no_markup_for_plotly():
    line = {"name": '<a href="javascript:x">b</a>', "x": [1], "y": [1]}
    assert "<a" not in draw("lines", {"x_title": "<b>", "y_title": "&", "series": [line]}).to_json()

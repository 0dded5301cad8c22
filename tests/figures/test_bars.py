"""Bars: the table by hand, and a tick per reference."""

from mechbp.figures import draw, table

DATA = {
    "y_title": "accuracy",
    "categories": ["one", "two"],
    "series": [{"name": "model", "y": [0.5, None], "low": [0.4, None], "high": [0.6, None], "reference": [0.7, 0.8]}],
    "references": [{"name": "guess", "y": [0.25, None]}],
}


def test_table_by_hand():
    result = table("bars", DATA)
    assert result.headers == ("category", "series", "accuracy", "low", "high", "reference") and result.n_labels == 2
    assert result.rows == (
        ("one", "model", 0.5, 0.4, 0.6, 0.7),
        ("one", "guess", 0.25, None, None, None),
        ("two", "model", None, None, None, 0.8),
        ("two", "guess", None, None, None, None),
    )


def test_a_tick_stands_at_every_known_reference():
    figure = draw("bars", DATA)
    assert [shape.y0 for shape in figure.layout.shapes] == [0.7, 0.8, 0.25]
    assert [shape.showlegend for shape in figure.layout.shapes] == [True, False, True]
    (bar,) = figure.data
    for shape in figure.layout.shapes[:2]:
        assert any(x + bar.offset <= (shape.x0 + shape.x1) / 2 <= x + bar.offset + bar.width for x in bar.x)

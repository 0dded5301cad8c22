"""Bars: the table by hand, and a tick per reference."""

import pytest

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


def bars_of(categories, narrow):
    data = {"y_title": "y", "categories": categories, "series": [{"name": "a", "y": [1.0] * len(categories)}]}
    layout = draw("bars", data, narrow).layout
    return layout.xaxis.tickangle, layout.xaxis.ticktext, layout.height


@pytest.mark.parametrize("narrow", [False, True])
def test_labels_that_fit_stand_upright_and_others_are_turned_whole(narrow):
    assert bars_of(["one", "two words"], narrow)[0] == 0
    names = [f"least gap: from {i}, gap 5.86, 3 runs" for i in range(30)]
    angle, texts, height = bars_of(names, narrow)
    assert angle == (-90 if narrow else -45) and list(texts) == names, "a line each: two would lie on the neighbour"
    assert height > bars_of(["a"] * 2, narrow)[2]
    angle, texts, _ = bars_of(["incomprehensibilities of words", "b"] * 4, narrow)
    assert angle == (-90 if narrow else -45) and all("incomprehensibilities" in text for text in texts[::2])


def test_endless_labels_make_no_endless_figure():
    angle, texts, height = bars_of(["x" * 20_000] * 3, narrow=True)
    assert angle == -90 and height < 1000 and max(map(len, texts[0].split("<br>"))) == 60

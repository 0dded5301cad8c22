"""What holds for every kind: tables have the numbers of the data, drawing changes nothing, checking needs no plotly."""

import json
import pkgutil
import subprocess
import sys

import pytest
from demo import demo

from mechbp import figures
from mechbp.errors import InputError
from mechbp.figures import KINDS, check_data, draw, table

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


def test_every_file_of_a_kind_is_registered_under_its_name_and_shown_in_the_demo():
    modules = {name for _, name, _ in pkgutil.iter_modules(figures.__path__)}
    kinds = {name for name in modules if hasattr(getattr(figures, name, None), "rows")}
    assert kinds == set(KINDS) == {figure.kind for figure in FIGURES}
    assert all(KINDS[name] is getattr(figures, name) for name in kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_is_documented(kind):
    with pytest.raises(InputError, match="unknown key") as caught:
        check_data(kind, {"?": None}, "here")
    known = str(caught.value).partition("there are: ")[2].rstrip(".").split(", ")
    assert known and all(key in KINDS[kind].__doc__ for key in known)


def test_checking_a_document_needs_no_plotly():
    code = "import sys, mechbp.report.document; print('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_labels_of_low_rows_stand_in_one_line_each():
    """Wrapped ones would run into each other; what is cut stands whole where the mouse is, and in the table."""
    rows = [f"row {i}, of many components" for i in range(20)] + ["a name that is longer than any margin can hold"]
    data = {"rows": rows, "columns": ["a"], "value_title": "v", "panels": [{"title": "t", "values": [[0.0]] * 21}]}
    axis = KINDS["heatmap"].draw(data, False)["layout"]["yaxis"]
    assert axis["tickvals"] == rows and axis["ticktext"][:-1] == rows[:-1] and "<br>" not in axis["ticktext"][-1]
    assert axis["ticktext"][-1] == "a name that is longer than an…"
    few = {**data, "rows": rows[:2], "panels": [{"title": "t", "values": [[0.0]] * 2}]}
    assert "<br>" in KINDS["heatmap"].draw(few, False)["layout"]["yaxis"]["ticktext"][0]

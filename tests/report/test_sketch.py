"""Pictures of the index: one for every kind, from the figure's own numbers, safe against hostile titles, inside their frame."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from demo import demo

from mechbp.figures import KINDS
from mechbp.report.sketch import DRAWN, HEIGHT, WIDTH, sketch

FIGURES = [figure for figure in demo().figures if figure.status == "done"]


def test_every_kind_has_a_picture():
    assert set(DRAWN) == set(KINDS) == {figure.kind for figure in FIGURES}


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure.kind != "drawn"], ids=lambda figure: figure.id)
def test_a_picture_is_one_svg_that_holds_the_data_and_stays_inside(figure):
    tree = ElementTree.fromstring(sketch(replace(figure, title='<script>"&')))
    assert tree.attrib["aria-label"] == '<script>"&' and len(list(tree.iter())) >= 3
    for node in tree.iter():
        for key, limit in (("cx", WIDTH), ("x", WIDTH), ("cy", HEIGHT), ("y", HEIGHT)):
            if key in node.attrib:
                assert -0.02 * limit <= float(node.attrib[key]) <= 1.02 * limit, (node.tag, key)


def test_a_line_goes_up_where_its_numbers_do_and_breaks_at_a_gap():
    figure = next(f for f in FIGURES if f.kind == "lines")
    line = {"name": "a", "x": [1, 2, 3, 4, 5], "y": [0.0, 1.0, None, 2.0, 3.0]}
    picture = sketch(replace(figure, data={"x_title": "x", "y_title": "y", "series": [line]}))
    path = re.search(r'd="(M[^"]*)" stroke="#', picture)[1]
    heights = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
    assert path.count("M") == 2 and heights == sorted(heights, reverse=True) and len(heights) == 4


def test_cells_take_the_colours_of_their_values():
    figure = next(f for f in FIGURES if f.kind == "heatmap")
    data = {"rows": ["r"], "columns": ["a", "b"], "value_title": "v", "panels": [{"title": "t", "values": [[0.0, 1.0]]}]}
    assert re.findall('fill="(#[0-9a-f]{6})"', sketch(replace(figure, data=data))) == ["#440154", "#fde725"]


def test_a_scripts_own_figure_has_a_picture_where_it_is_curves_or_a_grid():
    polar = next(figure for figure in FIGURES if figure.kind == "drawn")
    assert sketch(polar) == ""

    def drawn(*traces):
        return sketch(replace(polar, data={"traces": list(traces), "layout": {}}))

    assert drawn({"type": "scatter", "x": ["a", "b"], "y": [1, 2]}).count('stroke-width="2"') == 1
    assert drawn({"type": "heatmap", "z": [[1, 2], [3, None]]}).count("<rect") == 3
    assert drawn({"type": "scatter", "y": ["many", "words"]}) == ""

"""Heat maps: one colour scale for all panels and frames, labels at their cells, panels with labels of their own."""

import pytest

from mechbp.errors import InputError
from mechbp.figures import check_data, draw, table


def test_heat_maps_share_one_scale_over_frames_and_diverging_ones_are_centred():
    data = {"rows": ["r"], "columns": ["c"], "value_title": "v", "frames": []}
    data["frames"] = [{"name": str(v), "panels": [{"title": "p", "values": [[v]]}]} for v in (-1.0, 3.0)]
    sequential, diverging = draw("heatmap", data), draw("heatmap", {**data, "scale": "diverging"})
    assert (sequential.layout.coloraxis.cmin, sequential.layout.coloraxis.cmax) == (-1, 3)
    assert (diverging.layout.coloraxis.cmin, diverging.layout.coloraxis.cmax) == (-3, 3)


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


def test_a_panel_may_bring_its_own_labels():
    own = {"title": "own", "values": [[1, 2]], "rows": ["x"], "columns": ["y", "z"]}
    data = {"rows": ["r"], "columns": ["c"], "value_title": "low", "panels": [{"title": "t", "values": [[3]]}, own]}
    check_data("heatmap", data, "here")
    result = table("heatmap", data)
    assert result.headers == ("panel", "row", "column", "low\N{PRIME}")  # "low" is the column of an interval's lower end
    assert result.rows == (("t", "r", "c", 3), ("own", "x", "y", 1), ("own", "x", "z", 2))


def test_frames_need_the_same_panels():
    frames = [{"name": name, "panels": [{"title": name, "values": [[1]]}]} for name in ("a", "b")]
    with pytest.raises(InputError, match="every frame needs the same panel titles, rows and columns"):
        check_data("heatmap", {"rows": ["r"], "columns": ["c"], "value_title": "v", "frames": frames}, "here")


@pytest.mark.parametrize("beside", ["2", 0, 1.5, True, None])
def test_the_number_of_panels_side_by_side_is_a_whole_number_above_0(beside):
    data = {"rows": ["r"], "columns": ["c"], "value_title": "v", "panels": [{"title": "t", "values": [[1]]}]}
    check_data("heatmap", data | {"panel_columns": 2}, "here")
    with pytest.raises(InputError, match=r"^here\.panel_columns: expected an integer >= 1"):
        check_data("heatmap", data | {"panel_columns": beside}, "here")


def test_panels_with_rows_of_their_own_stand_below_each_other_on_narrow_pages():
    panel = {"title": "one", "values": [[0.1, 0.2], [0.3, 0.4]]}
    shared = {
        "rows": ["first", "second"],
        "columns": ["a", "b"],
        "value_title": "share",
        "panels": [panel, panel | {"title": "two"}],
    }
    apart = shared | {"panels": [part | {"rows": ["block 1 output", "block 2 output"]} for part in shared["panels"]]}
    across = [draw("heatmap", data, narrow=True).layout.xaxis.domain for data in (shared, apart)]
    assert [high - low < 0.5 for low, high in across] == [True, False]


def test_the_title_of_the_columns_stands_below_their_labels():
    def shift_px(columns):
        panel = {"title": "t", "values": [[1.0] * len(columns)]}
        data = {"rows": ["r"], "columns": columns, "column_title": "depth", "value_title": "v", "panels": [panel]}
        (title,) = [note for note in draw("heatmap", data).layout.annotations if note.name == "columns"]
        return title.yshift

    upright, long = ([text * times for text in "abcdefghijklmnopqrstuvwxyz"] for times in (1, 24))
    assert shift_px(long) < shift_px(upright) - 20 and shift_px(upright) < 0

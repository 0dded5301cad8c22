"""Style: colours that stand out on both papers."""

import itertools

from mechbp.figures import style


def test_series_colours_stand_out_on_both_papers():
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for color, paper in itertools.product((*style.PALETTE, *style.GREYS), style.PAPER.values()):
        dark, light = sorted((luminance(color), luminance(paper)))
        assert (light + 0.05) / (dark + 0.05) >= 3, (color, paper)


def test_a_part_of_a_decade_has_few_ticks_on_narrow_pages_and_titles_may_move_any_plot():
    assert style.axis("x", True, True, (0.2, 1.0)).get("dtick") == "D2"
    assert "dtick" not in style.axis("x", False, True, (0.2, 1.0)) and "dtick" not in style.axis("x", True, False, (0.2, 1.0))
    assert [style.axis("x", narrow, True, (1e-8, 1.0))["dtick"] for narrow in (False, True)] == [1, 2]
    assert style.axis("x", True, True, (0.01, 1.0))["dtick"] == 1
    assert style.base(100, False)["minreducedheight"] < 64, "plotly's own, below which a title stays on the ticks"

"""Figure kinds: data -> plotly Figure and data -> table. Pure functions; `narrow=True` lays the same traces out for phones.

Data are JSON values (`FigureData` turns arrays into lists, NaN into null and rounds). `null` is a missing value: a gap in the
picture, a dash in the table. Keys marked ? are optional, unknown keys are refused. Text is plain text, never markup. Axis titles
carry the unit in brackets: "KL(BP0 || model) (nats)". In every series `low` and `high` are the ends of an interval and come
together, `color` is a palette index (give two series the same one to pair them), and `control: true` draws the series in grey
(lines dotted, markers hollow).

lines    {x_title, y_title, x_log?: bool, y_log?: bool, x_range?: [low, high], y_range?: [low, high],
          series: [{name, x: [n], y: [n], low?: [n], high?: [n], dash?: solid|dash|dot|dashdot|longdash,
                    markers?: bool, color?: int, control?: bool}],
          references?: [{name, y: number}]}                        horizontal lines, labelled at their right end
         With a slider: frames: [{name, series}] in place of series, and frame_title?: "training step".

bars     {y_title, x_title?, y_range?, categories: [c],
          series: [{name, y: [c], low?: [c], high?: [c], reference?: [c], color?, control?}],
          references?: [{name, y: [c]}]}
         `reference` in a series is a tick across its own bars, `references` are ticks across the whole category.

heatmap  {rows: [r], columns: [c], value_title, row_title?, column_title?, scale?: sequential|diverging, range?: [low, high],
          cell_text?: bool, panel_columns?: int,
          panels: [{title, values: [r][c], low?: [r][c], high?: [r][c], control?: [r][c], rows?: [labels], columns?: [labels]}]}
         Small multiples under one colour scale; the first row is drawn on top. A panel may bring its own row and column labels.
         `diverging` is centred at 0. `low`, `high` and `control` stand in hover and table. `panel_columns`: panels side by side.
         With a slider: frames: [{name, panels}] in place of panels, and frame_title?; all frames need the same panels.

scatter  {x_title, y_title, identity?: bool, x_range?, y_range?,
          series?: [{name, x: [n], y: [n], low?: [n], high?: [n], count?: [n], color?, control?}],
          density?: {x_edges: [a + 1], y_edges: [b + 1], counts: [b][a]}}
         At least one of series and density. `count` scales the marker's area; `identity` draws y = x; density colours are log10.

dots     {x_title, x_log?: bool, x_range?, categories: [c],
          series: [{name, x: [c], low?: [c], high?: [c], color?, control?}],
          references?: [{name, x: number}]}
         Estimates with intervals, one row per category, series side by side in it; references are vertical lines.

clouds   {panels: [{title, x: [n], y: [n]}], colors: [n][3], x_range, y_range, outline?: [[x, y], ...]}
         Small multiples of one set of points, each with its own colour (red, green, blue, from 0 to 1) in every panel; `outline`
         is a polygon drawn in each. With a slider: frames: [{name, panels}] in place of panels, and frame_title?.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from mechbp.report.figures import bars, clouds, heatmap, lines
from mechbp.report.figures.table import Table, table_of

DRAW: dict[str, Callable[[dict[str, Any], bool], go.Figure]] = {
    "lines": lines.lines,
    "scatter": lines.scatter,
    "bars": bars.bars,
    "dots": bars.dots,
    "heatmap": heatmap.heatmap,
    "clouds": clouds.clouds,
}


def draw(kind: str, data: dict[str, Any], narrow: bool = False) -> go.Figure:
    """Draw one figure; the frames of a slider are the Figure's frames, and it shows the last one.

    Traces do not depend on `narrow`, only the layout does. Colours of text, axes and references come from the layout's
    template, so that a page can exchange the light one for the dark one.
    """
    return DRAW[kind](data, narrow)


def table(kind: str, data: dict[str, Any]) -> Table:
    """Return every number of the figure's data as one tidy table."""
    return table_of(kind, data)

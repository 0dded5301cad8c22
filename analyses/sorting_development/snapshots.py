"""What heads copy, along training: the diagonal of OV at every stored step, and whole OV maps at a few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.sorting_development.trajectory import Trajectory
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import spread

SHOWN_RUNS = 2
MAPS = 5
"""Steps of the run whose whole maps are drawn."""
LEAST_VALUES = 17
"""A map of more values than twice this shows every second, third, … of them: a page has to open."""


def snapshots_section(found: Sequence[Trajectory]) -> Section:
    """Return the section with the pictures."""
    shown = _one_of_each(found)
    text = (
        "The diagonal of OV says how much a head adds to the logit of a value that it looks at, the rest of the row taken off: "
        "above 0 it copies the value, below 0 it suppresses it. Each step is shown in units of its own largest entry, since the "
        "size of the stream, which the last layer norm takes out, changes along training.",
    )
    return Section("snapshots", "What each head copies", text, (_diagonals(shown), _maps(shown[0])))


def _one_of_each(found: Sequence[Trajectory]) -> list[Trajectory]:
    """The first run with weight decay and the first without, or the first two."""
    kinds = {one.decays: one for one in reversed(found)}
    return [kinds[kind] for kind in (True, False) if kind in kinds] if len(kinds) > 1 else list(found[:SHOWN_RUNS])


def _diagonals(shown: Sequence[Trajectory]) -> FigureData:
    values = [str(value) for value in range(shown[0].run.process.vocab_size)]
    panels = []
    for one in shown:
        largest = np.array([np.abs(snapshot.diagonals).max() for snapshot in one.trained])
        steps = [f"{snapshot.step:,}" for snapshot in one.trained]
        columns = [str(value) for value in range(one.run.process.vocab_size)]
        for head in range(len(one.last.ov)):
            cells = np.array([snapshot.diagonals[head] for snapshot in one.trained]) / largest[:, None]
            panels.append({"title": f"{one.name}, head {head}", "values": np.round(cells, 2), "rows": steps, "columns": columns})
    return FigureData(
        id="fig-ov-diagonals",
        kind="heatmap",
        title="OV diagonals along training",
        caption="Rows: stored steps, from first to last. Columns: values. Colour: the diagonal entry of OV over the largest of "
        "both heads at that step.",
        alt="Heat maps of OV diagonals, stored steps in rows and values in columns, one map per head.",
        data={
            "rows": panels[0]["rows"],
            "columns": values,
            "row_title": "step",
            "column_title": "value",
            "value_title": "OV of a value for itself / largest",
            "scale": "diverging",
            "range": [-1.0, 1.0],
            "panel_columns": 2,
            "panels": panels,
        },
    )


def _maps(one: Trajectory) -> FigureData:
    size = one.run.process.vocab_size
    picked = np.arange(0, size, max(1, size // LEAST_VALUES))
    labels = [str(value) for value in picked]
    frames = []
    for step in spread([snapshot.step for snapshot in one.trained], MAPS):
        ov = one.at(step).ov
        centred = ov - ov.mean(axis=2, keepdims=True)
        cells = np.round(centred[:, picked][:, :, picked] / np.abs(centred).max(), 2)
        panels = [{"title": f"head {head}", "values": cells[head]} for head in range(len(cells))]
        frames.append({"name": f"{step:,}", "panels": panels})
    every = "" if len(picked) == size else f" One value in {picked[1]} is shown."
    return FigureData(
        id="fig-ov-maps",
        kind="heatmap",
        title=f"{one.name}: OV at a few steps",
        caption=f"Rows: value attended to. Columns: logit. In units of the largest entry of the step.{every}",
        alt="Heat maps of OV circuits between values, one per head; a slider goes through training.",
        data={
            "rows": labels,
            "columns": labels,
            "row_title": "value attended to",
            "column_title": "logit",
            "value_title": "OV / largest",
            "scale": "diverging",
            "range": [-1.0, 1.0],
            "panel_columns": 2,
            "frames": frames,
            "frame_title": "step",
        },
    )

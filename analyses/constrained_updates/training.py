"""How Mid and Post come to hold their beliefs along training, relative to random weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.history import History
from analyses.shared.seed_groups import Group
from mechbp.report.document import FigureData, Section
from mechbp.study import Study


@dataclass(frozen=True, eq=False)
class TrainingCurve:
    """Errors at every stored step over those at step 0."""

    group: Group
    steps: tuple[int, ...]
    mid: np.ndarray
    post: np.ndarray


def training_curves(study: Study, found: list[tuple[Group, History]]) -> list[TrainingCurve]:
    """Follow the first seed of every group that has more than one stored step."""
    curves = []
    for group, history in found:
        run = group.runs[0]
        if len(run.steps) < 2:
            continue
        steps = run.steps if not study.quick else (run.steps[0], run.steps[len(run.steps) // 2], run.steps[-1])
        study.stage(f"{run.name}: along training")
        errors = np.array([(known.mid, known.post) for known in map(history.at, steps)])
        table = errors / errors[0]
        curves.append(TrainingCurve(group, tuple(steps), table[:, 0], table[:, 1]))
    return curves


def training_section(found: list[TrainingCurve]) -> Section:
    """Return the section with its figure."""
    if not found:
        return Section("training", "Along training", (), (), "skipped", "no run has more than one stored step")
    lines = []
    for item in found:
        setting = published.setting_of(item.group.runs[0])
        printed = [published.FINAL_SHARE.get((part, setting)) for part in ("Mid", "Post")] if setting else [None, None]
        theirs = f"; published {printed[0]:g} and {printed[1]:g}" if printed[0] and printed[1] else ""
        lines.append(
            f"`{item.group.name}`: Mid {item.mid[-1]:.3f}, Post {item.post[-1]:.3f} of the error of random weights{theirs}."
        )
    series = [
        {"name": f"{item.group.name}, {part}", "x": item.steps[1:], "y": values[1:], "markers": True, "color": color, **dash}
        for color, item in enumerate(found)
        for part, values, dash in (("Mid, constrained", item.mid, {"dash": "dot"}), ("Post, exact", item.post, {}))
    ]
    text = (
        "MSE of the constrained belief at Mid, and of the exact belief at Post, over that of the same network before training "
        f"(step 0, one draw of random weights). {published.NAME}, Fig. A3, plot the same ratio; their optimiser "
        "and steps differ.",
        *lines,
    )
    figure = FigureData(
        id="fig-courses",
        kind="lines",
        title="Errors along training, relative to random weights",
        caption="All words, every word once, as fitted. Step 0 is 1 by definition and not drawn on the logarithmic axis.",
        alt="Error at Mid and Post over that at step 0 against the training step, both axes logarithmic, two lines per setting.",
        data={"x_title": "training step", "y_title": "MSE / MSE at step 0", "x_log": True, "y_log": True, "series": series},
    )
    return Section("training", "Along training", text, (figure,))

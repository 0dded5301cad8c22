"""Values and scores of a jointly trained run, step by step: two heat maps under one slider."""

from __future__ import annotations

import numpy as np

from analyses.topic_structure.setting import mapped_words
from mechbp.models.runs import Run
from mechbp.report.document import FigureData
from mechbp.report.parts import spread

FRAMES = 6


def is_joint(run: Run) -> bool:
    """Return whether a run trains values and attention on disjoint topics, and stores more than its ends."""
    model = run.config.model
    return model.kind == "topic-attention" and model.regime == "joint" and not run.config.process.shared and len(run.steps) > 2


def training_maps(run: Run) -> FigureData:
    """Return the value matrix and the scores before softmax, words sorted by topic, at some stored steps."""
    n_words = run.process.vocab_size
    words = mapped_words(run.process.topic_of_word)
    labels = [str(word) for word in words]
    frames = []
    for step in spread(run.steps, FRAMES):
        model = run.at(step)
        tables = {"values (output word, input word)": model.values(), "scores (query, key)": model.scores().T}
        panels = []
        for title, table in tables.items():
            found = table[:n_words, :n_words].detach().double().cpu().numpy()
            found = found - found.mean(axis=1, keepdims=True)
            panels.append(
                {"title": title, "values": np.round((found / max(np.abs(found).max(), 1e-12))[np.ix_(words, words)], 2)}
            )
        frames.append({"name": f"{step:,}", "panels": panels})
    return FigureData(
        id=f"fig-{run.name}-maps",
        kind="heatmap",
        title=f"{run.name}: values and scores along training",
        caption="The first two words of each topic; every row centred, every map divided by its largest entry, so that maps "
        "of early steps show their noise at full scale.",
        alt="Two heatmaps, of the value matrix and of the attention scores between words sorted by topic, one frame per "
        "stored step on a slider.",
        data={
            "rows": labels,
            "columns": labels,
            "value_title": "entry / largest",
            "scale": "diverging",
            "range": [-1, 1],
            "panel_columns": 2,
            "frames": frames,
            "frame_title": "step",
        },
    )

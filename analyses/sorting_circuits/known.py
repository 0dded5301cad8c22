"""Sorters whose heads are specialised by construction, as the parts of this page see trained ones: the known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analyses.shared.sorter import Sorter
from mechbp.models.compiled.sorter import Kind, compile_sorter
from mechbp.models.config import ModelConfig, RunConfig, TrainingConfig
from mechbp.models.runs import Run
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.sorting import SortingRecipe
from mechbp.processes.sorting.sorted_lists import SortedLists

CONFIDENCE = 8.0
"""What a copying head adds to a logit: heads are then as sure as trained ones, and what a suppressor takes off shows."""


def known_sorter(name: str, lists: SortedLists, kind: Kind, **settings: Any) -> Sorter:
    """Return a compiled sorter; its run has a recipe that says what it is, and no folder."""
    compiled = compile_sorter(lists, kind, **{"confidence": CONFIDENCE, **settings})
    cfg = compiled.model.cfg
    assert cfg.d_model is not None and cfg.d_head is not None
    model = ModelConfig(
        n_layers=1, n_heads=cfg.n_heads, d_model=cfg.d_model, d_mlp=0, d_head=cfg.d_head, normalization="none", attention="causal"
    )
    process = SortingRecipe("sorting", lists.vocab_size, lists.length, lists.window, lists.gap)
    training = TrainingConfig(steps=1, batch_size=1, learning_rate=0.0, weight_decay=0.0)
    return Sorter(Run(name, Path(name), RunConfig(process, model, ObjectiveConfig("sort"), training)), compiled.model)


def known_suppressors(lists: SortedLists) -> tuple[Sorter, ...]:
    """Return sorters that always answer rightly, and whose second head takes off part of what the first one adds.

    It reads the list, like the first, and so lowers the answer; or values already named, and so lowers what is no answer.
    """
    return (
        known_sorter("compiled, reads the list", lists, "suppression", suppression=0.3),
        known_sorter("compiled, reads the answer", lists, "suppression", suppression=0.3, suppressor_reads="answer"),
    )


def known_splitter(lists: SortedLists) -> Sorter:
    """Return a sorter whose heads copy the lower and the upper half of the values."""
    return known_sorter("compiled splitter", lists, "splitting")

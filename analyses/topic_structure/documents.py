"""Held-out documents of a run that trains attention: its pattern by class of pair, and its loss with other patterns in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mechbp.hooks import capture, edit
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.topics.document_attention import TokenPairs, attention_by_class

PATTERN = "blocks.0.attn.hook_pattern"
DOCUMENTS, QUICK_DOCUMENTS = 400, 60


@dataclass(frozen=True, eq=False)
class HeldDocuments:
    """Documents masked as in training, what is asked of them, and how the run attends."""

    inputs: np.ndarray
    reads: np.ndarray
    targets: np.ndarray
    pairs: TokenPairs
    pattern: np.ndarray
    """[n, head, query, key]"""
    by_class: np.ndarray
    """[n, head, class]: attention times the number of keys."""


def held_documents(study: Study) -> int:
    """Return how many documents are asked about."""
    return study.size(DOCUMENTS, QUICK_DOCUMENTS)


def is_attention(run: Run) -> bool:
    """Return whether a run is a theory model that trains queries and keys on disjoint topics."""
    return (
        run.config.model.kind == "topic-attention"
        and run.config.model.regime in ("kq", "joint", "both")
        and not run.config.process.shared
    )


def documents_of(study: Study, run: Run) -> HeldDocuments:
    """Draw documents and capture the pattern of the run."""
    rng = study.rng(run.config.process.name, run.config.objective.task, "documents")
    sample = run.task.draw(run.process, held_documents(study), rng)
    lesson = run.task.lesson(run.process, run.config.objective, sample, rng)
    task: Any = run.task
    vocabulary = task.vocabulary(run.process)
    shown = lesson.inputs % vocabulary.n_ids
    seen = (lesson.inputs < vocabulary.n_ids) & (shown != vocabulary.pad)
    topic = run.process.topic_of_word
    pairs = TokenPairs.of(shown, topic[:, None] == topic, seen)
    pattern = capture(run.model, lesson.inputs, PATTERN, batch_size=100)[PATTERN].numpy()
    return HeldDocuments(
        lesson.inputs,
        lesson.reads,
        lesson.targets,
        pairs,
        pattern,
        attention_by_class(pattern, pairs, seen & (shown < run.process.vocab_size)),
    )


def loss_with(run: Run, held: HeldDocuments, pattern: np.ndarray | None) -> np.ndarray:
    """Return the sum of the run's own loss over the selected words of each document, with `pattern` in place of its own."""
    tokens = torch.from_numpy(held.inputs)
    with torch.no_grad():
        if pattern is None:
            output = run.model(tokens)
        else:
            given = torch.from_numpy(pattern).float()
            replace: Callable[[torch.Tensor], torch.Tensor] = lambda own: given.to(own.dtype)  # noqa: E731
            with edit(run.model, {PATTERN: replace}):
                output = run.model.run_with_hooks(tokens)
    read = output[torch.from_numpy(held.reads)].double()
    targets = torch.from_numpy(held.targets)
    if run.config.objective.loss == "cross-entropy":
        each = F.cross_entropy(read, targets, reduction="none")
    else:
        each = (read - F.one_hot(targets, read.shape[1])).square().sum(dim=1)
    return np.bincount(np.nonzero(held.reads)[0], weights=each.numpy(), minlength=len(held.inputs))

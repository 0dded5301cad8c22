"""Held-out documents of a run that trains attention: its attention by class of key, and its loss with other patterns in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mechbp.hooks import edit, forward
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.topics.key_classes import CLASSES, ClassAttention, KeyClasses, class_attention, pattern_of_weights
from mechbp.theory.topics.pairs import PairClasses

PATTERN = "blocks.0.attn.hook_pattern"
DOCUMENTS, QUICK_DOCUMENTS = 400, 60


@dataclass(frozen=True, eq=False)
class HeldDocuments:
    """Documents masked as in training, what is asked of them, and how the run attends."""

    inputs: np.ndarray
    reads: np.ndarray
    targets: np.ndarray
    unseen: np.ndarray
    """[n, position]: what is no key."""
    classes: np.ndarray
    """[n, query, key]: indices into mechbp.theory.topics.key_classes.CLASSES."""
    attention: ClassAttention

    @property
    def by_class(self) -> np.ndarray:
        """[n, class]: mean attention of each document, times its number of keys; NaN where it has no such pair."""
        return np.stack([self.attention.of_documents((member,))[:, 0, 0] for member in range(len(CLASSES))], axis=1)


def held_documents(study: Study) -> int:
    """Return how many documents are asked about."""
    return study.size(DOCUMENTS, QUICK_DOCUMENTS)


def is_attention(run: Run) -> bool:
    """Return whether a run is a theory model that trains queries and keys on disjoint topics, and sees what it is asked for."""
    recipe = run.config
    theory = recipe.model.kind == "topic-attention" and recipe.model.regime in ("kq", "joint", "both")
    return theory and recipe.objective.task == "mask-a" and not recipe.process.shared


def documents_of(study: Study, run: Run) -> HeldDocuments:
    """Draw documents and read the attention of the run."""
    rng = study.rng(run.config.process.name, run.config.objective.task, "documents")
    sample = run.task.draw(run.process, held_documents(study), rng)
    lesson = run.task.lesson(run.process, run.config.objective, sample, rng)
    task: Any = run.task
    unseen = lesson.inputs == task.vocabulary(run.process).pad
    keys = KeyClasses.of(PairClasses.of(run.process.topic_of_word))
    attention = class_attention(run.model, lesson.inputs, keys, unseen)
    return HeldDocuments(lesson.inputs, lesson.reads, lesson.targets, unseen, keys.matrix(lesson.inputs), attention)


def loss_with(run: Run, held: HeldDocuments, weights: np.ndarray | None) -> np.ndarray:
    """Return the sum of the run's own loss over the selected words of each document.

    weights: of the classes of keys, [head, class], whose pattern takes the place of the run's own; None leaves that.
    """
    tokens = torch.from_numpy(held.inputs)
    with torch.no_grad():
        if weights is None:
            output = forward(run.model, tokens)
        else:
            pattern = pattern_of_weights(torch.from_numpy(held.classes), weights, held.unseen)
            with edit(run.model, {PATTERN: lambda own: pattern.to(own.dtype)}):
                output = forward(run.model, tokens)
    asked = np.nonzero(held.reads)[0]
    return document_losses(run.config.objective.loss, output[torch.from_numpy(held.reads)], held.targets, asked, len(tokens))


def document_losses(
    loss: Literal["cross-entropy", "squared"], outputs: Tensor, targets: np.ndarray, document: np.ndarray, n: int
) -> np.ndarray:
    """Return the sum of a loss over the words asked for in each of n documents; outputs and targets are one row per word."""
    wanted = torch.from_numpy(targets)
    if loss == "cross-entropy":
        each = F.cross_entropy(outputs.double(), wanted, reduction="none")
    else:
        each = (outputs.double() - F.one_hot(wanted, outputs.shape[1])).square().sum(dim=1)
    return np.bincount(document, weights=each.cpu().numpy(), minlength=n)

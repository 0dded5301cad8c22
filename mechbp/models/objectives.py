"""Training batches: what is hidden, where the loss reads, and the targets; each a pure function of (recipe, seed, step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from mechbp.models.config import ObjectiveConfig, RunConfig
from mechbp.models.tasks import Source, ask, exact_answers, shown
from mechbp.models.training_set import training_sequences
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.randomness import rng


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs and targets of one step."""

    inputs: Int[Tensor, "batch position"]
    reads: Bool[Tensor, "batch position"]
    """Where the loss reads the logits."""
    targets: Int[Tensor, " read"] | Float[Tensor, "read q"]
    """Symbols, or exact posteriors, in the order of `reads`."""


def training_batch(config: RunConfig, process: Source, step: int) -> Batch:
    """Return the batch of `step`."""
    training, generator = config.training, rng(config.training.seed, "batch", step)
    if isinstance(process, HiddenMarkovModel):
        return _chain_batch(process, training.batch_size, config.objective.targets == "posteriors", generator)
    if training.training_set:
        sample = training_sequences(process, training.seed, training.training_set, step, training.batch_size)
    else:
        sample = process.sample(training.batch_size, generator)
    task, exact = config.objective.task, config.objective.targets == "posteriors"
    if task == "masked":
        reads = hidden_leaves(config.objective, sample.tokens.shape, generator)
        inputs = np.where(reads, process.mask_token, sample.tokens)
        targets = process.beliefs(inputs).marginals[process.depth][reads] if exact else sample.tokens[reads]
    elif task == "root":
        inputs = shown(process, "root", sample.tokens)
        reads = np.broadcast_to(np.arange(inputs.shape[1]) == inputs.shape[1] - 1, inputs.shape)
        targets = exact_answers(process, "root", sample.tokens)[:, 0] if exact else sample.root
    else:
        inputs = sample.tokens
        reads = np.broadcast_to(np.arange(inputs.shape[1]) < inputs.shape[1] - 1, inputs.shape)
        answers = exact_answers(process, "next-token", sample.tokens) if exact else None
        targets = sample.tokens[:, 1:].reshape(-1) if answers is None else answers.reshape(-1, process.vocab_size)
    return Batch(torch.from_numpy(inputs), torch.from_numpy(reads.copy()), _target_tensor(targets))


def _chain_batch(hmm: HiddenMarkovModel, size: int, exact: bool, generator: np.random.Generator) -> Batch:
    """Every position is asked for the next token."""
    asked = ask(hmm, "next-token", size, generator)
    targets = exact_answers(hmm, "next-token", asked.tokens).reshape(-1, hmm.vocab_size) if exact else asked.truth.reshape(-1)
    everywhere = torch.ones(asked.tokens.shape, dtype=torch.bool)
    return Batch(torch.from_numpy(asked.tokens.copy()), everywhere, _target_tensor(targets))


def hidden_leaves(
    objective: ObjectiveConfig, shape: tuple[int, ...], generator: np.random.Generator
) -> Bool[np.ndarray, "n leaves"]:
    """Draw which leaves are masked; at least one in every sequence."""
    n, leaves = shape
    hidden = np.arange(leaves) == generator.integers(leaves, size=(n, 1))
    if objective.mask == "single":
        return hidden
    rate = generator.uniform(objective.mask_rate_low, objective.mask_rate_high, size=(n, 1))
    drawn = generator.random((n, leaves)) < rate
    return np.where(drawn.any(axis=1, keepdims=True), drawn, hidden)


def training_evidence(
    objective: ObjectiveConfig, process: FilteredTree, tokens: Int[np.ndarray, "n leaves"], generator: np.random.Generator
) -> Int[np.ndarray, "n leaves"]:
    """Return the leaves with those hidden, as MASK, that training would hide; other tasks than "masked" hide none."""
    if objective.task != "masked":
        return tokens
    return np.where(hidden_leaves(objective, tokens.shape, generator), process.mask_token, tokens)


def loss_nats(logits: Float[Tensor, "batch position q"], batch: Batch) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the read positions, nats; against symbols or against distributions."""
    return F.cross_entropy(logits[batch.reads], batch.targets)


def _target_tensor(targets: Int[np.ndarray, " read"] | Float64[np.ndarray, "read q"]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(targets))
    return tensor.float() if tensor.is_floating_point() else tensor

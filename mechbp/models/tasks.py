"""The questions a model is asked about a sequence, and their exact answers.

A task turns sequences into model inputs and says at which positions the answers are read. Query axes: "masked" has one query per
leaf (that leaf hidden, all others shown), "root" a single one, "next-token" one per leaf but the first. A hidden Markov model
goes on after the last token shown, so there "next-token" has one query per token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.models.architectures import HookedTransformer
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample

Task = Literal["masked", "root", "next-token"]
Source = FilteredTree | HiddenMarkovModel
"""What makes the sequences; a HiddenMarkovModel with its length."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Sequences and the symbols that the task asks for."""

    tokens: Int[np.ndarray, "n length"]
    truth: Int[np.ndarray, "n query"]


def ask(process: Source, task: Task, n: int, rng: np.random.Generator) -> Questions:
    """Draw n sequences and what the task asks about them."""
    if isinstance(process, HiddenMarkovModel):
        tokens = process.sample(n, rng, n_positions(process, task) + 1).tokens
        return Questions(tokens[:, :-1], tokens[:, 1:])
    sample = process.sample(n, rng)
    return Questions(sample.tokens, true_answers(task, sample))


def n_positions(process: Source, task: Task) -> int:
    """Return the model's input length: the sequence, and one query position for the root."""
    if isinstance(process, HiddenMarkovModel):
        if process.length is None:
            raise InputError("n_positions: this hidden Markov model has no length; use hmm.of_length(10).")
        return process.length
    return process.n_leaves + (task == "root")


def n_input_tokens(process: Source) -> int:
    """Return how many tokens the model can be shown: the symbols, and for trees MASK and ROOT."""
    return process.vocab_size + (2 if isinstance(process, FilteredTree) else 0)


def oracle(process: Source, level: int) -> Source:
    """Return the process of filter level `level` whose exact inference is the oracle BP_level; 0 is the whole hierarchy."""
    if isinstance(process, FilteredTree):
        return FilteredTree(process.grammar, process.depth, level)
    if level:
        raise InputError(f"oracle: a chain has no filter level {level}; see processes.chain_oracles.filtered_beliefs.")
    return process


def shown(process: Source, task: Task, tokens: Int[np.ndarray, "n leaves"]) -> Int[np.ndarray, "n position"]:
    """Return the model's input that shows `tokens` as they are (MASK included)."""
    if task != "root" or not isinstance(process, FilteredTree):
        return tokens
    return np.hstack([tokens, np.full((len(tokens), 1), process.root_token)])


def exact_answers(process: Source, task: Task, tokens: Int[np.ndarray, "n leaves"]) -> Float64[np.ndarray, "n query q"]:
    """Return the posterior of every query by belief propagation under `process` (which need not have made the tokens)."""
    if isinstance(process, HiddenMarkovModel):
        return process.predictive(process.beliefs(tokens)[:, 1:])
    if task == "masked":
        return process.leave_one_out(tokens)
    if task == "root":
        return process.beliefs(tokens).marginals[0]
    leaf = np.arange(process.n_leaves)
    prefixes = [process.beliefs(tokens, np.broadcast_to(leaf < t, tokens.shape)) for t in leaf[1:]]
    return np.stack([b.marginals[process.depth][:, t + 1] for t, b in enumerate(prefixes)], axis=1)


def true_answers(task: Task, sample: TreeSample) -> Int[np.ndarray, "n query"]:
    """Return the symbols that the queries ask for."""
    if task == "root":
        return sample.root[:, None]
    return sample.tokens if task == "masked" else sample.tokens[:, 1:]


def model_answers(
    model: HookedTransformer, process: Source, task: Task, tokens: Int[np.ndarray, "n leaves"], batch_size: int = 256
) -> Float64[np.ndarray, "n query q"]:
    """Return the model's probabilities for every query, softmax taken in float64."""
    if isinstance(process, HiddenMarkovModel):
        return _probabilities(model, tokens, batch_size)
    if task == "masked":
        n, leaves = tokens.shape
        hidden = np.eye(leaves, dtype=bool)
        inputs = np.where(hidden, process.mask_token, tokens[:, None, :]).reshape(n * leaves, leaves)
        read = np.tile(np.arange(leaves), n)
        probabilities = _probabilities(model, inputs, batch_size)[np.arange(n * leaves), read]
        return probabilities.reshape(n, leaves, -1)
    probabilities = _probabilities(model, shown(process, task, tokens), batch_size)
    return probabilities[:, -1:] if task == "root" else probabilities[:, :-1]


@torch.no_grad()
def _probabilities(model: HookedTransformer, inputs: np.ndarray, batch_size: int) -> Float64[np.ndarray, "n position q"]:
    chunks = torch.from_numpy(np.ascontiguousarray(inputs)).split(batch_size)
    return np.concatenate([model(chunk).double().softmax(dim=-1).cpu().numpy() for chunk in chunks])

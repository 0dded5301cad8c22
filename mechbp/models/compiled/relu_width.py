"""How right an ordinary ReLU transformer is that interpolates the squares of the construction, by its width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.models.compiled.weights import readout
from mechbp.processes.tree.filtered_tree import FilteredTree


@dataclass(frozen=True, eq=False)
class WidthAccuracy:
    """Errors of leaf posteriors (each given all other leaves) and root posteriors against BP, per number of knots."""

    knots: tuple[int, ...]
    d_mlp: tuple[int, ...]
    """Hidden units per block."""
    leaf_max_error: Float64[np.ndarray, " knots"]
    """Largest absolute error of a probability over all leaves, symbols and sequences."""
    leaf_mean_error: Float64[np.ndarray, " knots"]
    leaf_kl_bp_to_model_nats: Float64[np.ndarray, " knots"]
    """Mean KL(BP || model) over leaves and sequences, nats; probabilities of the model are raised to 1e-12."""
    root_max_error: Float64[np.ndarray, " knots"]
    root_mean_error: Float64[np.ndarray, " knots"]
    root_kl_bp_to_model_nats: Float64[np.ndarray, " knots"]
    undefined: Float64[np.ndarray, " knots"]
    """Share of leaf and root answers without a positive logit; they count as uniform."""
    n: int
    """Sequences."""

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()}


def accuracy_by_width(tree: FilteredTree, knots: Sequence[int], tokens: Int[np.ndarray, "n leaves"]) -> WidthAccuracy:
    """Return the errors of compile_bp(tree, activation="relu", knots=K) on `tokens`, MASK where not observed, for every K.

    Raises InputError where no number of knots or no sequence is given, and what compile_bp raises.
    """
    if not len(knots) or not len(tokens):
        raise InputError(
            f"accuracy_by_width: need at least one number of knots and one sequence, got {len(knots)} and {len(tokens)}."
        )
    exact = {"leaf": tree.leave_one_out(tokens), "root": tree.beliefs(tokens).marginals[0][:, 0]}
    units, rows = [], []
    for count in knots:
        compiled = compile_bp(tree, activation="relu", knots=count)
        found = _answers(compiled, tokens)
        undefined = np.concatenate([np.isnan(found[name]).any(axis=-1).ravel() for name in exact]).mean()
        row = [undefined]
        for name, posterior in exact.items():
            answer = np.where(np.isnan(found[name]), 1 / tree.vocab_size, found[name])
            error = np.abs(answer - posterior)
            row += [error.max(), error.mean(), kl_nats(posterior, answer).mean()]
        units.append(compiled.model.cfg.d_mlp)
        rows.append(row)
    undefined, *errors = np.array(rows, dtype=np.float64).T
    return WidthAccuracy(tuple(knots), tuple(units), *errors, undefined=undefined, n=len(tokens))


@torch.no_grad()
def _answers(compiled: CompiledBP, tokens: Int[np.ndarray, "n leaves"]) -> dict[str, np.ndarray]:
    """Both answers from one pass: the residual stream is the same for both. The root's is read at the first leaf."""
    tree, model = compiled.tree, compiled.model
    inputs = torch.from_numpy(tree.check_tokens(tokens, "accuracy_by_width"))
    parts = [model(part, stop_at_layer=tree.depth) for part in inputs.split(64)]
    residual = torch.cat(parts)
    leaf, root = (torch.from_numpy(readout(tree, compiled.slots, answer)) for answer in ("leaf", "root"))
    return {
        "leaf": compiled.probabilities(residual @ leaf).numpy(),
        "root": compiled.probabilities(residual[:, :1] @ root)[:, 0].numpy(),
    }

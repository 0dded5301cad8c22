"""The weights of the hand-compiled belief propagation (`compiled_bp` says what they compute and why)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from mechbp.models.architectures import HookedTransformer
from mechbp.models.compiled.layout import Answer
from mechbp.models.compiled.slots import Slots
from mechbp.models.compiled.square_units import Gates, MlpWeights, Read, SquareUnits
from mechbp.processes.tree.filtered_tree import FilteredTree

ATTENTION_SHARPNESS = 1024.0
"""λ: exp(-λ) underflows to exactly 0 in float64 and in float32."""


@torch.no_grad()
def write_weights(model: HookedTransformer, tree: FilteredTree, slots: Slots, answer: Answer, mlps: Sequence[MlpWeights]) -> None:
    """Set every weight of `model`, whose MLPs are at least as wide as `mlps`."""
    for parameter in model.parameters():
        parameter.zero_()
    parts: Any = model  # torch types every submodule as Tensor | Module
    _embed(parts, tree, slots)
    for m, mlp in enumerate(mlps):
        _attend(parts.blocks[m].attn, tree, slots, m)
        _fill(parts.blocks[m].mlp, mlp)
    parts.unembed.W_U.copy_(torch.from_numpy(readout(tree, slots, answer)))


def readout(tree: FilteredTree, slots: Slots, answer: Answer) -> Float64[np.ndarray, "d_model q"]:
    """Return W_U: sum_b p_0(b) joint [a, b], or p_0(b) upward [b], of the root."""
    q, prior = tree.vocab_size, tree.grammar.root_prior
    w_u = np.zeros((slots.d_model, q))
    if answer == "leaf":
        w_u[slots[f"joint {tree.depth}"].dims] = np.kron(np.eye(q), prior[:, None])
    else:
        for slot, share in upward_slots(slots, tree.depth):
            w_u[slots[slot].dims] = share * np.diag(prior)
    return w_u


def leaf_scale(tree: FilteredTree) -> float:
    """Return γ, the evidence of an observed leaf: exp of the entropy per leaf, of a tree or of independent leaves if less."""
    priors, k = tree.priors, tree.filter_level
    whole = _entropy(priors[0]).sum() + (priors[0][0] * _entropy(tree.transitions)).sum()
    rules = _entropy(tree.grammar.rules.reshape(tree.vocab_size, -1))
    whole += sum((priors[d] * rules).sum() for d in range(k, tree.depth))
    return float(np.exp(min(whole, _entropy(priors[tree.depth]).sum()) / tree.n_leaves))


def block_rules(tree: FilteredTree, m: int) -> list[tuple[tuple[tuple[int, int], ...], Float64[np.ndarray, "q q q"]]]:
    """Return what block m computes, per case: the turns (which, 0 left or 1 right) that make the case, and N[a, h, c].

    The case is that of the own node n_m, h its symbol, c its sibling's and a that of their parent.
    """
    turn, k, q = tree.depth - m - 1, tree.filter_level, tree.vocab_size
    if turn >= k:
        return [(((turn, 0),), tree.grammar.rules), (((turn, 1),), tree.grammar.rules.transpose(0, 2, 1))]
    if turn < k - 1:
        same = np.eye(q)
        return [((), np.einsum("ah,ac->ahc", same, same))]
    cases = []
    for j in range(2**k):
        turns = tuple((t, j >> (k - 1 - t) & 1) for t in range(k))
        cases.append((turns, np.einsum("ah,ac->ahc", tree.transitions[j], tree.transitions[j ^ 1])))
    return cases


def block_units(tree: FilteredTree, slots: Slots, m: int) -> SquareUnits:
    """Collect the products of block m."""
    q, units = tree.vocab_size, SquareUnits(slots.d_model)
    upward = [_read(slots, upward_slots(slots, m), h) for h in range(q)]
    sibling = [_read(slots, [(f"sibling {m}", 1.0)], c) for c in range(q)]
    joint_in, joint_out = slots[f"joint {m}"].dims, slots[f"joint {m + 1}"].dims
    targets = [slots[name].dims for name, _ in upward_slots(slots, m + 1)]
    decoy = f"upward {m + 1} decoy"
    for turns, rule in block_rules(tree, m):
        gates = _gates(slots, turns)
        own_is_right = bool(turns) and turns[-1][1] == 1
        left_alone = np.broadcast_to(rule.sum(axis=1 if own_is_right else 2, keepdims=True), rule.shape)
        for h in range(q):
            for c in range(q):
                output = np.zeros(slots.d_model)
                for target in targets:
                    output[target] = rule[:, h, c]
                if decoy in slots:
                    output[slots[decoy].dims] = left_alone[:, h, c]
                units.add_product(upward[h], sibling[c], gates, output)
                for a in range(q):
                    output = np.zeros(slots.d_model)
                    output[joint_out.start + a * q : joint_out.start + (a + 1) * q] = rule[:, h, c]
                    units.add_product(((joint_in.start + a * q + h, 1.0),), sibling[c], gates, output)
    return units


def upward_slots(slots: Slots, m: int) -> list[tuple[str, float]]:
    """The slots that hold the upward message of level m, and the share of each in what readers read."""
    copied = f"upward {m} copy" in slots
    return [(f"upward {m}", 0.5), (f"upward {m} copy", 0.5)] if copied else [(f"upward {m}", 1.0)]


def _read(slots: Slots, shares: list[tuple[str, float]], entry: int) -> Read:
    return tuple((slots[name].dims.start + entry, share) for name, share in shares)


def _gates(slots: Slots, turns: tuple[tuple[int, int], ...]) -> Gates:
    """The flags that are 1 exactly where a turn is not as wanted."""
    return tuple(slots["left turns" if side else "right turns"].dims.start + turn for turn, side in turns)


def gate_size(tree: FilteredTree, m: int) -> float:
    """A gate that closes every unit of block m: no argument exceeds 2 max(1, γ)^(2^m), as rules sum to 1; 2^10 to spare."""
    return float(2.0 ** np.ceil(11 + 2**m * np.log2(max(1.0, leaf_scale(tree)))))


def _embed(model: Any, tree: FilteredTree, slots: Slots) -> None:
    q, depth = tree.vocab_size, tree.depth
    evidence = np.vstack([leaf_scale(tree) * np.eye(q), np.ones(q), np.zeros(q)])  # symbols, MASK, ROOT
    for name, _ in upward_slots(slots, 0):
        model.embed.W_E[:, slots[name].dims] = torch.from_numpy(evidence)
    right = (np.arange(tree.n_leaves)[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    model.pos_embed.W_pos[:, slots["left turns"].dims] = torch.from_numpy(1.0 - right)
    model.pos_embed.W_pos[:, slots["right turns"].dims] = torch.from_numpy(1.0 * right)
    model.pos_embed.W_pos[:, slots["joint 0"].dims] = torch.eye(q, dtype=torch.float64).flatten()


def _attend(attention: Any, tree: FilteredTree, slots: Slots, m: int) -> None:
    """Scores from the flags of the turns, values from upward m to sibling m."""
    turn = tree.depth - m - 1
    for side, name in enumerate(("left turns", "right turns")):
        for t in range(turn + 1):
            flag, channel = slots[name].dims.start + t, side * tree.depth + t
            attention.W_Q[0, flag, channel] = ATTENTION_SHARPNESS if t < turn else -ATTENTION_SHARPNESS
            attention.W_K[0, flag, channel] = 1.0
    same = torch.eye(tree.vocab_size, dtype=torch.float64)
    for name, share in upward_slots(slots, m):
        attention.W_V[0, slots[name].dims, : tree.vocab_size] = share * same
    for name in (f"sibling {m}", f"sibling {m} unread"):
        if name in slots:
            attention.W_O[0, : tree.vocab_size, slots[name].dims] = same


def _fill(mlp: Any, weights: MlpWeights) -> None:
    units = len(weights.b_in)
    mlp.W_in[:, :units] = torch.from_numpy(weights.w_in)
    mlp.b_in[:units] = torch.from_numpy(weights.b_in)
    mlp.W_out[:units] = torch.from_numpy(weights.w_out)


def _entropy(laws: np.ndarray) -> np.ndarray:
    """Entropy over the last axis, nats."""
    return -(laws * np.log(np.where(laws > 0, laws, 1.0))).sum(axis=-1)

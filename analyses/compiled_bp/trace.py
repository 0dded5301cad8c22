"""One sequence followed through the first two blocks, with every number held against belief propagation as it is printed."""

from __future__ import annotations

import numpy as np

import mechbp
from mechbp.models.compiled.bp import CompiledBP
from mechbp.models.compiled.weights import leaf_scale


def walk(compiled: CompiledBP, tokens: np.ndarray, leaf: int) -> list[str]:
    """Return thirty lines on what the token of `leaf` looks at, reads and writes in blocks 1 and 2, for `tokens` [leaves]."""
    tree = compiled.tree
    beliefs = tree.beliefs(tokens[None])
    acts = mechbp.capture(compiled.model, tokens[None], ["blocks.*.hook_resid_*", "blocks.*.attn.hook_pattern"])

    def slot(name: str, at: int = leaf) -> np.ndarray:
        held = compiled.slots[name]
        return held.of(acts[held.readable_from][0, at]).cpu().numpy()

    def message(level: int, node: int) -> np.ndarray:
        return beliefs.upward[tree.depth - level][0, node]

    shown = " ".join("M" if token == tree.mask_token else str(token) for token in tokens)
    lines = [
        f"leaves 0..{tree.n_leaves - 1}: {shown}   (M: not observed)",
        f"follow leaf {leaf}, a {_side(leaf)} child; its sibling is leaf {leaf ^ 1}, their cousins are leaves {_below(leaf, 1)}",
        f"embedding    token {leaf}: upward 0 = {_row(slot('upward 0'))}, joint 0 = identity",
        f"             token {leaf ^ 1}: upward 0 = {_row(slot('upward 0', leaf ^ 1))}   (an observed leaf weighs "
        f"{leaf_scale(tree):.4f})",
    ]
    for m in (0, 1):
        own = leaf >> m
        weights = acts[f"blocks.{m}.attn.hook_pattern"][0, 0, leaf].cpu().numpy()
        seen = ", ".join(f"leaf {key} ({weights[key]:g})" for key in np.flatnonzero(weights))
        sibling = slot(f"sibling {m}")
        upward = slot(f"upward {m + 1}")
        joint = slot(f"joint {m + 1}")
        lines += [
            f"block {m + 1}, attention: token {leaf} looks at {seen}; all others 0",
            f"    sibling {m}   before {_row(_before(compiled, acts, m, leaf, f'sibling {m}'))}, after {_row(sibling)}",
            f"    over its sum {_row(_normalised(sibling))}   {_check(sibling, message(m, own ^ 1))}",
            f"block {m + 1}, MLP: node ({tree.depth - m}, {own}) is a {_side(own)} child, so N = "
            + ("M[a, h, c]" if own % 2 == 0 else "M[a, c, h]")
            + f": upward {m + 1} = N upward {m} sibling {m}",
            f"    upward {m + 1}    before {_row(np.zeros(len(upward)))}, after {_row(upward)}",
            f"    over its sum {_row(_normalised(upward))}   {_check(upward, message(m + 1, own >> 1))}",
            f"    joint {m + 1}     columns b = symbol of node ({tree.depth - m - 1}, {own >> 1}):",
            *(f"      leaf {leaf} = {a}   {_row(row)}" for a, row in enumerate(joint)),
        ]
        posterior = joint @ beliefs.downward[tree.depth - m - 1][0, own >> 1]
        exact = beliefs.downward[tree.depth][0, leaf]
        lines.append(f"    times BP's downward message {_row(_normalised(posterior))}   {_check(posterior, exact)}")
    answer = compiled.answers(tokens[None])[0, leaf]
    lines.append(f"after block {tree.depth}, unembedding: the answer at leaf {leaf}")
    return [*lines, f"    over its sum {_row(answer)}   {_check(answer, exact)}"]


def _before(compiled: CompiledBP, acts: dict, m: int, leaf: int, name: str) -> np.ndarray:
    return compiled.slots[name].of(acts[f"blocks.{m}.hook_resid_pre"][0, leaf]).cpu().numpy()


def _check(found: np.ndarray, exact: np.ndarray) -> str:
    return f"BP {_row(exact)}, off by {np.abs(_normalised(found) - exact).max():.1g}"


def _normalised(message: np.ndarray) -> np.ndarray:
    return message / message.sum()


def _row(values: np.ndarray) -> str:
    return "[" + " ".join(f"{value + 0.0:.4f}" for value in np.where(np.abs(values) < 5e-5, 0.0, values)) + "]"


def _side(node: int) -> str:
    return "right" if node % 2 else "left"


def _below(leaf: int, level: int) -> str:
    """The leaves below the sibling of the ancestor `level` up."""
    first = ((leaf >> level) ^ 1) << level
    return " and ".join(str(first + i) for i in range(2**level))

"""Exact inference on a filtered tree: one upward and one downward pass of belief propagation, batched over sequences.

Axes inside this file: messages are [node, symbol, example]. With the example axis last and contiguous, every step is one
small-by-long matrix product or an elementwise product over long rows, which NumPy runs at memory speed; the arrays handed
out are views with the axes in the public order [example, node, symbol].
(Source: Garnier-Brun et al. 2025, Eqs. 5-8, with the 2^k messages at the filter multiplied along a balanced binary tree,
so that cavities need neither division nor 2^k steps.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from mechbp.brief import Brief
from mechbp.errors import ImpossibleEvidence
from mechbp.processes.tree.grammar import TreeGrammar

CHUNK_ENTRIES = 2**17
"""Numbers in the largest array of one chunk of examples, leaves x symbol pairs: 1 MiB stays in the processor's cache."""

Messages = Float64[np.ndarray, "_node symbol example"]
Sums = Float64[np.ndarray, "_node example"]
"""What each message summed to before it was normalised; their product is the probability of the evidence."""


@dataclass(frozen=True, eq=False, repr=False)
class TreeBeliefs(Brief):
    """Messages and marginals of every symbol-bearing depth d: 0 and filter_level..depth."""

    upward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """upward[d][i, j, a] is proportional to P(observed leaves below node (d, j) | x_{d,j} = a); rows sum to 1."""
    downward: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """downward[d][i, j, a] = P(x_{d,j} = a | observed leaves not below node (d, j))."""
    marginals: dict[int, Float64[np.ndarray, "n _nodes q"]]
    """marginals[d][i, j, a] = P(x_{d,j} = a | observed leaves)."""
    log_evidence: Float64[np.ndarray, " n"]
    """log P(observed leaves), nats."""


@dataclass(frozen=True, eq=False)
class Passes:
    """What the two passes leave behind, internal axes; a message that sums to 0 marks impossible evidence."""

    upward: dict[int, Messages]
    downward: dict[int, Messages]
    log_evidence: Float64[np.ndarray, " example"]


def run_passes(
    grammar: TreeGrammar,
    transitions: Float64[np.ndarray, "top q q"],
    evidence: Integer[np.ndarray, "n leaves"],
    depth: int,
    filter_level: int,
) -> Passes:
    """Run both passes over `evidence`, leaf symbols with q standing for "not observed".

    `transitions[j]` is P(x_{k,j} = b | x_0 = a). Impossible evidence gives log evidence -inf and zero messages, no error.
    """
    n, q = len(evidence), grammar.vocab_size
    depths = sorted({0, *range(filter_level, depth + 1)})
    upward = {d: np.empty((2**d, q, n)) for d in depths}
    downward = {d: np.empty((2**d, q, n)) for d in depths}
    log_evidence = np.empty(n)
    symbol_evidence = np.vstack([np.eye(q), np.ones(q)])  # one row per leaf token; the last is "not observed"
    for part in chunks(n, q, depth):
        leaves = np.ascontiguousarray(symbol_evidence[evidence[part]].transpose(1, 2, 0))
        up, removed_below = upward_pass(grammar, leaves, depth, filter_level)
        up[0], down, removed_at_top = combine_at_root(grammar, transitions, up[filter_level])
        down = downward_pass(grammar, up, down, depth, filter_level)
        up[depth] = normalise(up[depth])[0]
        for d in depths:
            upward[d][..., part], downward[d][..., part] = up[d], down[d]
        with np.errstate(divide="ignore"):
            log_evidence[part] = sum(np.log(sums).sum(axis=0) for sums in removed_below + removed_at_top)
    return Passes(upward, downward, log_evidence)


def beliefs_from(passes: Passes) -> TreeBeliefs:
    """Turn two passes into beliefs, refusing evidence of probability zero."""
    impossible = np.flatnonzero(np.isneginf(passes.log_evidence))
    if impossible.size:
        raise ImpossibleEvidence(
            f"beliefs: the observed leaves of example {impossible[0]} have probability 0 under this grammar "
            f"({impossible.size} of {len(passes.log_evidence)} examples).\nRemove these examples, or mask the offending leaves.",
            example=int(impossible[0]),
        )
    return public_beliefs(passes)


def public_beliefs(passes: Passes) -> TreeBeliefs:
    """Return messages and marginals with the axes in the public order."""
    marginals = {d: normalise(passes.upward[d] * passes.downward[d])[0] for d in passes.upward}
    return TreeBeliefs(
        upward=_public(passes.upward),
        downward=_public(passes.downward),
        marginals=_public(marginals),
        log_evidence=passes.log_evidence,
    )


def _public(messages: dict[int, Messages]) -> dict[int, Float64[np.ndarray, "n _nodes q"]]:
    """Views with the axes in the public order [example, node, symbol]."""
    return {d: level.transpose(2, 0, 1) for d, level in messages.items()}


def chunks(n: int, q: int, depth: int) -> Iterator[slice]:
    """Cut n examples into chunks that keep the passes in cache and their memory bounded, whatever the tree."""
    size = max(1, CHUNK_ENTRIES // (2**depth * q * q))
    return (slice(start, start + size) for start in range(0, n, size))


def upward_pass(grammar: TreeGrammar, leaves: Messages, depth: int, top: int) -> tuple[dict[int, Messages], list[Sums]]:
    """Return the upward messages of depths top..depth, given those of `depth`, and the sums removed from them."""
    q = grammar.vocab_size
    pair_to_parent = grammar.rules.reshape(q, q * q)
    messages, removed = {depth: leaves}, []
    for d in range(depth - 1, top - 1, -1):
        left, right = messages[d + 1][0::2], messages[d + 1][1::2]
        pairs = left[:, :, None] * right[:, None]  # [node, left symbol, right symbol, example]
        messages[d], sums = normalise(pair_to_parent @ pairs.reshape(2**d, q * q, -1))
        removed.append(sums)
    return messages, removed


def combine_at_root(
    grammar: TreeGrammar, transitions: Float64[np.ndarray, "top q q"], top_messages: Messages
) -> tuple[Messages, dict[int, Messages], list[Sums]]:
    """Join the 2^k filtered nodes, independent given the root: root's upward message, downward messages at 0 and k, sums.

    The product of the g_j and the products of all but one of them are taken along a balanced binary tree whose inner
    nodes copy the root's symbol: 2^k products up, 2^(k+1) down, no division (g_j may be 0), no underflow.
    """
    to_root, removed = [transitions @ top_messages], []
    while len(to_root[-1]) > 1:
        product, sums = normalise(to_root[-1][0::2] * to_root[-1][1::2])
        to_root.append(product)
        removed.append(sums)
    root_upward, sums = normalise(to_root[-1])
    prior = np.broadcast_to(grammar.root_prior[:, None], root_upward.shape)
    removed += [sums, (prior * root_upward).sum(axis=1)]
    cavity = prior
    for siblings in reversed(to_root[:-1]):
        both = np.repeat(cavity, 2, axis=0)
        both[0::2] *= siblings[1::2]
        both[1::2] *= siblings[0::2]
        cavity = normalise(both)[0]
    top_downward = normalise(transitions.transpose(0, 2, 1) @ cavity)[0]
    top_depth = len(to_root) - 1
    return root_upward, {0: prior, top_depth: top_downward}, removed


def downward_pass(
    grammar: TreeGrammar, upward: dict[int, Messages], messages: dict[int, Messages], depth: int, top: int
) -> dict[int, Messages]:
    """Return the downward messages of depths 0 and top..depth, given those of 0 and top."""
    q = grammar.vocab_size
    parent_to_pair = grammar.rules.reshape(q, q * q).T
    messages = dict(messages)
    for d in range(top, depth):
        left, right = upward[d + 1][0::2], upward[d + 1][1::2]
        pairs = (parent_to_pair @ messages[d]).reshape(2**d, q, q, -1)  # [node, left symbol, right symbol, example]
        children = np.empty_like(upward[d + 1])
        np.einsum("jbcn,jcn->jbn", pairs, right, out=children[0::2])
        np.einsum("jbcn,jbn->jcn", pairs, left, out=children[1::2])
        messages[d + 1] = normalise(children)[0]
    return messages


def normalise(messages: Messages) -> tuple[Messages, Sums]:
    """Divide the messages by their sums over symbols, in place, and return both; an all-zero message stays 0."""
    sums = messages.sum(axis=1)
    messages /= (sums if sums.all() else np.where(sums > 0, sums, 1))[:, None]
    return messages, sums

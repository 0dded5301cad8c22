"""The two questions models are trained on, in one fast pass: every leaf given all others, and the root given all leaves.

A leaf's downward message holds no evidence from that leaf, so it is that leaf's posterior given all others; no second
run with the leaf masked is needed. Nothing else of the inner messages is kept, which allows a short cut at the bottom,
where almost all nodes are: a block of 2^h leaves takes only (q + 1)^(2^h) values, so what it sends up is a table look-up,
and so is its response, the linear map from the downward message at its top to the downward messages of its leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer

from mechbp.brief import Brief
from mechbp.processes.read_only import read_only
from mechbp.processes.tree.belief_propagation import chunks, combine_at_root, downward_pass, normalise, upward_pass
from mechbp.processes.tree.grammar import TreeGrammar

MAX_TABLE_ENTRIES = 2**18
"""Numbers in a response table (2 MiB): it must stay in the cache too."""


@dataclass(frozen=True, eq=False, repr=False)
class BlockTable(Brief):
    """All messages of every possible block of 2^height leaves; a block is the number its leaf tokens spell in base q + 1."""

    height: int
    upward: Float64[np.ndarray, "block q"]
    """P(observed leaves of the block | top = a), up to a factor per block."""
    response: Float64[np.ndarray, "block q leaf_symbol"]
    """P(leaf = b, other observed leaves of the block | top = a) at [block, a, leaf * q + b], up to a factor per leaf."""


@dataclass(frozen=True, eq=False, repr=False)
class LeafAndRoot(Brief):
    """Posteriors of all leaves and of the root; a row of zeros has none, because its evidence is impossible."""

    leaves: Float64[np.ndarray, "n leaves q"]
    root: Float64[np.ndarray, "n q"]
    leaf_defined: Bool[np.ndarray, "n leaves"]


def block_table(grammar: TreeGrammar, height: int) -> BlockTable:
    """Build the table of blocks of 2^height leaves, doubling the block `height` times."""
    q = grammar.vocab_size
    upward = np.vstack([np.eye(q), np.ones(q)])
    response = np.tile(np.eye(q), (q + 1, 1, 1))
    for _ in range(height):
        left = np.einsum("abc,jc,ibx->ijax", grammar.rules, upward, response, optimize=True)
        right = np.einsum("abc,ib,jcx->ijax", grammar.rules, upward, response, optimize=True)
        response = np.concatenate([left, right], axis=-1).reshape(-1, q, 2 * response.shape[-1])
        largest = response.reshape(len(response), q, -1, q).max(axis=(1, 3)).repeat(q, axis=-1)[:, None]
        response /= np.where(largest > 0, largest, 1)  # against underflow where rules are tiny
        upward = np.einsum("abc,ib,jc->ija", grammar.rules, upward, upward, optimize=True).reshape(-1, q)
        _to_distributions(upward)
    return BlockTable(height, read_only(upward), read_only(response))


def best_height(vocab_size: int, max_height: int) -> int:
    """Return the largest block height <= max_height whose response table has at most MAX_TABLE_ENTRIES numbers."""
    heights = range(1, min(max_height, 4) + 1)  # at height 5 even two symbols have 3^32 blocks
    return max((h for h in heights if (vocab_size + 1) ** 2**h * vocab_size**2 * 2**h <= MAX_TABLE_ENTRIES), default=0)


def leaf_and_root_posteriors(
    grammar: TreeGrammar,
    transitions: Float64[np.ndarray, "top q q"],
    table: BlockTable,
    evidence: Integer[np.ndarray, "n leaves"],
    depth: int,
    filter_level: int,
) -> LeafAndRoot:
    """Return P(leaf | all other observed leaves) and P(root | all observed leaves)."""
    n, q, top = len(evidence), grammar.vocab_size, depth - table.height
    digits = (q + 1) ** np.arange(2**table.height)[::-1]
    blocks = evidence.reshape(n, 2**top, len(digits)) @ digits
    leaves, root, leaf_defined = np.empty((n, 2**depth, q)), np.empty((n, q)), np.empty((n, 2**depth), dtype=bool)
    buffer = None
    for part in chunks(n, q, depth):
        chunk = blocks[part]
        if buffer is None:  # the first chunk is the largest
            buffer = np.empty((chunk.size, *table.response.shape[1:]))
        upward, _ = upward_pass(grammar, np.moveaxis(table.upward.T.take(chunk.T, axis=1), 0, 1), top, filter_level)
        root_upward, downward, _ = combine_at_root(grammar, transitions, upward[filter_level])
        root[part] = normalise(root_upward * downward[0])[0][0].T
        to_blocks = downward_pass(grammar, upward, downward, top, filter_level)[top].transpose(2, 0, 1).reshape(-1, q)
        response = table.response.take(chunk.ravel(), axis=0, out=buffer[: chunk.size], mode="clip")  # "raise" would copy
        np.einsum("na,nax->nx", to_blocks, response, out=leaves[part].reshape(chunk.size, -1))
        leaf_defined[part] = _to_distributions(leaves[part]) > 0
    return LeafAndRoot(leaves, root, leaf_defined)


def _to_distributions(weights: Float64[np.ndarray, "*rest q"]) -> Float64[np.ndarray, "*rest"]:
    """Divide by the sums over the last axis, in place, and return the sums; a row of zeros stays.

    The product with a matrix of ones yields each sum once per symbol, in memory order: summing and broadcasting along
    an axis of q entries takes NumPy ten times as long.
    """
    sums = (weights.reshape(-1, weights.shape[-1]) @ np.ones((weights.shape[-1],) * 2)).reshape(weights.shape)
    weights /= sums if sums.all() else np.where(sums > 0, sums, 1)
    return sums[..., 0]

"""Pairs of sequences for causal tests of one message: what the answer must be once the base run holds the source's message.

The base keeps all its leaves; only one message of one node is taken from the source. An upward message decides what leaves
outside the node's subtree must answer, a downward message what leaves inside must answer; a second hidden leaf on the other
side, the bystander, must not move. Exact inference says all three: the new answer, the answer without the message, and the
bystander's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int

from mechbp.divergence import kl_nats
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.pairs import CANDIDATES, LEAST_NATS, LEAST_PAIRS, Pairs
from mechbp.processes.tree.filtered_tree import FilteredTree, TreeSample
from mechbp.processes.tree.interventions import intervene
from mechbp.randomness import checked_generator

Task = Literal["masked", "root", "root-all"]
"""What is asked: a hidden leaf, the root at a ROOT query after the leaves, or the root once of all leaves."""
Message = Literal["upward", "downward"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MessagePairs(Pairs):
    """Pairs that test one message: hidden leaves are MASK in both inputs, and `positions` are the leaves below the node.

    Without the message, an upward one is constant and a downward one the node's prior; the bystander is a hidden leaf.
    """

    message: Message
    depth: int
    """Of the node whose message is taken."""
    nodes: Int[np.ndarray, " n"]
    """Index of the node at its depth."""
    forgotten: Float64[np.ndarray, "n q"]
    """Exact answer at the query without any evidence: the symbol's prior."""

    @property
    def erasure_rivals_kl_nats(self) -> dict[str, Float64[np.ndarray, " n"]]:
        """KL(without || rival), nats, of what an erasure may have done instead of taking this message away.

        "another message": the node says what the source's does; "everything forgotten": no evidence is left at all.
        """
        rivals = {"another message": self.expected, "everything forgotten": self.forgotten}
        return {name: kl_nats(self.without, answer) for name, answer in rivals.items()}


def message_pairs(
    tree: FilteredTree,
    task: str,
    depth: int,
    n: int,
    rng: np.random.Generator,
    *,
    message: Message = "upward",
    mask_rates: tuple[float, float] = (0.0, 0.4),
    bystander: bool = True,
) -> MessagePairs:
    """Draw up to n pairs of independent sequences that test the message of random nodes at `depth`.

    Masked tasks ask for one hidden leaf on the side that the message decides, and hide one on the other side as bystander;
    each sequence hides others at a rate drawn from `mask_rates`. With `bystander` False and rates of 0 the leaf asked for is all
    that is hidden, as for models that are trained on one mask. Root tasks hide none and ask for the root: both draw the same
    pairs from the same `rng`, and what is asked once of all leaves is answered at position 0. Pairs are kept if
    the exact answer moves by LEAST_NATS: chosen by exact inference alone, whatever a model says.
    Raises InputError for a depth without such nodes and TooFewSequences where fewer than LEAST_PAIRS remain.
    """
    checked_generator(rng, "message_pairs")
    if not isinstance(tree, FilteredTree):
        raise InputError(
            f"message_pairs: tree must be a FilteredTree, got {type(tree).__name__}. Pass run.process of a tree run."
        )
    lowest, whole = max(tree.filter_level, 1), all(isinstance(value, int | np.integer) for value in (depth, n))
    if not whole or not lowest <= depth <= tree.depth or message not in get_args(Message) or task not in get_args(Task) or n < 1:
        raise InputError(
            f"message_pairs: need depth in {lowest}..{tree.depth}, n >= 1, message upward or downward, task masked, root "
            f"or root-all,\ngot depth {depth!r}, n {n!r}, message {message!r} and task {task!r}."
        )
    if len(mask_rates) != 2 or not 0 <= mask_rates[0] <= mask_rates[1] < 1:
        raise InputError(f"message_pairs: mask_rates must be (low, high) with 0 <= low <= high < 1, got {mask_rates!r:.60}.")
    asked_of_root = task != "masked"
    if asked_of_root and message == "downward":
        raise InputError("message_pairs: the root is asked for, and no downward message decides it; pass message='upward'.")
    many, width = CANDIDATES * n, 2 ** (tree.depth - depth)
    nodes = rng.integers(2**depth, size=many)
    below = np.arange(tree.n_leaves) // width == nodes[:, None]
    base, source = (tree.sample(many, rng) for _ in range(2))
    inside = nodes * width + rng.integers(width, size=many)
    outside = (nodes * width + width + rng.integers(tree.n_leaves - width, size=many)) % tree.n_leaves
    if asked_of_root:
        query, other = np.full(many, tree.n_leaves if task == "root" else 0), None
        shown = (base.tokens, source.tokens)
    else:
        query, other = (outside, inside) if message == "upward" else (inside, outside)
        if not bystander or (message == "upward" and width == 1):
            other = None  # of a leaf its own evidence is the message
        asked = [leaf for leaf in (query, other) if leaf is not None]
        shown = tuple(_hidden(tree, sample, asked, mask_rates, rng) for sample in (base, source))
    return _kept(tree, task, message, depth, nodes, below, shown, query, other, n)


def child_sides(tree: FilteredTree, depth: int, n_positions: int) -> Int[np.ndarray, " position"]:
    """Return, leaf by leaf, whether its ancestor at `depth` is a left child (0) or a right one (1); 0 at a ROOT query.

    The grammar's rules treat left and right children differently, so a network may hold their messages in different directions.
    """
    sides = np.zeros(n_positions, int)
    sides[: tree.n_leaves] = np.arange(tree.n_leaves) >> (tree.depth - depth) & 1
    return sides


def _hidden(
    tree: FilteredTree, sample: TreeSample, asked: list[np.ndarray], rates: tuple[float, float], rng: np.random.Generator
) -> Int[np.ndarray, "n leaves"]:
    """The leaves with those asked for hidden, and others at a rate of their own in every sequence."""
    n = len(sample.tokens)
    hidden = rng.random(sample.tokens.shape) < rng.uniform(*rates, size=(n, 1))
    for leaf in asked:
        hidden[np.arange(n), leaf] = True
    return np.where(hidden, tree.mask_token, sample.tokens)


def _kept(
    tree: FilteredTree,
    task: str,
    message: Message,
    depth: int,
    nodes: np.ndarray,
    below: np.ndarray,
    shown: tuple[np.ndarray, ...],
    query: np.ndarray,
    other: np.ndarray | None,
    n: int,
) -> MessagePairs:
    """Ask exact inference, and keep the first n pairs whose answer moves."""
    rows = np.arange(len(nodes))
    base, source = shown
    own = tree.beliefs(base)
    lent = getattr(tree.beliefs(source), message)[depth][rows, nodes]
    silent = np.full(lent.shape, 1 / tree.vocab_size) if message == "upward" else tree.priors[depth][nodes]
    new, without = (intervene(tree, base, depth, nodes, **{message: given}) for given in (lent, silent))

    def answers(marginals: dict[int, np.ndarray], leaf: np.ndarray) -> np.ndarray:
        return marginals[0][:, 0] if task != "masked" else marginals[tree.depth][rows, leaf]

    before, expected = answers(own.marginals, query), answers(new.marginals, query)
    moved = new.possible & without.possible & (kl_nats(expected, before) >= LEAST_NATS)
    keep = np.flatnonzero(moved)[:n]
    if len(keep) < LEAST_PAIRS:
        raise TooFewSequences(
            f"message_pairs: only {len(keep)} of {len(rows)} pairs have an exact answer that the {message} message at depth\n"
            f"{depth} moves by {LEAST_NATS} nats; at least {LEAST_PAIRS} are needed. Ask for more pairs."
        )
    priors = np.broadcast_to(tree.priors[0], (len(rows), tree.vocab_size)) if task == "root" else tree.priors[tree.depth][query]
    query_column = np.full((len(rows), 1), tree.root_token)
    inputs = [np.hstack([tokens, query_column]) if task == "root" else tokens for tokens in (base, source)]
    reach = np.hstack([below, np.zeros((len(rows), 1), bool)]) if task == "root" else below
    return MessagePairs(
        message=message,
        depth=depth,
        base=inputs[0][keep],
        source=inputs[1][keep],
        nodes=nodes[keep],
        forgotten=priors[keep],
        positions=reach[keep],
        query=query[keep],
        before=before[keep],
        expected=expected[keep],
        without=answers(without.marginals, query)[keep],
        bystander=None if other is None else other[keep],
        bystander_answer=None if other is None else answers(own.marginals, other)[keep],
        share_kept=float(moved.mean()),
    )

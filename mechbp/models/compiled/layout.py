"""The residual stream of the hand-compiled belief propagation: which slots there are, and what a plant adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mechbp.models.compiled.slots import SlotAllocator, Slots
from mechbp.processes.tree.filtered_tree import FilteredTree

Answer = Literal["leaf", "root"]


@dataclass(frozen=True)
class Plant:
    """What a planted circuit adds to the construction, by levels above the leaf (see `mechbp.models.compiled.planted`)."""

    copies: frozenset[int] = frozenset()
    """Levels whose upward message is written to two slots; whoever reads it reads half of each."""
    unread: frozenset[int] = frozenset()
    """Levels whose sibling message attention writes to a second slot as well, which nothing reads."""
    decoys: frozenset[int] = frozenset()
    """Levels m >= 1 with a slot that holds the message of the left child alone, which nothing reads."""


def bp_slots(tree: FilteredTree, answer: Answer, plant: Plant) -> Slots:
    """Lay out one slot per message and level: every slot is written once, by the embedding or by one part of one block."""
    q, depth = tree.vocab_size, tree.depth
    slots = SlotAllocator()
    gated = tuple(f"blocks.{m}.mlp" for m in range(depth) if m <= depth - max(tree.filter_level, 1))
    turned = (*(f"blocks.{m}.attn" for m in range(depth)), *gated)
    for side in ("left", "right"):
        meaning = f"1 where the path turns {side}, from the root"
        slots.add(f"{side} turns", (depth,), "embed", tuple(sorted(turned)), meaning)
    for m in range(depth + 1):
        writer = "embed" if m == 0 else f"blocks.{m - 1}.mlp"
        readers = (f"blocks.{m}.attn", f"blocks.{m}.mlp") if m < depth else ("unembed",) * (answer == "root")
        what = "evidence of this leaf" if m == 0 else f"upward message of {_ancestor(tree, m)}"
        slots.add(f"upward {m}", (q,), writer, readers, what)
        if m in plant.copies:
            slots.add(f"upward {m} copy", (q,), writer, readers, f"the same as upward {m}; readers take half of each")
    for m in range(depth):
        what = f"upward message of the sibling of {_ancestor(tree, m)}"
        slots.add(f"sibling {m}", (q,), f"blocks.{m}.attn", (f"blocks.{m}.mlp",), what)
        if m in plant.unread:
            slots.add(f"sibling {m} unread", (q,), f"blocks.{m}.attn", (), f"the same as sibling {m}; no weight reads it")
    for m in range(1, depth + 1):
        if m in plant.decoys:
            what = f"upward {m} if only the left child's message counted; no weight reads it"
            slots.add(f"upward {m} decoy", (q,), f"blocks.{m - 1}.mlp", (), what)
    for m in range(depth + 1):
        writer = "embed" if m == 0 else f"blocks.{m - 1}.mlp"
        readers = (f"blocks.{m}.mlp",) if m < depth else ("unembed",) * (answer == "leaf")
        law = f"[a, b]: leaf = a, evidence below; given {_ancestor(tree, m)} = b"
        slots.add(f"joint {m}", (q, q), writer, readers, law if m else "the identity")
    return slots.done()


def _ancestor(tree: FilteredTree, level: int) -> str:
    """Name the ancestor `level` levels above a leaf."""
    if level == 0:
        return "this leaf"
    if level == tree.depth:
        return "the root"
    if level > tree.depth - tree.filter_level:
        return f"the copy of the root {level} up"
    return f"the ancestor {level} up"

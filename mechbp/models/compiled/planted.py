"""Circuits planted in the compiled belief propagation, each with what is so about it: cases that methods may get wrong.

Every function returns a model whose answers equal those of the plain construction, with extra slots and a `truth` that says
of each slot what can be read there, whether any edit of it alone changes the answer (used), and whether zeros there change
it (necessary). Levels count up from the leaf.

"Exactly" is up to a factor, as for every message of the construction, and that factor differs between sequences, 5 to 95 % of
them by a factor of 50 at depth 4: a linear probe of the slot for the message divided by its sum does not reach R² = 1 (0.6 on
"upward 2" of the paper grammar), one for the slot's own numbers does.
"""

from __future__ import annotations

from dataclasses import replace

from mechbp.errors import InputError
from mechbp.models.compiled.bp import CompiledBP, SlotTruth, construct
from mechbp.models.compiled.layout import Answer, Plant
from mechbp.processes.tree.filtered_tree import FilteredTree


def redundant_copy(tree: FilteredTree, level: int, answer: Answer = "leaf") -> CompiledBP:
    """Plant "upward `level` copy": the upward message stands in two slots, and all readers take half of each.

    Zeros in one of them leave half the message, another scale, which belief propagation does not feel: a test of necessity
    that ablates one site at a time finds neither necessary, though both together are. `level` is 0..depth-1.
    """
    _check_level(tree, level, 0, "redundant_copy")
    compiled = construct(tree, answer, None, Plant(copies=frozenset([level])))
    why = "half the message is the message at another scale; zeros in {} as well destroy the answer"
    pair = (f"upward {level}", f"upward {level} copy")
    truth = tuple(
        SlotTruth(slot, f"the upward message of level {level}, exactly (up to scale)", True, False, why.format(other))
        for slot, other in (pair, pair[::-1])
    )
    return replace(compiled, truth=truth)


def written_never_read(tree: FilteredTree, level: int, answer: Answer = "leaf") -> CompiledBP:
    """Plant "sibling `level` unread": attention writes the sibling's message there too, exactly, and no weight reads it.

    `level` is 0..depth-1.
    """
    _check_level(tree, level, 0, "written_never_read")
    compiled = construct(tree, answer, None, Plant(unread=frozenset([level])))
    message = f"the upward message of the sibling at level {level}, exactly (up to scale)"
    truth = (
        SlotTruth(f"sibling {level} unread", message, False, False, "no weight reads the slot"),
        SlotTruth(f"sibling {level}", message, True, True, "the only slot of this message that the MLP reads"),
    )
    return replace(compiled, truth=truth)


def correlated_decoy(tree: FilteredTree, level: int, answer: Answer = "leaf") -> CompiledBP:
    """Plant "upward `level` decoy": the upward message that the left child alone would send, which no weight reads.

    It is correlated with the message and is not the message. `level` is 1..depth-1.
    """
    _check_level(tree, level, 1, "correlated_decoy")
    compiled = construct(tree, answer, None, Plant(decoys=frozenset([level])))
    decoy = f"the upward message of level {level} given the left child's evidence only: correlated with the message, not equal"
    truth = (
        SlotTruth(f"upward {level} decoy", decoy, False, False, "no weight reads the slot"),
        SlotTruth(
            f"upward {level}",
            f"the upward message of level {level}, exactly (up to scale)",
            True,
            True,
            "the only slot of it that is read",
        ),
    )
    return replace(compiled, truth=truth)


def _check_level(tree: FilteredTree, level: int, lowest: int, where: str) -> None:
    if not isinstance(tree, FilteredTree):
        raise InputError(f"{where}: tree must be a FilteredTree, got {type(tree).__name__}. Pass FilteredTree(grammar, 4).")
    highest = tree.depth - 1
    if isinstance(level, bool) or not isinstance(level, int) or not lowest <= level <= highest:
        raise InputError(
            f"{where}: level must be an integer in {lowest}..{highest}, counted from the leaf, got {level!r}.\n"
            f"The message of level {tree.depth} is the root's, which no block reads."
        )

"""What is so about every place of a compiled belief propagation, for one message and one question: read off its layout.

A slot at a position and a stage holds what its name says (`layout`): a function of the evidence on certain leaves, from the stage
at which it is written. The message asked about is the upward message of one node. So a place holds the message, something
computed from it, something that the message is computed from, or nothing of it; and it is read, for the answer at one leaf, where
a chain of readers leads from it to that answer. No method and no run of the model has a part in this.

Truths, and what a method of each kind is right to say of a place:

    truth      what is there                                                 localisation  probing  interchange
    read       the message, which the answer reads                           yes           yes      yes
    copy       one of two slots of the message, of each of which half is     yes           yes      yes
               read
    passed on  what the message is computed from, or is computed from it,    yes           -        -
               and the answer reads
    unread     the message, which the answer does not read                   no            yes      no
    related    the same, which the answer does not read                      no            -        no
    other      something independent of the message, which the answer reads  no            no       no
    nothing    a constant, or something independent that is not read         no            no       no

"-" is not judged: part of a message may be decoded, and a quantity that mixes the message with others may be written. The planted
unread copy is "unread" wherever it stands, the planted decoy "related".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mechbp.brief import Brief
from mechbp.models.compiled.bp import CompiledBP
from mechbp.models.compiled.slots import Slot

Kind = Literal["localisation", "probing", "interchange"]
"""What a method claims to tell: what is causally read, what can be decoded, or what can be written from another run."""
Truth = Literal["read", "copy", "passed on", "unread", "related", "other", "nothing"]
TRUTHS: tuple[Truth, ...] = ("read", "copy", "passed on", "unread", "related", "other", "nothing")
"""Strongest first: what a place with several slots counts as."""

RIGHT: dict[Kind, dict[Truth, bool | None]] = {
    "localisation": {
        "read": True,
        "copy": True,
        "passed on": True,
        "unread": False,
        "related": False,
        "other": False,
        "nothing": False,
    },
    "probing": {
        "read": True,
        "copy": True,
        "passed on": None,
        "unread": True,
        "related": None,
        "other": False,
        "nothing": False,
    },
    "interchange": {
        "read": True,
        "copy": True,
        "passed on": None,
        "unread": False,
        "related": False,
        "other": False,
        "nothing": False,
    },
}
"""What the right answer is; None where there is none."""

Place = tuple[str, int, int]
"""A slot, a position and a stage."""


@dataclass(frozen=True)
class Asked:
    """Whose message it is, and which leaf's answer is to depend on it."""

    level: int
    """Of the node, counted from the leaf."""
    node: int
    """Index of the node at its level."""
    query: int
    """Leaf whose answer is read; below the node's sibling."""

    @property
    def leaves(self) -> frozenset[int]:
        """Leaves below the node."""
        return below(self.node << self.level, self.level)


def below(position: int, level: int) -> frozenset[int]:
    """Return the leaves below the ancestor of a leaf `level` levels up."""
    first = (position >> level) << level
    return frozenset(range(first, first + 2**level))


def stage_of(part: str) -> int:
    """Return the stage after a part has written: 0 for "embed", 2 m + 1 for "blocks.m.attn", 2 m + 2 for "blocks.m.mlp"."""
    if part == "embed":
        return 0
    _, block, name = part.split(".")
    return 2 * int(block) + (1 if name == "attn" else 2)


def hook_of(stage: int) -> str:
    """Return the hook of the residual stream at a stage."""
    if stage == 0:
        return "blocks.0.hook_resid_pre"
    block, inside = divmod(stage - 1, 2)
    return f"blocks.{block}.hook_resid_{'post' if inside else 'mid'}"


@dataclass(frozen=True, eq=False, repr=False)
class Flow(Brief):
    """The truth of every place of one model, for one message and one answer."""

    compiled: CompiledBP
    asked: Asked
    reached: frozenset[Place]
    """Places from which readers lead to the answer."""

    @classmethod
    def of(cls, compiled: CompiledBP, asked: Asked) -> Flow:
        """Follow the readers back from the answer. The model must be unfiltered, and answer at its leaves."""
        assert compiled.answer == "leaf" and compiled.tree.filter_level == 0 and asked.query ^ 2**asked.level in asked.leaves
        slots = compiled.slots
        last = 2 * compiled.tree.depth
        live = {(slot.name, asked.query) for slot in slots.rows if "unembed" in slot.read_by}
        reached = {(name, position, last) for name, position in live}
        for stage in range(last, 0, -1):
            block, inside = divmod(stage - 1, 2)
            part = f"blocks.{block}.{'mlp' if inside else 'attn'}"
            for name, position in tuple(live):
                if slots[name].written_by == part:
                    live |= {source for source in _sources(slots.rows, slots[name], part, position)}
            reached |= {(name, position, stage - 1) for name, position in live}
        return cls(compiled, asked, frozenset(reached))

    def truth(self, slot: Slot, position: int, stage: int) -> Truth:
        """Return what is so about one slot at one position and stage."""
        leaves = evidence(slot, position) if stage >= stage_of(slot.written_by) else frozenset()
        read = (slot.name, position, stage) in self.reached
        if not leaves:
            return "nothing"
        if not leaves & self.asked.leaves:
            return "other" if read else "nothing"
        kind, _, addition = _named(slot)
        if kind in ("upward", "sibling") and addition != "decoy" and leaves == self.asked.leaves:
            twin = kind == "upward" and f"upward {self.asked.level} copy" in self.compiled.slots
            return ("copy" if twin else "read") if read else "unread"
        return "passed on" if read else "related"

    def whole(self, slots: Iterable[Slot], positions: Iterable[int], stage: int) -> Truth:
        """Return what is so about several slots and positions together: the strongest truth; both copies together are read."""
        rows = list(slots)
        found = {self.truth(slot, position, stage) for slot in rows for position in positions}
        truth: Truth = next(what for what in TRUTHS if what in found)
        return "read" if truth == "copy" and len(rows) > 1 else truth


def evidence(slot: Slot, position: int) -> frozenset[int]:
    """Return the leaves on whose evidence a slot depends at a position once it is written; none where it is a constant."""
    kind, level, addition = _named(slot)
    if kind == "sibling":
        return below(position ^ 2**level, level)
    if kind == "joint":
        return below(position, level) - {position}
    if kind == "upward":
        own = below(position, level)
        return frozenset(sorted(own)[: len(own) // 2]) if addition == "decoy" else own
    return frozenset()


def _named(slot: Slot) -> tuple[str, int, str]:
    """Split "upward 1 copy" into kind, level and what is added; the turns have no level."""
    kind, level, *addition = slot.name.split()
    return (kind, int(level), *addition, "")[:3] if level.isdigit() else ("turns", 0, "")  # type: ignore[return-value]


def _sources(rows: Iterable[Slot], written: Slot, part: str, position: int) -> Iterable[tuple[str, int]]:
    """Yield the slots and positions that a part of a block reads to write this slot at this position.

    Attention reads the upward messages of its level below the sibling; the MLP multiplies the sibling's message with the upward
    message, for the next upward message, or with the joint one, for the next joint one. Turns only gate, and are constants.
    """
    kind, level, _ = _named(written)
    for slot in rows:
        own, mine, _ = _named(slot)
        if part not in slot.read_by or own == "turns":
            continue
        if kind == "sibling" and own == "upward" and mine == level:
            yield from ((slot.name, key) for key in below(position ^ 2**level, level))
        elif own in ("sibling", kind) and kind != "sibling" and mine == level - 1:
            yield slot.name, position

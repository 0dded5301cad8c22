"""Questions whose answers are known: compiled models of random grammars, with planted circuits and the truth of every place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mechbp.brief import Brief
from mechbp.divergence import kl_nats
from mechbp.judging.question import Candidate, Question
from mechbp.judging.truth import TRUTHS, Asked, Flow, Kind, Truth, hook_of, stage_of
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.pairs import LEAST_NATS
from mechbp.models.compiled.bp import CompiledBP, construct
from mechbp.models.compiled.layout import Plant
from mechbp.models.compiled.part_hooks import add_part_hooks
from mechbp.models.compiled.slots import Slot
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.corruptions import splice

Sites = Literal["parts", "components", "streams"]
"""What the candidates are: single variables of the residual stream, outputs of attention and MLPs, or whole residual streams."""

VOCABULARY, DEPTH, LEVEL = 4, 3, 1
"""Of the trees, and of the node whose message is asked about, counted from the leaf."""
PLANTS = {
    "plain": Plant(unread=frozenset([LEVEL]), decoys=frozenset([LEVEL])),
    "copied": Plant(copies=frozenset([LEVEL]), unread=frozenset([LEVEL]), decoys=frozenset([LEVEL])),
}
"""Every model has a message that nothing reads and a decoy; in the second the message stands in two slots besides."""
PLANTED_IN: dict[Sites, tuple[str, ...]] = {"parts": ("plain", "copied"), "components": ("plain",), "streams": ("plain",)}
"""A whole vector holds both copies, so that the second model would ask the same again."""
MOST = 4
"""Candidates of one truth in a question."""
HIDDEN = 0.1
"""Share of leaves that are hidden."""
DRAWN = 16
"""Pairs drawn for every pair wanted."""


@dataclass(frozen=True, eq=False, repr=False)
class Setting(Brief):
    """One question with its answer, before it is asked by a kind of method."""

    name: str
    compiled: CompiledBP
    asked: Asked
    candidates: tuple[Candidate, ...]
    truth: tuple[Truth, ...]
    """Of each candidate."""
    held: tuple[tuple[tuple[Slot, ...], int], ...]
    """Slots and stage that each candidate shows."""
    seed: int

    def question(self, kind: Kind, n: int, m: int, budget: int | None) -> Question:
        """Draw n pairs and m other inputs; the same for every method and kind."""
        tree, asked = self.compiled.tree, self.asked
        draw = rng(self.seed, "judge", self.name, "inputs")
        clean, corrupted, answers = _pairs(tree, asked, n, draw)
        around, inside = (tree.sample(m, draw).tokens for _ in range(2))
        tokens = _hidden(tree, asked, splice(tree, around, inside, _node(tree, asked)), draw)
        weights = torch.from_numpy(answers[0] - answers[1])

        def metric(logits: Tensor) -> Tensor:
            return (weights * proportional_reading(logits[:, asked.query])).sum(dim=-1)

        return Question(
            name=self.name,
            kind=kind,
            model=self.compiled.model,
            candidates=self.candidates,
            clean=clean,
            corrupted=corrupted,
            query=asked.query,
            metric=metric,
            exact_clean=answers[0],
            exact_corrupted=answers[1],
            exact_without=answers[2],
            tokens=tokens,
            message=tree.beliefs(tokens).upward[tree.depth - asked.level][:, asked.node],
            rng=rng(self.seed, "judge", self.name, "method"),
            budget=budget,
        )


def settings(grammar: int, sites: Sites) -> Iterator[Setting]:
    """Yield the settings of one grammar, one per model; `grammar` is the seed of everything in them.

    Of every truth at most MOST places are asked about, drawn at random: some are far commoner than others.
    """
    tree = FilteredTree(TreeGrammar.random(VOCABULARY, seed=grammar), DEPTH)
    for plant in PLANTED_IN[sites]:
        name = f"grammar {grammar}, {plant}"
        draw = rng(grammar, "judge", name, sites)
        node = int(draw.integers(2 ** (DEPTH - LEVEL)))
        query = ((node ^ 1) << LEVEL) + int(draw.integers(2**LEVEL))
        compiled, asked = construct(tree, "leaf", None, PLANTS[plant]), Asked(LEVEL, node, query)
        flow = Flow.of(compiled, asked)
        places = {"parts": _parts, "components": _components, "streams": _streams}[sites](compiled, asked, draw)
        rows = [(place, flow.whole(slots, place.positions, stage), (slots, stage)) for place, slots, stage in places]
        kept = [i for what in TRUTHS for i in draw.permutation([i for i, row in enumerate(rows) if row[1] == what])[:MOST]]
        shuffled = [rows[int(i)] for i in draw.permutation(kept)]
        candidates, truth, held = zip(*shuffled, strict=True)
        yield Setting(name, compiled, asked, candidates, truth, held, grammar)


Places = Iterator[tuple[Candidate, tuple[Slot, ...], int]]
"""Candidates, each with the slots and the stage that it shows."""


def _parts(compiled: CompiledBP, asked: Asked, draw: np.random.Generator) -> Places:
    """Every slot by itself, in random order and without its name, before, inside and after the block that reads the message."""
    stages = range(2 * asked.level, 2 * asked.level + 3)
    order = {stage: draw.permutation(len(compiled.slots)) for stage in stages}
    rows = compiled.slots.rows
    names = add_part_hooks(compiled.model, {hook_of(stage): [rows[i].dims for i in order[stage]] for stage in stages})
    for stage in stages:
        for name, i in zip(names[hook_of(stage)], order[stage], strict=True):
            for positions in (tuple(sorted(asked.leaves)), (asked.query,)):
                yield Candidate(name, positions), (rows[i],), stage


def _components(compiled: CompiledBP, asked: Asked, draw: np.random.Generator) -> Places:
    """The embedding and the output of every attention and MLP, position by position: what each writes."""
    written: dict[str, list[Slot]] = {}
    for slot in compiled.slots.rows:
        written.setdefault(slot.written_by, []).append(slot)
    for part, slots in written.items():
        block, _, inside = part.rpartition(".")
        hook = f"{block}.hook_{inside}_out" if block else hook_of(0)
        for position in range(compiled.tree.n_leaves):
            yield Candidate(hook, (position,)), tuple(slots), stage_of(part)


def _streams(compiled: CompiledBP, asked: Asked, draw: np.random.Generator) -> Places:
    """The whole residual stream at every stage: below the node, at the query, beside it, and in the other half of the tree."""
    own, siblings = asked.leaves, {position ^ 2**asked.level for position in asked.leaves}
    groups = (own, {asked.query}, siblings - {asked.query}, set(range(compiled.tree.n_leaves)) - own - siblings)
    for stage in range(2 * compiled.tree.depth + 1):
        for group in groups:
            yield Candidate(hook_of(stage), tuple(sorted(group))), compiled.slots.rows, stage


def _node(tree: FilteredTree, asked: Asked) -> tuple[int, int]:
    return tree.depth - asked.level, asked.node


def _hidden(tree: FilteredTree, asked: Asked, tokens: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    hidden = draw.random(tokens.shape) < HIDDEN
    hidden[:, asked.query] = True
    return np.where(hidden, tree.mask_token, tokens)


def _pairs(
    tree: FilteredTree, asked: Asked, n: int, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Draw pairs that differ below the node, and their exact answers with and without it; keep those whose answer moves.

    They are chosen by exact inference alone, whatever a model says.
    """
    base, mine, theirs = (tree.sample(DRAWN * n, draw).tokens for _ in range(3))
    corrupted = _hidden(tree, asked, splice(tree, base, mine, _node(tree, asked)), draw)
    lent = splice(tree, base, theirs, _node(tree, asked))
    clean = np.where(corrupted == tree.mask_token, tree.mask_token, lent)
    without = corrupted.copy()
    without[:, sorted(asked.leaves)] = tree.mask_token
    answers = tuple(tree.leave_one_out(tokens)[:, asked.query] for tokens in (clean, corrupted, without))
    kept = np.flatnonzero(kl_nats(answers[0], answers[1]) >= LEAST_NATS)[:n]
    assert len(kept) == n, "a random grammar whose messages move no answer"
    return clean[kept], corrupted[kept], (answers[0][kept], answers[1][kept], answers[2][kept])

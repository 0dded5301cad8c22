"""Where the blocks of a run look, and which oracle it follows once its patterns are replaced by static ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.tree_paper.groups import Group
from mechbp.divergence import kl_nats
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models import forward
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, block_average, mass_by_level, named_pattern
from mechbp.theory.tree.followed import Followed, followed
from mechbp.theory.tree.oracle_distances import AskedOnce, answers_with_patterns

CONSTRUCTION, RELABELLED, UNIFORM = "the construction", "the construction, relabelled", "uniform"


@dataclass(frozen=True, eq=False)
class Looking:
    """Attention of one run, and its answers to one query per sequence under every replacement."""

    mean: Float64[np.ndarray, "layer head query key"]
    mass: LevelMass
    control: LevelMass
    """The same of random weights."""
    answers: Mapping[str, Float64[np.ndarray, "n q"]]
    """Replacement -> answers; "" is the run as it is."""
    oracles: Mapping[int, Float64[np.ndarray, "n q"]]
    own_level: int

    def loss(self, name: str) -> Float64[np.ndarray, " n"]:
        """Return KL(BP || model) with the replacement minus that without, per sequence, nats."""
        exact = self.oracles[self.own_level]
        return kl_nats(exact, self.answers[name]) - kl_nats(exact, self.answers[""])

    def followed(self, study: Study, name: str) -> Followed:
        """Return which oracle the answers follow."""
        return followed(self.answers[name], self.oracles, study.rng("followed"))

    def rises(self, study: Study) -> Interval:
        """Return how much farther up the tree each block looks than the one before, of the head that looks farthest."""
        levels = np.arange(self.mass.per_example.shape[-1])
        per_head = self.mass.per_example @ levels
        farthest = per_head.mean(axis=0).argmax(axis=1)
        mean_level = np.take_along_axis(per_head, farthest[None, :, None], axis=2)[..., 0]
        return bootstrap_mean(np.diff(mean_level, axis=1), study.rng("rises"))


def look(study: Study, group: Group, run: Run) -> Looking:
    """Measure one run; runs of one group see the same sequences and are asked the same."""
    study.stage(f"{run.name}: attention")
    process = run.process
    n_leaves = process.n_leaves
    tokens = run.task.inputs(process, process.sample(study.size(500, 64), study.rng(group.slug, "patterns")).tokens)
    patterns = mean_pattern(run.model, tokens, n_leaves)
    control = mean_pattern(run.untrained(seed=1), tokens, n_leaves)
    asked = _asked(study, group, run)
    n_layers, n_heads = patterns.mean.shape[:2]
    relabel = study.rng(group.slug, "relabelled").permutation(n_leaves)
    replaced = {merged_name(kept): block_average(patterns.mean, kept) for kept in range(process.depth - 1, -2, -1)}
    if n_layers <= process.depth:
        theory = named_pattern("sibling-subtree", n_layers, n_heads, n_leaves)
        replaced |= {CONSTRUCTION: theory, RELABELLED: theory[..., relabel[:, None], relabel]}
    answers = {name: answers_with_patterns(run.model, asked, pattern) for name, pattern in replaced.items()}
    return Looking(
        patterns.mean,
        mass_by_level(patterns, study.rng("mass")),
        mass_by_level(control, study.rng("mass")),
        {"": forward.answers(run.model, asked.shown, asked.read), **answers},
        dict(enumerate(asked.oracles.swapaxes(0, 1))),
        process.filter_level,
    )


def merged_name(kept: int) -> str:
    """Return what patterns are called that tell only the levels up to `kept` apart."""
    return {-1: UNIFORM, 0: "itself told apart"}.get(kept, f"levels to {kept} told apart")


def _asked(study: Study, group: Group, run: Run) -> AskedOnce:
    """Sequences with one query each, in the form in which the run is asked."""
    process = run.process
    n = study.size(1024, 64)
    tokens = process.sample(n, study.rng(group.slug, "asked")).tokens
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    prompts = run.task.prompts(process, tokens)
    n_queries = len(prompts.inputs) // n
    query = study.rng(group.slug, "queries").integers(n_queries, size=n)
    rows = np.arange(n) * n_queries + query
    exact = np.stack([run.task.exact(tree, tokens)[np.arange(n), query] for tree in trees], axis=1)
    return AskedOnce(prompts.inputs[rows], prompts.read[rows, 0], exact, process.filter_level)

"""What pages on trees measure alike about attention: does it climb, and what does it cost to merge levels?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mechbp.methods.patching.metric import Metric
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass
from mechbp.theory.tree.oracle_distances import AskedOnce, ask_once
from mechbp.theory.tree.static_patterns import StaticDistances, static_distances


def one_question(study: Study, run: Run, n: int) -> AskedOnce:
    """Sequences of the run's own data with one query each: a leaf chosen at random, or the root."""
    process = run.process
    tokens = process.sample(n, study.rng(run.name, "ablation")).tokens
    if run.config.objective.task == "masked":
        return ask_once(process, tokens, study.rng(run.name, "queries").integers(process.n_leaves, size=n))
    prompts = run.task.prompts(process, tokens)
    return replace(ask_once(process, tokens), shown=prompts.inputs, read=prompts.read[:, 0])


def kl_to_exact(asked: AskedOnce) -> Metric:
    """KL(BP || model) at the query of every sequence, as a metric."""
    rows, read = torch.arange(len(asked.read)), torch.from_numpy(asked.read)
    posterior = torch.from_numpy(asked.oracles[:, asked.own])
    entropy = torch.special.entr(posterior).sum(dim=-1)

    def kl_bp_to_model_nats(logits: Tensor) -> Tensor:
        log_probabilities = logits[rows, read].double().log_softmax(dim=-1)
        return -(posterior * log_probabilities).sum(dim=-1) - entropy

    return kl_bp_to_model_nats


def smallest_rise(mass: LevelMass) -> float | None:
    """Return how much farther up the tree a block looks than the one before, at the pair that speaks least for it; levels."""
    rises = np.diff(mass.mean_level)
    return float(rises.min()) if rises.size else None


def merging_distances(study: Study, run: Run) -> StaticDistances:
    """Distances to every oracle with static patterns in all blocks, level by level merged into one."""
    study.stage(f"{run.name}: merging levels of attention")
    return static_distances(run.model, one_question(study, run, study.size(1024, 64)), run.process.n_leaves)


def merging_losses(study: Study, run: Run, found: StaticDistances | None = None) -> list[tuple[str, Interval, Interval]]:
    """Per number of levels told apart: a name, the loss in nats, and the loss beyond that of telling all levels apart.

    The loss is the increase of KL(BP_k || model), k the level of the run's data. `found` is measured where it is not given.
    """
    found = merging_distances(study, run) if found is None else found
    own = run.config.process.filter_level
    draw = study.rng(run.name, "merging")
    depth = run.process.depth
    return [
        (
            _kept_name(kept, depth),
            bootstrap_mean((distances - found.unedited)[:, 0, own], draw),
            bootstrap_mean((distances - found.levels)[:, 0, own], draw),
        )
        for kept, distances in sorted(found.by_level.items())
    ]


def _kept_name(kept: int, depth: int) -> str:
    if kept == depth - 1:
        return "all levels"
    return {-1: "none: uniform", 0: "itself"}.get(kept, f"itself to {kept} up")

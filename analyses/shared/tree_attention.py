"""What pages on trees measure alike about attention: does it climb, and what does it cost to merge levels?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.patching.metric import Metric
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, block_average
from mechbp.theory.tree.pattern_ablation import replace_patterns


def kl_to_exact(study: Study, run: Run, n: int) -> tuple[np.ndarray, Metric]:
    """Inputs with one query each, and KL(BP || model) at that query as a metric."""
    process, task = run.process, run.config.objective.task
    sample = process.sample(n, study.rng(run.name, "ablation"))
    exact = run.task.exact(process, sample.tokens)
    if task == "masked":
        leaf = study.rng(run.name, "queries").integers(process.n_leaves, size=n)
        tokens = sample.tokens.copy()
        tokens[np.arange(n), leaf] = process.mask_token
    else:
        prompts = run.task.prompts(process, sample.tokens)
        leaf, tokens = prompts.read[:, 0], prompts.inputs
    posterior = torch.from_numpy(exact[np.arange(n), leaf if task == "masked" else 0])
    entropy = torch.special.entr(posterior).sum(dim=-1)

    def kl_bp_to_model_nats(logits: Tensor) -> Tensor:
        log_probabilities = logits[torch.arange(n), torch.from_numpy(leaf)].double().log_softmax(dim=-1)
        return -(posterior * log_probabilities).sum(dim=-1) - entropy

    return tokens, kl_bp_to_model_nats


def smallest_rise(mass: LevelMass) -> float | None:
    """Return how much farther up the tree a block looks than the one before, at the pair that speaks least for it; levels."""
    rises = np.diff(mass.mean_level)
    return float(rises.min()) if rises.size else None


def merging_losses(study: Study, run: Run) -> list[tuple[str, Interval, Interval]]:
    """Per number of levels told apart: a name, the loss in nats, and the loss beyond that of telling all levels apart."""
    study.stage(f"{run.name}: merging levels of attention")
    tokens, metric = kl_to_exact(study, run, study.size(1024, 64))
    mean = mean_pattern(run.model, tokens, run.process.n_leaves).mean
    depth = run.process.depth
    changes, baseline = {}, None
    for kept in range(depth - 1, -2, -1):  # depth - 1 levels told apart leave one class for the last: all are
        found = replace_patterns(run.model, tokens, block_average(mean, kept), range(len(mean)), metric, baseline=baseline)
        changes[kept] = found.change
        baseline = found.baseline
    draw = study.rng(run.name, "merging")
    return [
        (_kept_name(kept, depth), bootstrap_mean(change, draw), bootstrap_mean(change - changes[depth - 1], draw))
        for kept, change in sorted(changes.items())
    ]


def _kept_name(kept: int, depth: int) -> str:
    if kept == depth - 1:
        return "all levels"
    return {-1: "none: uniform", 0: "itself"}.get(kept, f"itself to {kept} up")

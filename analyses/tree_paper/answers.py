"""What a run answers on data of every filter level, beside the oracles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechbp.divergence import expected_hits, kl_nats
from mechbp.methods.statistics.answers import nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study


@dataclass(frozen=True, eq=False)
class Answers:
    """One run's answers; the queries of a sequence are averaged before intervals are taken over sequences."""

    run: Run
    oracle_to_model_nats: Interval
    """Mean KL(BP_k || model) on own data, one entry per k."""
    model_to_oracle_nats: Interval
    """Mean KL(model || BP_k)."""
    untrained_nats: float
    """Mean KL(BP of the own level || random weights)."""
    nearest: tuple[int, int]
    """The nearest oracle in either direction."""
    lead: tuple[Interval, Interval]
    """How much farther the runner-up is, nats."""
    accuracy: Interval
    """Expected accuracy on data of every level."""
    oracle_accuracy: Interval
    """That of BP of the run's own level."""
    gap: Interval
    """The difference, paired by sequence."""
    margins: dict[int, Interval]
    """Level of the data, other than the own -> KL(model || BP of the data) - KL(model || BP of the own level), nats."""

    @property
    def level(self) -> int:
        """Filter level of the training data."""
        return self.run.config.process.filter_level


def answer(study: Study, run: Run) -> Answers:
    """Ask one run about data of every level; runs asked the same see the same sequences."""
    study.stage(f"{run.name}: answers")
    process, own, masked = run.process, run.config.process.filter_level, run.config.objective.task == "masked"
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    n = study.size(512, 48) if masked else study.size(2048, 256)
    hits, margins = [], {}
    there, back, untrained = np.empty((0, 0)), np.empty((0, 0)), np.nan
    for level, tree in enumerate(trees):
        tokens = tree.sample(n, study.rng("answers", "masked" if masked else "root", level)).tokens
        exact = [run.task.exact(oracle, tokens) for oracle in trees]
        found = model_answers(run.model, run.task, process, tokens)
        hits.append([expected_hits(exact[level], who).mean(axis=1) for who in (found, exact[own])])
        to_oracles = np.stack([kl_nats(found, oracle).mean(axis=1) for oracle in exact], axis=1)
        if level == own:
            there, back = np.stack([kl_nats(oracle, found).mean(axis=1) for oracle in exact], axis=1), to_oracles
            few = tokens[: max(32, n // 8)]
            control = model_answers(run.untrained(seed=1), run.task, process, few)
            untrained = float(kl_nats(exact[own][: len(few)], control).mean())
        else:
            margins[level] = bootstrap_mean(to_oracles[:, level] - to_oracles[:, own], study.rng("margin", level))
    model_hits, oracle_hits = np.moveaxis(np.array(hits), 0, -1)
    draw = study.rng(run.name, "answers")
    (first, first_lead), (second, second_lead) = (nearest(divergences, draw) for divergences in (there, back))
    return Answers(
        run,
        bootstrap_mean(there, draw),
        bootstrap_mean(back, draw),
        untrained,
        (first, second),
        (first_lead, second_lead),
        bootstrap_mean(model_hits, draw),
        bootstrap_mean(oracle_hits, draw),
        bootstrap_mean(oracle_hits - model_hits, draw),
        margins,
    )

"""One run's answers held against every oracle, on its own data, on uniform sequences, and on data of every level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechbp.divergence import expected_hits, kl_nats
from mechbp.methods.statistics.answers import Agreement, agreement, nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.rival_oracles import OracleLeads, oracle_leads
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study


@dataclass(frozen=True, eq=False)
class Comparison:
    """One run's answers held against every oracle, on one kind of sequences."""

    n: int
    oracles: list[Agreement]
    """Trained model against BP_k, k = 0..depth."""
    control: list[Agreement]
    """Untrained model against BP_k."""
    nearest_level: int
    margin: Interval
    """KL(model || BP_k), nats, of the runner-up minus that of the nearest oracle."""
    leads: OracleLeads
    """Of the run's own oracle over every other."""
    exact: np.ndarray
    answers: np.ndarray


def compare(study: Study, run: Run, trees: list[FilteredTree], tokens: np.ndarray, label: str) -> Comparison:
    """Hold the trained and an untrained model against every oracle on the same sequences."""
    level = run.config.process.filter_level
    answers = model_answers(run.model, run.task, run.process, tokens)
    few = tokens[: max(64, len(tokens) // 8)]
    control = model_answers(run.untrained(seed=1), run.task, run.process, few)
    exact = [run.task.exact(tree, tokens) for tree in trees]
    to_model = [agreement(e, answers, study.rng(run.name, label, k), truth=exact[level]) for k, e in enumerate(exact)]
    to_control = [agreement(e[: len(few)], control, study.rng(run.name, label, "control", k)) for k, e in enumerate(exact)]
    divergences = np.stack([kl_nats(answers, e).mean(axis=1) for e in exact], axis=1)
    level_found, margin = nearest(divergences, study.rng(run.name, label, "nearest"))
    leads = oracle_leads(exact, level, answers, study.rng(run.name, label, "leads"))
    return Comparison(len(tokens), to_model, to_control, level_found, margin, leads, exact[level], answers)


def accuracy_on(study: Study, run: Run, tree: FilteredTree, matched: FilteredTree, n: int) -> dict[str, Interval]:
    """Accuracy on data of another level: the model's, the matched oracle's, and the best possible there."""
    tokens = tree.sample(n, study.rng(run.name, "level", tree.filter_level)).tokens
    truth = run.task.exact(tree, tokens)
    oracle = run.task.exact(matched, tokens)
    scored = {
        "model": model_answers(run.model, run.task, run.process, tokens),
        "oracle": oracle,
        "best": truth,
        "untrained": model_answers(run.untrained(seed=1), run.task, run.process, tokens[: n // 4]),
    }
    hits = {name: expected_hits(truth[: len(a)], a).mean(axis=1) for name, a in scored.items()}
    return {name: bootstrap_mean(h, study.rng(run.name, "level", tree.filter_level, name)) for name, h in hits.items()}

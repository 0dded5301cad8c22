"""The measurements that make the picture on the paper grammar, taken of any masked model: answers, order, attention, messages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.shared.tree_attention import merging_losses
from analyses.shared.tree_probes import message_grid, writing_blocks
from analyses.shared.tree_training import inclusions
from mechbp.divergence import kl_nats
from mechbp.errors import TooFewSequences
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.statistics.answers import Agreement, agreement, nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.rival_oracles import OracleLeads, oracle_leads
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study
from mechbp.theory.tree.attention import LevelMass, mass_by_level


@dataclass(frozen=True, eq=False)
class Measurements:
    """What one masked model shows on its own data."""

    run: Run
    answers: Agreement
    untrained_kl: float
    to_oracles: Interval
    """KL(model || BP_k), nats, for every k."""
    nearest_level: int
    leads: OracleLeads
    """Of the run's own oracle over every other."""
    rungs: Interval
    """KL(own oracle || other), nats, in the order of leads.rivals."""
    passed: dict[int, float]
    """{k: sequences seen when BP_k became nearer than BP_(k+1) for good}."""
    mass: LevelMass
    control_mass: LevelMass
    merging: list[tuple[str, Interval, Interval]]
    """Loss by number of levels told apart."""
    grid: ProbeGrid | None
    """Probes of the upward messages of a leaf's own ancestors; None for want of sequences."""

    @property
    def label(self) -> str:
        """What sets the run apart from the paper's setting."""
        process = self.run.config.process
        parts = [f"{self.run.process.vocab_size} symbols, depth {process.depth}"]
        if ambiguity := getattr(process, "ambiguity", 0):  # rules that were given say nothing of it
            parts.append(f"ambiguity {ambiguity:g}")
        return f"{self.run.name} ({', '.join(parts)})"

    @property
    def written(self) -> dict[int, tuple[int, float, float]]:
        """Per level above the leaf the block that writes the upward message, and R² before and after it."""
        return {} if self.grid is None else writing_blocks(self.run, self.grid)


def measure(study: Study, run: Run) -> Measurements:
    """Take all measurements of one run, on data of its own process."""
    process = run.process
    level = run.config.process.filter_level
    draw = study.rng(run.name, "picture")
    study.stage(f"{run.name}: answers")
    tokens = process.sample(study.size(768, 24), study.rng(run.name, "answers")).tokens
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    oracles = [run.task.exact(tree, tokens) for tree in trees]
    answers = model_answers(run.model, run.task, process, tokens)
    divergences = np.stack([kl_nats(answers, oracle).mean(axis=1) for oracle in oracles], axis=1)
    found, _ = nearest(divergences, draw)
    own = oracles[level]
    leads = oracle_leads(oracles, level, answers, study.rng(run.name, "leads"))
    rungs = np.stack([kl_nats(own, oracles[k]).mean(axis=1) for k in leads.rivals], axis=1)
    few = slice(max(20, len(tokens) // 8))
    untrained = model_answers(run.untrained(seed=1), run.task, process, tokens[few])
    study.stage(f"{run.name}: attention")
    watched = process.sample(study.size(1000, 100), study.rng(run.name, "attention")).tokens
    mass = mass_by_level(mean_pattern(run.model, watched, process.n_leaves), study.rng(run.name, "mass"))
    control = mass_by_level(mean_pattern(run.untrained(seed=1), watched, process.n_leaves), study.rng(run.name, "control mass"))
    return Measurements(
        run=run,
        answers=agreement(own, answers, draw),
        untrained_kl=float(kl_nats(own[few], untrained).mean()),
        to_oracles=bootstrap_mean(divergences, draw),
        nearest_level=found,
        leads=leads,
        rungs=bootstrap_mean(rungs, study.rng(run.name, "rungs")),
        passed=inclusions(run),
        mass=mass,
        control_mass=control,
        merging=merging_losses(study, run),
        grid=_messages(study, run),
    )


def _messages(study: Study, run: Run) -> ProbeGrid | None:
    try:
        return message_grid(study, run, study.size(4000, 400))
    except TooFewSequences:
        return None

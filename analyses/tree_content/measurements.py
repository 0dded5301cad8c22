"""What each edit of attention does to one model's answers: distances to all oracles, and which messages go missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.statistics.intervals import RESAMPLES, Interval
from mechbp.methods.statistics.shared_bootstrap import Resampling
from mechbp.models.runs import Run
from mechbp.study import Study
from mechbp.theory.tree.key_selection import avoidance_of_hidden, preference_for_information, sibling_shares
from mechbp.theory.tree.leaves import lca_level
from mechbp.theory.tree.matched_patterns import Patterns, frozen_parts, matched_rows, static_given_leaf
from mechbp.theory.tree.message_losses import MessageLosses, message_effects, message_losses
from mechbp.theory.tree.oracle_distances import (
    AskedOnce,
    Distances,
    Lead,
    answers_with_patterns,
    ask_once,
    lead_of,
    oracle_distances,
)
from mechbp.theory.tree.static_patterns import StaticDistances, static_distances


@dataclass(frozen=True, eq=False)
class Measured:
    """One masked model on its own data; every edit is of the same sequences, one hidden leaf each."""

    run: Run
    own: int
    """Filter level of the data: the oracle that the model should be."""
    leads: dict[str, Lead]
    """Of that oracle: as the model is, with static patterns by level, with mean patterns."""
    unedited: Distances
    matched: dict[str, Distances]
    """The hidden leaf's row from donors, by what they share."""
    frozen: dict[str, Distances]
    """One part of attention static, by the name of the part."""
    losses: dict[str, MessageLosses]
    """Share of each message removed, with the part static."""
    preference: dict[int, Interval]
    """{block: slope of a key's share on what its symbol tells of the message that the block reads}."""
    avoidance: dict[int, Interval]
    """{block: share of a key when seen minus when hidden}."""
    resampling: Resampling
    """Of sequences, shared by all comparisons within this run."""

    def cost(self, distances: Distances, over: Distances | None = None) -> Interval:
        """Return the increase of KL(BP || model), nats, over the unedited model or over another edit; paired by sequence."""
        increase = (distances - (self.unedited if over is None else over))[:, 0, self.own]
        return self.resampling.mean(increase[None])[0]

    def to_oracles(self, distances: Distances) -> Interval:
        """Return KL(BP_k || model), nats, [k]."""
        return self.resampling.mean(distances[:, 0].T)


def can_be_measured(run: Run) -> bool:
    """Whether a run's answers and blocks are what this page asks about."""
    masked = run.config.objective.task == "masked"
    return masked and run.process.filter_level <= 1 < run.process.depth == run.config.model.n_layers


def measure(study: Study, run: Run) -> Measured:
    """Take all measurements of one run."""
    study.stage(f"{run.name}: patterns of its own")
    tree = run.process
    sample = tree.sample(study.size(512, 48), study.rng(run.name, "content"))
    hidden = study.rng(run.name, "hidden").integers(tree.n_leaves, size=len(sample.tokens))
    asked = ask_once(tree, sample.tokens, hidden)
    own = mean_pattern(run.model, asked.shown).within
    static = static_given_leaf(run.model, tree, study.size(128, 8), study.rng(run.name, "static"))[hidden]
    unedited = answers_with_patterns(run.model, asked, None)

    study.stage(f"{run.name}: parts of attention made static")
    parts = frozen_parts(own, static, hidden, lca_level(tree.n_leaves))
    answers = {name: answers_with_patterns(run.model, asked, patterns) for name, patterns in parts.items()}
    effects = message_effects(tree, sample.tokens, hidden)
    draw = study.rng(run.name, "messages")
    losses = {name: message_losses(effects, unedited, after, draw) for name, after in answers.items()}

    study.stage(f"{run.name}: patterns of matched sequences")
    donors = matched_rows(run.model, tree, sample, hidden, own, study.rng(run.name, "donors"))
    preference, avoidance = _selection(study, run, sample.tokens, hidden, own)
    return Measured(
        run=run,
        own=asked.own,
        leads=_leads(study, run, static_distances(run.model, asked, tree.n_leaves), asked),
        unedited=oracle_distances(unedited, asked.oracles),
        matched={name: _distances(run, asked, patterns) for name, patterns in donors.items()},
        frozen={name: oracle_distances(after, asked.oracles) for name, after in answers.items()},
        losses=losses,
        preference=preference,
        avoidance=avoidance,
        resampling=Resampling.draw(np.arange(len(hidden)), RESAMPLES, study.rng(run.name, "pairs")),
    )


def _distances(run: Run, asked: AskedOnce, patterns: Patterns) -> Distances:
    return oracle_distances(answers_with_patterns(run.model, asked, patterns), asked.oracles)


def _leads(study: Study, run: Run, static: StaticDistances, asked: AskedOnce) -> dict[str, Lead]:
    found = {"as it is": static.unedited, "static, by level": static.levels, "static, mean": static.mean}
    return {name: lead_of(asked.own, distances, study.rng(run.name, "leads")) for name, distances in found.items()}


def _selection(
    study: Study, run: Run, tokens: np.ndarray, hidden: np.ndarray, own: Patterns
) -> tuple[dict[int, Interval], dict[int, Interval]]:
    """Preference for telling leaves and avoidance of hidden ones, by block from 2 on: block 1 reads a single leaf."""
    tree, draw = run.process, study.rng(run.name, "selection")
    preference, avoidance = {}, {}
    for block in range(2, own.shape[1] + 1):
        shares = sibling_shares(tree, own, hidden, block)
        preference[block] = preference_for_information(tree, tokens, hidden, shares, block, draw)
        avoidance[block] = avoidance_of_hidden(run.model, tree, tokens, hidden, own, block, draw)
    return preference, avoidance

"""Predicted patterns and values put in the place of the model's own, and what the exact answer loses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.seeds import counted, lower
from analyses.constrained_updates.settings import Setting
from analyses.shared.seed_groups import Group
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.first_block_edits import answers_under, with_values
from mechbp.theory.chain.prefix_activations import prefix_answers
from mechbp.theory.chain.substitutes import (
    DECAY,
    EQUAL,
    LENGTHS,
    MEAN,
    NO_ATTENTION,
    PROFILE,
    SWAPPED,
    UNIFORM,
    WARP,
    silenced,
    substitutes,
)

OWN = "as it is"
BOTH = "predicted lengths and pattern"
EDITS: dict[str, tuple[str | None, str]] = {
    **{name: (None, name) for name in (MEAN, DECAY, WARP, UNIFORM, NO_ATTENTION)},
    **{name: (name, MEAN) for name in (PROFILE, LENGTHS, EQUAL, SWAPPED)},
    BOTH: (LENGTHS, DECAY),
}
"""Edit -> values (None: the model's own) and pattern put in place."""
GRADED = (DECAY, WARP, LENGTHS, EQUAL, BOTH, UNIFORM)
"""What the claim asks for, of every seed; the rest is shown of the first."""


@dataclass(frozen=True, eq=False)
class SubstitutionCosts:
    """Share of the learnable nats missed after every edit."""

    group: Group
    setting: Setting
    missed: dict[str, float]
    """Of the first seed."""
    seeds: dict[str, np.ndarray]
    """What is graded, [seed]."""
    shares: list[float]
    """Of the variance of a head's values in one direction per token, per head."""
    n_words: int


def substitution_costs(group: Group, settings: list[Setting]) -> SubstitutionCosts:
    """Edit every seed of a group, and the first one in all ways."""
    first = settings[0]
    costs = [edited(s, EDITS if s is first else GRADED) for s in settings]
    table = {OWN: exact_loss(prefix_answers(first.run.model, first.corpus.words), first.corpus.words, first.corpus.hmm).relative}
    table |= costs[0][0]
    if first.n_heads > 1:
        for head, reach in enumerate(first.lags):
            answers = answers_under(
                first.run.model, first.corpus.words, with_values(first.block, silenced(first.block, head)), first.pattern.mean
            )
            table[f"without the head of {reach.name}"] = exact_loss(answers, first.corpus.words, first.corpus.hmm).relative
    graded = {name: np.array([missed[name] for missed, _ in costs]) for name in GRADED}
    return SubstitutionCosts(group, first, table, graded, costs[0][1], len(first.corpus.words.tokens))


def edited(setting: Setting, edits: Iterable[str]) -> tuple[dict[str, float], list[float]]:
    """Return the share of the learnable nats missed after every edit, and how much of the values is one direction per token."""
    words = setting.corpus.words
    block = setting.block
    found = substitutes(block, setting.pattern.mean, setting.zeta, setting.lags)
    missed = {}
    for name in edits:
        values, pattern = EDITS[name]
        tables = block if values is None else with_values(block, found.values[values])
        answers = answers_under(setting.run.model, words, tables, found.patterns[pattern])
        missed[name] = exact_loss(answers, words, setting.corpus.hmm).relative
    return missed, found.shares


def substitutions_section(found: list[SubstitutionCosts]) -> Section:
    """Return the section with its figure."""
    text = (
        "A description may fit and not matter. Before the first attention a one-block model knows token and position alone, so "
        "a few tables hold all that it embeds and writes, and the stream after attention under any other pattern or other "
        "values is a sum in closed form; the rest of the model runs on it.",
        "Patterns: the mean over words (attention may not depend on tokens), the decay law from its first entries, the softmax "
        "warp. Values: one direction per token with lengths by position, measured or predicted from attention. Controls: "
        "uniform attention, the own token alone, equal lengths, tokens swapped; without one head, its values are replaced by "
        "their mean over tokens. Directions, means over tokens and the common scale of lengths stay the model's own.",
        "Values in one direction per token hold " + "; ".join(
            f"{', '.join(f'{share:.4f}' for share in item.shares)} of their variance in `{item.group.name}`" for item in found
        ) + ".",
    )  # fmt: skip
    names = list(dict.fromkeys(edit for item in found for edit in item.missed))
    figure = FigureData(
        id="fig-worth",
        kind="dots",
        title="What edits of attention and values cost",
        caption="Share of the learnable nats missed: KL(exact || model) / KL(exact || uniform), expectation over all "
        f"{found[0].n_words:,} words; first seed. 1 is no better than a uniform guess.",
        alt="Share of the learnable nats missed after every edit, on a logarithmic axis, one series per setting.",
        data={
            "x_title": "share of learnable nats missed", "x_log": True, "categories": names,
            "series": [{"name": item.group.title, "x": [item.missed.get(edit) for edit in names]} for item in found],
        },
    )  # fmt: skip
    return Section("worth", "What it is worth", text, (figure,))


def substitutions_claim(found: SubstitutionCosts) -> Claim:
    """Return whether the theory can stand in for the model's own attention and values, and better than its rivals."""
    name = found.group.claims
    missed = found.missed
    graded = found.seeds
    controls = [edit for edit in missed if edit in (UNIFORM, NO_ATTENTION, EQUAL, SWAPPED) or edit.startswith("without")]
    warped = graded[WARP] - graded[DECAY]
    return CRITERIA.claim(
        "worth",
        id=f"{name}-worth",
        statement=f"In {found.group.name} predicted attention and predicted relative lengths of values can stand in for the "
        f"model's own: no more than {CRITERIA['worth'].bounds['worth']:.0%} of what there is to learn is missed, less than with "
        "equal lengths and less than with the softmax warp.",
        reference="no published causal test",
        measured="missed: " + ", ".join(f"{edit} {missed[edit]:.2%}" for edit in (OWN, MEAN, DECAY, WARP, PROFILE, LENGTHS, BOTH))
        + f"\nwarp less predicted pattern: {_difference(warped)}"
        + f"\nequal less predicted lengths: {_difference(graded[EQUAL] - graded[LENGTHS])}"
        + f"\nexpectation over all {found.n_words:,} words; shares of the first seed",
        control=", ".join(f"{edit} {missed[edit]:.1%}" for edit in controls),
        numbers={
            "missed_pattern": graded[DECAY],
            "missed_lengths": graded[LENGTHS],
            "missed_both": graded[BOTH],
            "missed_uniform": graded[UNIFORM],
            "equal_less_lengths_low": lower(graded[EQUAL] - graded[LENGTHS]),
            "warp_less_pattern_low": lower(warped),
        },
        figure="fig-worth",
    )  # fmt: skip


def _difference(values: np.ndarray) -> str:
    """Percentage points, paired by seed."""
    if len(values) == 1:
        return f"{values[0]:+.2%} (one seed)"
    return f"{estimate(seed_mean(100 * values), 2)} percentage points, {counted(len(values))}"

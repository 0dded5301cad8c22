"""Predicted patterns and values put in the place of the model's own, and what the exact answer loses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.settings import Group, Setting
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.theory.chain.constrained_attention import softmax_warp, whole_pattern
from mechbp.theory.chain.constrained_values import value_factor
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.first_block_edits import answers_under, predicted_lengths, profile, with_values
from mechbp.theory.chain.prefix_activations import prefix_answers

OWN = "as it is"
MEAN = "mean pattern"
DECAY = "predicted pattern"
WARP = "softmax warp"
UNIFORM = "uniform pattern"
NO_ATTENTION = "own token alone"
PROFILE = "one direction per token"
LENGTHS = "predicted lengths"
BOTH = "predicted lengths and pattern"
EQUAL = "equal lengths"
SWAPPED = "tokens swapped"


@dataclass(frozen=True, eq=False)
class SubstitutionCosts:
    """Share of the learnable nats missed after every edit."""

    group: Group
    setting: Setting
    missed: dict[str, float]
    shares: list[float]
    """Of the variance of a head's values in one direction per token, per head."""
    n_words: int


def substitution_costs(group: Group, setting: Setting) -> SubstitutionCosts:
    """Edit the first seed of a group."""
    model = setting.run.model
    words = setting.corpus.words
    hmm = setting.corpus.hmm
    block = setting.block
    mean = setting.pattern.mean
    length = setting.corpus.length

    def missed(written: list[np.ndarray] | None, pattern: np.ndarray) -> float:
        tables = block if written is None else with_values(block, written)
        return exact_loss(answers_under(model, words, tables, pattern), words, hmm).relative

    heads = list(zip(mean, setting.lags, strict=True))
    law = np.stack([whole_pattern(p, setting.zeta, reach) for p, reach in heads])
    warp = np.stack([_with_first_row(softmax_warp(length, setting.zeta, reach), p) for p, reach in heads])
    uniform = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    profiles = [profile(written) for written in block.written]
    factors = [value_factor(p, setting.zeta, reach, length - reach.first) for p, reach in heads]
    predicted = [found.values(predicted_lengths(found, factor)) for found, factor in zip(profiles, factors, strict=True)]
    table = {
        OWN: exact_loss(prefix_answers(model, words), words, hmm).relative,
        MEAN: missed(None, mean),
        DECAY: missed(None, law),
        WARP: missed(None, warp),
        UNIFORM: missed(None, np.broadcast_to(uniform, mean.shape)),
        NO_ATTENTION: missed(None, np.broadcast_to(np.eye(length), mean.shape)),
        PROFILE: missed([found.values() for found in profiles], mean),
        LENGTHS: missed(predicted, mean),
        BOTH: missed(predicted, law),
        EQUAL: missed([found.values(np.full(length, found.factor.mean())) for found in profiles], mean),
        SWAPPED: missed([np.roll(written, 1, axis=1) for written in block.written], mean),
    }
    if len(heads) > 1:
        for silent, reach in enumerate(setting.lags):
            kept = [_silenced(written) if head == silent else written for head, written in enumerate(block.written)]
            table[f"without the head of {reach.name}"] = missed(kept, mean)
    return SubstitutionCosts(group, setting, table, [found.share for found in profiles], len(words.tokens))


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
    """Return whether the theory can stand in for the model's own attention and values."""
    name = found.group.name
    missed = found.missed
    controls = [edit for edit in missed if edit in (UNIFORM, NO_ATTENTION, EQUAL, SWAPPED) or edit.startswith("without")]
    return CRITERIA.claim(
        "worth",
        id=f"{name}-worth",
        statement=f"In {name} predicted attention and predicted relative lengths of values can stand in for the model's own: "
        f"no more than {CRITERIA['worth'].bounds['worth']:.0%} of what there is to learn is missed, and less than with "
        "equal lengths.",
        reference="no published causal test",
        measured="missed: " + ", ".join(f"{edit} {missed[edit]:.2%}" for edit in (OWN, MEAN, DECAY, WARP, PROFILE, LENGTHS, BOTH))
        + f"\nexpectation over all {found.n_words:,} words",
        control=", ".join(f"{edit} {missed[edit]:.1%}" for edit in controls),
        numbers={
            "missed_pattern": missed[DECAY],
            "missed_lengths": missed[LENGTHS],
            "missed_both": missed[BOTH],
            "missed_uniform": missed[UNIFORM],
            "missed_equal": missed[EQUAL],
        },
        figure="fig-worth",
    )  # fmt: skip


def _with_first_row(pattern: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """A row without any lag of the head's own keeps what was measured."""
    empty = pattern.sum(axis=1) == 0
    return np.where(empty[:, None], measured, pattern)


def _silenced(written: np.ndarray) -> np.ndarray:
    return np.broadcast_to(written.mean(axis=1, keepdims=True), written.shape)

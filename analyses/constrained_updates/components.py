"""The leading components of the stream: how much of its variance they hold, and what can be seen in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from analyses.constrained_updates import published
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.settings import COMPONENTS
from analyses.shared.belief_clouds import chosen_prefixes, cloud_figure
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, Corpus, trained_on_exact
from analyses.shared.seed_groups import Group
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData
from mechbp.study import Study
from mechbp.theory.chain.prefix_probe import WordScore, word_probe

SHOWN = 300
"""Prefixes in a picture."""
TABLE = 7
"""Components of the table of explained variance."""
TOP = 3
"""The cumulative variance of so many components is held against the paper's."""

Variance = dict[str, Float64[np.ndarray, " component"]]
"""Cumulative shares of "Mid" and "Final"."""


def principal(columns: np.ndarray, corpus: Corpus) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, "prefix d"]]:
    """Return the variances of the principal components, largest first, and the scores of every prefix; each word counts once."""
    counts = np.bincount(corpus.words.prefix.ravel()).astype(np.float64)
    centred = columns - counts @ columns / counts.sum()
    values, basis = np.linalg.eigh((centred * counts[:, None]).T @ centred)
    return values[::-1], centred @ basis[:, ::-1]


def cumulative_variance(columns: np.ndarray, corpus: Corpus) -> Float64[np.ndarray, " component"]:
    """Return the share of the variance in the first components."""
    values, _ = principal(columns, corpus)
    return np.cumsum(values)[:TABLE] / values.sum()


def published_shares(run: Run, part: str) -> tuple[float, ...] | None:
    """Return the paper's cumulative shares where a run has the setting, heads and training of its model."""
    setting = published.setting_of(run)
    config = run.config
    if setting is None or trained_on_exact(run) or config.model.n_layers != 1:
        return None
    theirs = 2 if setting[0] > 1 / 3 else 1  # heads: two where the process swings
    return published.VARIANCE.get((part, setting)) if config.model.n_heads == theirs else None


def variance_figure(found: Sequence[tuple[Group, Variance]]) -> FigureData:
    """Return the table of explained variance, measured and published."""
    rows = []
    values = []
    theirs = []
    for group, parts in found:
        for part, cumulative in parts.items():
            rows.append(f"{part}, {group.name}")
            values.append(cumulative)
            theirs.append(published_shares(group.runs[0], part) or [None] * TABLE)
    return FigureData(
        id="fig-variance",
        kind="heatmap",
        title="Share of variance in the leading components",
        caption="Cumulative, over all words and positions. Mid: after attention; Final: after the block, before the final "
        f"LayerNorm. The second panel holds what {published.NAME} print (Table 1).",
        alt="Two tables of cumulative shares of variance, rows by stage and setting, columns by number of components: measured, "
        "and published.",
        data={
            "rows": rows, "columns": [str(k + 1) for k in range(TABLE)], "column_title": "components",
            "value_title": "share of variance", "range": [0, 1], "cell_text": True, "panel_columns": 2,
            "panels": [{"title": "measured", "values": np.round(values, 4)}, {"title": "published", "values": theirs}],
        },
    )  # fmt: skip


def variance_claim(group: Group, parts: Variance) -> Claim | None:
    """Return whether the first components hold the published share; None where none is published."""
    table = {
        part: (float(shares[TOP - 1]), printed[TOP - 1])
        for part, shares in parts.items()
        if (printed := published_shares(group.runs[0], part))
    }
    if not table:
        return None
    return CRITERIA.claim(
        "variance",
        id=f"{group.claims}-variance",
        statement=f"The first {TOP} components of {group.name}'s stream hold the published share of variance, within "
        f"{CRITERIA['variance'].bounds['tolerance']}.",
        reference=f"{published.NAME}, Table 1: " + ", ".join(f"{part} {theirs:.4f}" for part, (_, theirs) in table.items()),
        measured="\n".join(f"{part}: {ours:.4f}" for part, (ours, _) in table.items()),
        control="none: a description, not an effect",
        numbers={
            "measured": [ours for ours, _ in table.values()],
            "published": [theirs for _, theirs in table.values()],
        },
        figure="fig-variance",
    )


def leading_scores(columns: dict[str, np.ndarray], corpus: Corpus, rng: np.random.Generator) -> dict[str, WordScore]:
    """Return what the leading components of Mid tell of the constrained belief, and those of the final LN of the exact one."""
    asked = {"Mid": CONSTRAINED, "final LN": FULL}
    return {
        name: word_probe(
            principal(columns[name], corpus)[1][:, :COMPONENTS], {target: corpus.targets[target]}, corpus.words,
            rng=rng, repeats=0,
        )[target]
        for name, target in asked.items()
    }  # fmt: skip


def simplex_figure(
    study: Study, group: Group, corpus: Corpus, columns: dict[str, np.ndarray], scores: dict[str, WordScore]
) -> FigureData:
    """Return constrained and exact beliefs beside what the leading components make of them (Figs. 1, 4, A8)."""
    at = chosen_prefixes(corpus, study.size(SHOWN, 80), study.rng(group.name, "picture"))
    read = {name: score.map(principal(columns[name], corpus)[1][at][:, :COMPONENTS]) for name, score in scores.items()}
    full = corpus.targets[FULL]
    constrained = corpus.targets[CONSTRAINED]
    panels = {"constrained belief": constrained[at], "Mid": read["Mid"], "exact belief": full[at], "final LN": read["final LN"]}
    return cloud_figure(
        f"fig-{group.name}-simplex",
        f"{group.title}: constrained and exact beliefs, and where the model has them",
        f"`{group.name}`, the same {len(at)} prefixes in every panel, coloured by their exact belief. Mid and final LN: affine "
        f"regression from their {COMPONENTS} leading components, on the constrained and the exact belief (R² "
        f"{scores['Mid'].r2:.3f} and {scores['final LN'].r2:.3f}).",
        "Four panels of points in the plane of beliefs: constrained belief, Mid, exact belief, final LayerNorm.",
        full[at],
        {"": panels},
    )

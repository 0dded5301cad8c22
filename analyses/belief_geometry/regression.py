"""What can be read from every stage: the exact belief and its rivals, in and out of sample, beside what needs no training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.belief_geometry import published
from analyses.shared.baselines import PREFIX_SHARE, baseline_scores, splits
from analyses.shared.prefix_corpus import FULL, LN, TOGETHER, Corpus, joined, stages
from mechbp.hooks import HookedModel
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS
from mechbp.study import Study
from mechbp.theory.chain.prefix_moments import Design
from mechbp.theory.chain.prefix_probe import TRAIN_SHARE, Split, Weighting, WordScore, word_probe

FITTED = "fitted words"
WORDS = "other words"
PREFIXES = "other prefixes"
WEIGHTED = "other words, by probability"
SEEDS = 3
"""Networks with random weights."""
LEAST_MSE = 1e-12
"""What float32 activations can tell; smaller errors are drawn here."""
ENDS = {"x": "r2", "low": "low", "high": "high"}

Scores = dict[str, dict[str, WordScore]]
"""{stage: {target: score}}."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Scores of one run at its last step."""

    corpus: Corpus
    by_word: Scores
    by_prefix: Scores
    weighted: Scores
    untrained: list[Scores]
    """Per seed, split as `by_prefix`."""
    untrained_fitted: list[Scores]
    """Per seed, split as `by_word`."""
    baselines: dict[str, tuple[WordScore, WordScore]]
    repeats: int

    @property
    def stages(self) -> list[str]:
        """Names, from the embedding on; all of them side by side last."""
        return list(self.by_word)

    @property
    def last(self) -> str:
        """The last stage of the residual stream."""
        return [stage for stage in self.stages if stage not in (LN, TOGETHER)][-1]

    def random_r2(self, stage: str, *, held_out: bool = True) -> np.ndarray:
        """R² of the exact belief in networks with random weights, one per seed."""
        if held_out:
            return np.array([scores[stage][FULL].held_out_r2 for scores in self.untrained])
        return np.array([scores[stage][FULL].r2 for scores in self.untrained_fitted])


def read(study: Study, corpus: Corpus) -> Reading:
    """Fit every target at every stage of the trained run and of its untrained twins."""
    run = corpus.run
    repeats = study.size(200, 20)
    where = stages(run)
    after_layers = stages(run, mid=False)
    rng = study.rng(corpus.run.name, "reading")

    def scored(model: HookedModel, targets: dict[str, np.ndarray], *settings: tuple[Weighting, Split]) -> list[Scores]:
        found = corpus.activations(model, where)
        together = Design.of(joined({name: found[name] for name in after_layers}))  # one for all settings: it has most columns
        columns: dict[str, np.ndarray | Design] = {**found, TOGETHER: together}
        return [
            {
                stage: word_probe(
                    values, targets, corpus.words,
                    rng=rng, weighting=weighting, split=split, repeats=splits(_width(values), repeats),
                    train_share=PREFIX_SHARE if split == "prefix" else TRAIN_SHARE,
                )
                for stage, values in columns.items()
            }
            for weighting, split in settings
        ]  # fmt: skip

    study.stage(f"{run.name}: reading beliefs")
    by_word, by_prefix, weighted = scored(
        run.model, corpus.targets, ("count", "sequence"), ("prefix", "prefix"), ("probability", "sequence")
    )
    only = {FULL: corpus.targets[FULL]}
    untrained: tuple[list[Scores], list[Scores]] = ([], [])
    for seed in range(1, SEEDS + 1):
        study.stage(f"{run.name}: random weights {seed}")
        both = scored(run.untrained(seed), only, ("prefix", "prefix"), ("count", "sequence"))
        for table, scores in zip(untrained, both, strict=True):
            table.append(scores)
    width = run.config.model.d_model
    widths = (width, width * len(after_layers))
    baselines = baseline_scores(corpus.words, only[FULL], widths, rng, repeats)
    return Reading(corpus, by_word, by_prefix, weighted, *untrained, baselines, repeats)


def _width(features: np.ndarray | Design) -> int:
    return features.n_features if isinstance(features, Design) else features.shape[1]


def reading_section(reading: Reading) -> Section:
    """Return the section with its figures."""
    corpus = reading.corpus
    run = reading.corpus.run
    words = corpus.words
    text = (
        f"Affine regression of what observers believe on `{run.name}`'s residual stream, over all {len(words.tokens):,} words of "
        f"{corpus.length} tokens and all their positions. A causal model holds the same activation after the same prefix, so "
        f"only {words.n_prefixes:,} rows are distinct: splitting by word leaves prefixes that both parts share, splitting by "
        "prefix does not. All together are the embedding, the outputs of all layers and the final LayerNorm, side by side.",
        f"`{corpus.run.config.process.name}`. Rivals: the constrained belief adds up what each token says on its own, naive "
        "Bayes multiplies it; `other process` is the exact belief under another parameter, a probe's answer to a question that "
        "the model was never asked.",
    )
    return Section(
        f"{run.name}-reading", f"{run.name}: what can be read", text, (_table(reading), _mse(reading), _controls(reading))
    )


def _table(reading: Reading) -> FigureData:
    targets = list(reading.corpus.targets)
    name = reading.corpus.run.name
    views = {
        WORDS: (reading.by_word, "held_out_r2"), PREFIXES: (reading.by_prefix, "held_out_r2"),
        WEIGHTED: (reading.weighted, "held_out_r2"), FITTED: (reading.by_word, "r2"),
    }  # fmt: skip
    panels = []
    for title, (scores, what) in views.items():
        part = {"values": [[getattr(scores[stage][target], what) for target in targets] for stage in reading.stages]}
        if what == "held_out_r2":
            for end in ("low", "high"):
                part[end] = [[getattr(scores[stage][t], f"held_out_{end}") for t in targets] for stage in reading.stages]
        panels.append({"title": title, **{key: np.round(values, DECIMALS + 1) for key, values in part.items()}})
    return FigureData(
        id=f"fig-{name}-reading",
        kind="heatmap",
        title=f"{name}: R² of every observer at every stage",
        caption=f"R² = 1 - SSE/SST, pooled over coordinates. Fitted on {TRAIN_SHARE:.0%} of the words, or "
        f"{PREFIX_SHARE:.0%} of the prefixes, and scored on the others, mean of {reading.repeats} splits (a twentieth of them "
        f"for all stages together); hover for the central 95 %. Words count once, but for `{WEIGHTED}`; `{PREFIXES}` counts "
        "every prefix once.",
        alt="Four tables of R², stages of the stream by observers: other words, other prefixes, other words by probability, and "
        "the words fitted.",
        data={
            "rows": reading.stages, "columns": targets, "row_title": "read from", "column_title": "regressed on",
            "value_title": "R²", "range": [0, 1], "cell_text": True, "panel_columns": 2, "panels": panels,
        },
    )  # fmt: skip


def _mse(reading: Reading) -> FigureData:
    name = reading.corpus.run.name
    cells = [reading.by_word[stage][FULL] for stage in reading.stages]
    theirs = published.theirs(published.MSE, reading.corpus.run, {})
    assert isinstance(theirs, dict)
    random = [[scores[stage][FULL].mse for stage in reading.stages] for scores in reading.untrained_fitted]
    series = [
        {"name": "fitted words", "x": np.maximum([cell.mse for cell in cells], LEAST_MSE)},
        {"name": "other words", "x": np.maximum([cell.held_out_mse for cell in cells], LEAST_MSE)},
        {"name": "random weights, fitted", "control": True,
         "x": np.maximum(np.mean(random, axis=0), LEAST_MSE)},
        {"name": "shuffled beliefs", "x": [cell.shuffled_mse for cell in cells], "control": True},
    ]  # fmt: skip
    if theirs:
        series.append({"name": f"{published.NAME}, fitted", "x": [theirs.get(stage) for stage in reading.stages]})
    return FigureData(
        id=f"fig-{name}-mse",
        kind="dots",
        title=f"{name}: mean squared error of the belief read from every stage",
        caption="Mean over words, positions and coordinates, every word counted once. Random weights: mean of "
        f"{SEEDS} seeds. Shuffled: fitted to beliefs of other words, scored on the true ones; its limit is the variance of the "
        "belief.",
        alt="Mean squared error of the belief by stage, on a logarithmic axis: fitted words, other words, random weights and "
        "shuffled beliefs, beside published values where there are any.",
        data={"x_title": "MSE", "x_log": True, "categories": reading.stages, "series": series},
    )


def _controls(reading: Reading) -> FigureData:
    name = reading.corpus.run.name
    last = reading.last
    shown = [stage for stage in (last, LN, TOGETHER) if stage in reading.by_word]
    rows = {f"{name}, {stage}": (reading.by_word[stage][FULL], reading.by_prefix[stage][FULL]) for stage in shown}
    untrained = list(zip(reading.untrained_fitted, reading.untrained, strict=True))
    for stage in shown:
        rows |= {f"random {seed}, {stage}": (a[stage][FULL], b[stage][FULL]) for seed, (a, b) in enumerate(untrained, 1)}
    rows |= reading.baselines
    labels = [f"{label} ({fitted.n_features} columns, rank {fitted.map.rank})" for label, (fitted, _) in rows.items()]
    by_word, by_prefix = (
        {key: [getattr(pair[which], f"held_out_{end}") for pair in rows.values()] for key, end in ENDS.items()}
        for which in (0, 1)
    )
    return FigureData(
        id=f"fig-{name}-controls",
        kind="dots",
        title=f"{name}: the exact belief, read from the network and from what no network computed",
        caption="R² of the exact belief. Token history gives every token at every lag its own weights at every position: no sum "
        "over tokens does better. Noise is drawn once per prefix. Intervals are the central 95 % of splits; values below -1 are "
        "cut off in the picture, not in the table.",
        alt="R² of the exact belief, one row per set of features, of the network, of random weights and of baselines: on fitted "
        "words, other words and other prefixes.",
        data={
            "x_title": "R²", "x_range": [-1, 1.02], "categories": labels,
            "series": [
                {"name": FITTED, "x": [fitted.r2 for fitted, _ in rows.values()]},
                {"name": WORDS, **by_word},
                {"name": PREFIXES, **by_prefix},
            ],
        },
    )  # fmt: skip

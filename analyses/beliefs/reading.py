"""What can be read from every stage: the exact belief and its rivals, in and out of sample, beside what needs no training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.beliefs import paper
from analyses.beliefs.baselines import PREFIX_SHARE, baseline_scores, splits
from analyses.beliefs.corpus import FULL, LN, NEXT, TOGETHER, Corpus, joined, stages
from mechbp.hooks import HookedModel
from mechbp.methods.word_probe import TRAIN_SHARE, Split, Weighting, WordScore, word_probe
from mechbp.report.document import Claim, FigureData, Section
from mechbp.report.parts import DECIMALS
from mechbp.study import Study

FITTED, WORDS, PREFIXES, WEIGHTED = "fitted words", "other words", "other prefixes", "other words, by probability"
SEEDS = 3
"""Networks with random weights."""
LINEAR_MSE, LINEAR_R2 = 5e-4, 0.995
TOGETHER_MSE = 5e-3
LEAST_MSE = 1e-12
"""What float32 activations can tell; smaller errors are drawn here."""
HELD_OUT_LOSS = 0.05
"""Held-out MSE may exceed the fitted one by this share."""
PRESENT = 0.7
"""Held-out R² from which the exact belief counts as held."""
ABOVE = 0.02
"""R² by which training has to beat what needs none."""

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
    run, repeats = corpus.run, study.size(200, 20)
    where, after_layers, rng = stages(run), stages(run, mid=False), study.rng(corpus.run.name, "reading")

    def scored(model: HookedModel, targets: dict[str, np.ndarray], *settings: tuple[Weighting, Split]) -> list[Scores]:
        found = corpus.activations(model, where)
        columns = {**found, TOGETHER: joined({name: found[name] for name in after_layers})}
        return [
            {
                stage: word_probe(
                    values, targets, corpus.words,
                    rng=rng, weighting=weighting, split=split, repeats=splits(values.shape[1], repeats),
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


def reading_section(reading: Reading) -> Section:
    """Return the section with its figures."""
    corpus, run = reading.corpus, reading.corpus.run
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
    targets, name = list(reading.corpus.targets), reading.corpus.run.name
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
        alt="R² rises from the embedding to the last layers, highest for the exact belief and the next token.",
        data={
            "rows": reading.stages, "columns": targets, "row_title": "read from", "column_title": "regressed on",
            "value_title": "R²", "range": [0, 1], "cell_text": True, "panel_columns": 2, "panels": panels,
        },
    )  # fmt: skip


def _mse(reading: Reading) -> FigureData:
    name, cells = reading.corpus.run.name, [reading.by_word[stage][FULL] for stage in reading.stages]
    published = paper.theirs(paper.MSE, reading.corpus.run, {})
    assert isinstance(published, dict)
    random = [[scores[stage][FULL].mse for stage in reading.stages] for scores in reading.untrained_fitted]
    series = [
        {"name": "fitted words", "x": np.maximum([cell.mse for cell in cells], LEAST_MSE)},
        {"name": "other words", "x": np.maximum([cell.held_out_mse for cell in cells], LEAST_MSE)},
        {"name": "random weights, fitted", "control": True,
         "x": np.maximum(np.mean(random, axis=0), LEAST_MSE)},
        {"name": "shuffled beliefs", "x": [cell.shuffled_mse for cell in cells], "control": True},
    ]  # fmt: skip
    if published:
        series.append({"name": f"{paper.NAME}, fitted", "x": [published.get(stage) for stage in reading.stages]})
    return FigureData(
        id=f"fig-{name}-mse",
        kind="dots",
        title=f"{name}: mean squared error of the belief read from every stage",
        caption="Mean over words, positions and coordinates, every word counted once. Random weights: mean of "
        f"{SEEDS} seeds. Shuffled: fitted to beliefs of other words, scored on the true ones; its limit is the variance of the "
        "belief.",
        alt="Errors fall by orders of magnitude from the embedding to the last layer, far below random weights.",
        data={"x_title": "MSE", "x_log": True, "categories": reading.stages, "series": series},
    )


def _controls(reading: Reading) -> FigureData:
    name, last = reading.corpus.run.name, reading.last
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
        alt="Only the trained network stays near 1 on prefixes that were not fitted.",
        data={
            "x_title": "R²", "x_range": [-1, 1.02], "categories": labels,
            "series": [
                {"name": FITTED, "x": [fitted.r2 for fitted, _ in rows.values()]},
                {"name": WORDS, **by_word},
                {"name": PREFIXES, **by_prefix},
            ],
        },
    )  # fmt: skip


def reading_claims(reading: Reading) -> list[Claim]:
    """Return whether the belief is linear in the stream, and whether training has put it there."""
    return [_linear(reading), _layers(reading), _trained(reading), _rivals(reading)]


def _linear(reading: Reading) -> Claim:
    run, last = reading.corpus.run, reading.last
    score, prefix = reading.by_word[last][FULL], reading.by_prefix[last][FULL]
    published = paper.theirs(paper.MSE, run, {})
    assert isinstance(published, dict)
    passed = is_linear(reading)
    seeds = reading.random_r2(last, held_out=False)
    return Claim(
        id=f"{run.name}-linear",
        statement=f"The exact belief is an affine function of the last residual stream of {run.name}: MSE at most "
        f"{LINEAR_MSE:g}, R² at least {LINEAR_R2}, and no more than {HELD_OUT_LOSS:.0%} worse on words that were not fitted.",
        reference=f"{paper.NAME}: MSE {published[last]:g} at {last}" if last in published else "no published number",
        measured=f"{last}: MSE {score.mse:.2e}, R² {score.r2:.4f}\nother words: MSE {score.held_out_mse:.2e}, R² "
        f"{score.held_out_r2:.4f} [{score.held_out_low:.4f}, {score.held_out_high:.4f}]\nother prefixes, each once: R² "
        f"{prefix.held_out_r2:.4f} [{prefix.held_out_low:.4f}, {prefix.held_out_high:.4f}]\nby probability: R² "
        f"{reading.weighted[last][FULL].held_out_r2:.4f}\n{reading.corpus.words.n_prefixes:,} prefixes, "
        f"{score.n_features} columns",
        control=f"random weights: R² {seeds.mean():.3f} ({seeds.min():.3f} to {seeds.max():.3f}, {len(seeds)} seeds)\n"
        f"shuffled beliefs: MSE {score.shuffled_mse:.4f}",
        verdict="holds" if all(passed) else "partly" if any(passed) else "fails",
        figure=f"fig-{run.name}-mse",
    )


def is_linear(reading: Reading) -> tuple[bool, bool, bool]:
    """Return whether MSE, R² and the loss out of sample are within bounds."""
    score = reading.by_word[reading.last][FULL]
    return score.mse <= LINEAR_MSE, score.r2 >= LINEAR_R2, score.held_out_mse <= (1 + HELD_OUT_LOSS) * score.mse


def _trained(reading: Reading) -> Claim:
    """Held out, the network beats everything that needs no training."""
    run, last = reading.corpus.run, reading.last
    best = max(reading.by_prefix[stage][FULL].held_out_r2 for stage in reading.stages)
    rivals = {name: by_prefix.held_out_r2 for name, (_, by_prefix) in reading.baselines.items()}
    rivals["random weights"] = float(max(reading.random_r2(stage).max() for stage in reading.stages))
    beaten = [best >= rival + ABOVE for rival in rivals.values()]
    return Claim(
        id=f"{run.name}-trained",
        statement=f"Training has put the belief into {run.name}: on prefixes that were not fitted it is read better, by "
        f"{ABOVE} of R² or more, than from random weights, from the tokens themselves, or from noise of equal width.",
        reference="no published control; a replication reads Mess3 from raw tokens as well as from the network",
        measured=f"best stage: R² {best:.4f}\n{last}: R² {reading.by_prefix[last][FULL].held_out_r2:.4f}\n"
        f"{reading.repeats} splits of {reading.corpus.words.n_prefixes:,} prefixes",
        control="\n".join(f"{name}: R² {value:.3f}" for name, value in rivals.items()),
        verdict="holds" if all(beaten) else "partly" if any(beaten) else "fails",
        figure=f"fig-{run.name}-controls",
    )


def _rivals(reading: Reading) -> Claim:
    """The exact belief is read better than every observer that the embedding does not hold already."""
    run, last = reading.corpus.run, reading.last
    scores = {target: score.held_out_r2 for target, score in reading.by_word[last].items()}
    first = reading.by_word[reading.stages[0]]
    trivial = [target for target in scores if first[target].r2 > LINEAR_R2]
    others = {target: value for target, value in scores.items() if target not in (FULL, NEXT, *trivial)}
    lines = [f"{target}: R² {value:.4f}" for target, value in others.items()]
    lines += [f"{target}: R² {first[target].r2:.3f} from the embedding, so that it tells nothing" for target in trivial]
    beaten = [reading.by_word[last][FULL].held_out_low > reading.by_word[last][target].held_out_high for target in others]
    present = scores[FULL] >= PRESENT
    verdict = "holds" if all(beaten) and present else "partly" if any(beaten) and present else "fails"
    return Claim(
        id=f"{run.name}-rivals",
        statement=f"The last layer of {run.name} holds the exact belief (R² at least {PRESENT}) rather than a shortcut or "
        "another process's belief.",
        reference="no published comparison for this model",
        measured=f"{last}, other words: R² {scores[FULL]:.4f} for the exact belief",
        control="\n".join(lines) or "no other observer",
        verdict=verdict if others else "not run",
        figure=f"fig-{run.name}-reading",
    )


def _layers(reading: Reading) -> Claim:
    """The belief builds up over layers, and all of them together hold it."""
    run = reading.corpus.run
    layers = [stage for stage in reading.stages if stage.startswith("layer") and not stage.endswith("mid")]
    errors = [reading.by_word[stage][FULL].mse for stage in layers]
    together = reading.by_word[TOGETHER][FULL]
    random = float(np.mean([scores[TOGETHER][FULL].mse for scores in reading.untrained_fitted]))
    held_out, untrained = reading.by_prefix[TOGETHER][FULL].held_out_r2, reading.random_r2(TOGETHER)
    noise = [by_word for name, (by_word, _) in reading.baselines.items() if name.startswith("noise")][-1]
    published = paper.theirs(paper.MSE, run, {})
    assert isinstance(published, dict)
    listed = ", ".join(f"{stage} {value:g}" for stage, value in published.items())
    passed = falls(reading)
    told = noise.mse > 2 * TOGETHER_MSE and held_out >= float(untrained.max()) + ABOVE
    return Claim(
        id=f"{run.name}-layers",
        statement=f"The belief of {run.name} builds up from layer to layer, and all stages together hold it to MSE "
        f"{TOGETHER_MSE:g}, a bound that noise of as many columns does not reach.",
        reference=f"{paper.NAME}: {listed}" if published else "no published number",
        measured="MSE "
        + ", ".join(f"{stage} {error:.2e}" for stage, error in zip(layers, errors, strict=True))
        + f"\nall together: MSE {together.mse:.1e} as fitted, R² {held_out:.3f} on other prefixes"
        f"\n{together.n_features} columns of rank {together.map.rank} on {together.n_rows:,} prefixes",
        control=f"all together, random weights: MSE {random:.1e} as fitted, R² {untrained.max():.3f} on other prefixes\n"
        f"noise of {noise.n_features} columns: MSE {noise.mse:.1e} as fitted",
        verdict="holds" if all(passed) and told else "partly" if any(passed) else "fails",
        figure=f"fig-{run.name}-mse",
    )


def falls(reading: Reading) -> tuple[bool, bool]:
    """Return whether the error falls from layer to layer, and whether all stages together are within bounds."""
    layers = [stage for stage in reading.stages if stage.startswith("layer") and not stage.endswith("mid")]
    errors = [reading.by_word[stage][FULL].mse for stage in layers]
    return all(np.diff(errors) < 0), reading.by_word[TOGETHER][FULL].mse <= TOGETHER_MSE

"""Only embeddings are trained (attention uniform, the unembedding their transpose): does their Gram matrix separate topics?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.setting import RATE, THEORY, mapped_words
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.dynamics import train_population
from mechbp.theory.topics.gram import block_gap
from mechbp.theory.topics.pairs import PairClasses, cosine_table, topic_label_test
from mechbp.theory.topics.population_run import PopulationRun

STEPS, QUICK_STEPS = 1500, 300
SEEDS = 5
LOSSES = {"squared": "squared loss", "ce": "cross-entropy"}


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of the words after training on one loss, seed by seed, and what they say of topics."""

    words: tuple[np.ndarray, ...]
    """[word, d] each."""
    start: np.ndarray
    """The first seed's at step 0."""
    gaps: np.ndarray
    """Block gap of the Gram matrix per seed, diagonal included."""
    p_dot: tuple[float, ...]
    p_cosine: tuple[float, ...]


def study_embeddings(study: Study) -> tuple[list[Claim], Section]:
    """Train embeddings on the population and test their Gram matrices."""
    study.stage("embeddings alone")
    found = {loss: _train(study, loss) for loss in LOSSES}
    text = (
        "With values the identity and the unembedding the embedding transposed, the layer's logits are the Gram matrix of the "
        "embedding applied to the histogram. Squared loss fixes block means only: the mean over a topic less the mean over "
        f"another one must be {1 / (THEORY.words_per_topic * THEORY.genuine):.6f}; single entries are free.",
        "The test of labels assigns the same topic labels to words at random, 10,000 times; distinct words only.",
    )
    return [_claim(found)], Section("embeddings", "Embeddings alone", text, (_gram_figure(found),))


def topic_labels() -> np.ndarray:
    """Return the topic of every word of the theory's corpus."""
    return np.repeat(np.arange(THEORY.n_topics), THEORY.words_per_topic)


def _train(study: Study, loss: str) -> Embeddings:
    seeds = range(study.size(SEEDS, 2))
    runs = [PopulationRun(THEORY, "emb", RATE, loss=loss, bias=True, seed=seed) for seed in seeds]  # type: ignore[arg-type]
    final = train_population(runs, study.size(STEPS, QUICK_STEPS), record=[0]).final
    words = tuple(weights.embed[: THEORY.n_words] for weights in final)
    p = {}
    for name, tables in (("dot", [w @ w.T for w in words]), ("cosine", [cosine_table(w) for w in words])):
        p[name] = tuple(
            topic_label_test(table, topic_labels(), study.rng("embeddings", loss, name, seed))
            for seed, table in enumerate(tables)
        )
    gaps = np.array([block_gap(w @ w.T, THEORY) for w in words])
    return Embeddings(words, runs[0].start().embed[: THEORY.n_words], gaps, p["dot"], p["cosine"])


def _claim(found: dict[str, Embeddings]) -> Claim:
    theory = 1 / (THEORY.words_per_topic * THEORY.genuine)
    classes = PairClasses.of(topic_labels())
    lines = []
    for loss, name in LOSSES.items():
        words = found[loss].words
        dot = seed_mean(np.array([classes.difference(w @ w.T) for w in words]))
        cosine = seed_mean(np.array([classes.difference(cosine_table(w)) for w in words]))
        lines.append(f"{name}: same less different topic, dot {estimate(dot, 4)}, cosine {estimate(cosine, 3)}")
    start = found["squared"].start
    return CRITERIA.claim(
        "embeddings",
        id="topics-embeddings",
        statement="Words of a topic have embeddings of larger inner product and cosine than words of different topics; for "
        "squared loss the gap is the theory's.",
        reference=f"larger inner product and cosine (published); gap {theory:.6f} (theory)",
        measured="\n".join(
            [*lines, f"gap, squared loss {estimate(seed_mean(found['squared'].gaps), 6)}", f"{len(found['ce'].words)} seeds"]
        ),
        control=f"step 0: dot {classes.difference(start @ start.T):.1e}, cosine {classes.difference(cosine_table(start)):.3f}\n"
        f"largest p of permuted labels {max(max(f.p_dot + f.p_cosine) for f in found.values()):.1e}",
        numbers={
            "gap_over_theory": (found["squared"].gaps / theory).tolist(),
            "p_dot": [p for f in found.values() for p in f.p_dot],
            "p_cosine": [p for f in found.values() for p in f.p_cosine],
        },
        figure="fig-topics-gram",
    )


def _gram_figure(found: dict[str, Embeddings]) -> FigureData:
    first = {name: found[loss].words[0] for loss, name in LOSSES.items()}
    tables = {"step 0": cosine_table(found["squared"].start), **{name: cosine_table(words) for name, words in first.items()}}
    words = mapped_words(topic_labels())
    labels = [str(word) for word in words]
    return FigureData(
        id="fig-topics-gram",
        kind="heatmap",
        title="Cosine of embeddings, words sorted by topic",
        caption="Cosine between embeddings of pairs of words, first seed: the first two words of each of ten topics.",
        alt="Three heatmaps of cosine between word embeddings, words sorted by topic in rows and columns: before training, "
        "after training on squared loss, after training on cross-entropy.",
        data={
            "rows": labels,
            "columns": labels,
            "value_title": "cosine",
            "scale": "diverging",
            "range": [-1, 1],
            "panel_columns": 3,
            "panels": [{"title": name, "values": np.round(table[np.ix_(words, words)], 2)} for name, table in tables.items()],
        },
    )

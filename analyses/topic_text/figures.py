"""The page's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from analyses.topic_text.attention import ATTENTION_THRESHOLDS, DISTANCES, MAIN, AttentionResults
from analyses.topic_text.checks import PLANTED, CheckResults
from analyses.topic_text.comparison import CASES, SCRAMBLED, SHUFFLED, TRAINED, UNMATCHED
from analyses.topic_text.edits import EDITS, MEASURES, EditResults
from analyses.topic_text.embeddings import MEASURES as SIMILARITIES
from analyses.topic_text.embeddings import EmbeddingResults
from analyses.topic_text.estimates import CHANGE, band_names, cost, difference, mean_over_fits, ratio
from analyses.topic_text.material import THRESHOLDS
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.document import FigureData
from mechbp.report.parts import panel

AMBIGUITY = "least P(topic | word) of a word's topics"
LOOKS: dict[str, dict] = {
    TRAINED: {"color": 0},
    UNMATCHED: {"color": 1},
    SHUFFLED: {"control": True},
    SCRAMBLED: {"control": True},
}


def embedding_figures(found: EmbeddingResults) -> tuple[FigureData, ...]:
    """Return the similarities of both kinds of pairs, and their difference beside its rivals."""
    return _similarity(found), _embedding_effect(found)


def attention_figures(found: AttentionResults) -> tuple[FigureData, ...]:
    """Return the ratio by threshold, head by head, and by distance."""
    return _attention_effect(found), _heads(found), _distance(found)


def _line(name: str, x: Sequence[float], interval: Interval, look: dict) -> dict:
    return {"name": name, "x": list(x), **points([interval[i] for i in range(len(x))], "y"), "markers": True, **look}


def _similarity(found: EmbeddingResults) -> FigureData:
    frames = []
    for at, measure in reversed(list(enumerate(SIMILARITIES))):
        ends = {
            "same topic": found.compared.same[TRAINED],
            "different topics, as frequent": found.compared.different[TRAINED],
            "different topics, any frequency": found.compared.different[UNMATCHED],
        }
        series = [
            _line(name, THRESHOLDS, mean_over_fits(draws[..., at], found.n_words), {"color": color})
            for color, (name, draws) in enumerate(ends.items())
        ]
        frames.append({"name": measure, "series": series})
    return FigureData(
        id="fig-embeddings-similarity",
        kind="lines",
        title="Similarity of embeddings",
        caption=f"Mean over pairs of {found.n_words:,} words and over fits, with 95 % intervals over words and fits. To the "
        "right words have fewer topics, and words without any are left out.",
        alt="Mean similarity of embeddings against the threshold: one line for pairs of the same topic, two for pairs of "
        "different topics; a slider chooses cosine or dot product.",
        data={"x_title": AMBIGUITY, "y_title": "similarity", "frames": frames, "frame_title": "measure"},
    )


def _embedding_effect(found: EmbeddingResults) -> FigureData:
    frames = []
    for at, measure in reversed(list(enumerate(SIMILARITIES))):
        lines = [
            _line(case, THRESHOLDS, mean_over_fits(difference(found.compared, case)[..., at], found.n_words), LOOKS[case])
            for case in CASES
        ]
        frames.append({"name": measure, "series": lines})
    return FigureData(
        id="fig-embeddings-effect",
        kind="lines",
        title="How much nearer words of one topic are",
        caption="Similarity of same-topic pairs minus that of different-topic pairs, mean over fits, with 95 % intervals over "
        "words and fits. Grey: topics shuffled among words as frequent; each matrix with its own entries in random order.",
        alt="Difference of similarity against the threshold: lines for the trained encoder with and without matched "
        "frequencies, and for two controls; a slider chooses cosine or dot product.",
        data={
            "x_title": AMBIGUITY,
            "y_title": "same minus different topic",
            "frames": frames,
            "frame_title": "measure",
            "references": [{"name": "no difference", "y": 0}],
        },
    )


def _attention_effect(found: AttentionResults) -> FigureData:
    lines = [
        _line(case, ATTENTION_THRESHOLDS, mean_over_fits(ratio(found.unseen, case), found.n_passages), LOOKS[case])
        for case in CASES
    ]
    seen = mean_over_fits(ratio(found.fitted, TRAINED), found.n_passages_fitted)
    lines.insert(2, _line("trained, articles fitted", ATTENTION_THRESHOLDS, seen, {"color": 2}))
    return FigureData(
        id="fig-attention-effect",
        kind="lines",
        title="How much more words of one topic attend to each other",
        caption="Mean attention of same-topic over different-topic pairs, mean over all heads and fits, with 95 % intervals over "
        f"passages, words and fits; {found.n_passages:,} passages of articles that topics were not fitted on, and "
        f"{found.n_passages_fitted:,} of those that they were, {found.n_passages_scrambled:,} for scrambled weights. Matched "
        "by distance and by the frequencies of both words.",
        alt="Ratio of mean attention against the threshold: lines for the trained encoder, matched and not and in fitted "
        "articles, and for two controls.",
        data={
            "x_title": AMBIGUITY,
            "y_title": "attention, same over different topic",
            "series": lines,
            "references": [{"name": "no difference", "y": 1}],
        },
    )


def _heads(found: AttentionResults) -> FigureData:
    titles: Mapping[str, str] = {
        UNMATCHED: "trained, not matched",
        TRAINED: "trained, matched",
        SHUFFLED: "topics shuffled, matched",
        SCRAMBLED: "weights scrambled, matched",
    }
    logs = {case: mean_over_fits(np.log2(ratios), found.n_passages) for case, ratios in found.heads.items()}
    widest = max(float(np.ceil(2 * np.nan_to_num(np.abs(one.mean)).max()) / 2) for one in logs.values())
    layers, heads = found.topical.shape
    return FigureData(
        id="fig-attention-heads",
        kind="heatmap",
        title="Head by head",
        caption=f"log2 of mean attention of same-topic over different-topic pairs at threshold {MAIN:g}, heads in columns, "
        "mean over fits: 1 is twice as much, 0 no difference. 95 % intervals stand in hover and table.",
        alt="Four heat maps of the logarithm of the ratio, blocks in rows and heads in columns: without matching, matched, with "
        "shuffled topics, and with scrambled weights.",
        data={
            "rows": [f"block {layer + 1}" for layer in range(layers)],
            "columns": [str(head) for head in range(heads)],
            "value_title": "log2 ratio",
            "scale": "diverging",
            "range": [-widest, widest],
            "panel_columns": 2,
            "panels": [panel(title, logs[case]) for case, title in titles.items()],
        },
    )


def _distance(found: AttentionResults) -> FigureData:
    middles = [float(np.sqrt(low * (high - 1))) for low, high in pairwise(DISTANCES)]
    lines = [_line(case, middles, mean_over_fits(found.by_distance[case], found.n_passages), LOOKS[case]) for case in CASES]
    return FigureData(
        id="fig-attention-distance",
        kind="lines",
        title="By distance",
        caption=f"The ratio among pairs within a band of distance ({', '.join(band_names())} positions, drawn at the geometric "
        f"middle), threshold {MAIN:g}, mean over heads and fits, with 95 % intervals over passages, words and fits.",
        alt="Ratio of mean attention against distance in positions, which is logarithmic: lines for the trained encoder, "
        "matched and not, and for two controls.",
        data={
            "x_title": "distance (positions)",
            "x_log": True,
            "y_title": "attention, same over different topic",
            "series": lines,
            "references": [{"name": "no difference", "y": 1}],
        },
    )


def edit_figure(found: EditResults) -> FigureData:
    """Return the change that each edit makes."""
    costs = {name: cost(found, name) for name in EDITS}
    return FigureData(
        id="fig-edits",
        kind="bars",
        title="What averaged attention changes",
        caption=f"{CHANGE}, with 95 % intervals over {found.n_passages:,} passages of articles that topics were not fitted on.",
        alt="Bars of the change of the sentence embedding and of the words' outputs: one group per edit.",
        data={
            "y_title": "1 - cosine (times 10,000)",
            "categories": list(EDITS),
            "series": [
                {"name": measure, **points([costs[name][at] for name in EDITS], "y")} for at, measure in enumerate(MEASURES)
            ],
        },
    )


def planted_figure(found: CheckResults, fits: Sequence[str]) -> FigureData:
    """Return the ratios found where they are known."""
    rows = {"planted": found.found, "none planted": found.empty, "none planted, not matched": found.unmatched}
    return FigureData(
        id="fig-planted",
        kind="dots",
        title="Ratios where they are known",
        caption=f"Attention is 1 over one plus the distance and over the root of the key's frequency, {PLANTED:g} times that "
        f"for words that share a topic where planted; positions and words are those of {found.n_passages:,} passages, "
        f"threshold {MAIN:g}. Nothing is random, so there are no intervals.",
        alt="Ratios found in planted attention, one row per fit: where a ratio was planted, where none was, and where none was "
        "and nothing is matched; vertical lines at the truths.",
        data={
            "x_title": "attention, same over different topic",
            "categories": list(fits),
            "series": [
                {"name": name, "x": list(values), **({"control": True} if name == "none planted, not matched" else {})}
                for name, values in rows.items()
            ],
            "references": [{"name": "none", "x": 1}, {"name": "planted", "x": PLANTED}],
        },
    )

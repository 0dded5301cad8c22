"""What holds of topics in real text and a real encoder?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.topic_text.attention import ATTENTION_THRESHOLDS, AttentionResults
from analyses.topic_text.checks import PLANTED, CheckResults
from analyses.topic_text.comparison import RIVALS, SHUFFLED, TRAINED, UNMATCHED
from analyses.topic_text.criteria import CRITERIA
from analyses.topic_text.edits import LEAST, MEASURES, RANDOM, TOPICAL, WITHIN, WITHIN_SHUFFLED, EditResults
from analyses.topic_text.embeddings import EmbeddingResults
from analyses.topic_text.estimates import (
    CHANGE,
    band_names,
    both,
    by_threshold,
    cost,
    count_clear,
    difference,
    each_fit,
    gain,
    highest,
    mean_over_fits,
    ratio,
    spread,
    steady_effect,
    told,
)
from analyses.topic_text.material import THRESHOLDS, Material
from mechbp.report.claim import Claim
from mechbp.report.parts import listed


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that the page measures."""

    material: Material
    embeddings: EmbeddingResults
    attention: AttentionResults
    edits: EditResults
    checks: CheckResults


def claims_of(results: Results) -> list[Claim]:
    """Return the claims, the paper's first."""
    embeddings, attention, edits = results.embeddings, results.attention, results.edits
    return [
        _embeddings(embeddings),
        _embeddings_ambiguity(embeddings),
        _attention(attention),
        _heads(attention),
        _attention_ambiguity(attention),
        _distance(attention),
        _edited_heads(edits),
        _edited_classes(edits),
        _encoder(results.checks),
        _planted(results.checks),
        _corpus(results.material),
    ]


def _embeddings(found: EmbeddingResults) -> Claim:
    n = found.n_words
    own = each_fit(difference(found.compared, TRAINED), n)
    rival = np.max([each_fit(difference(found.compared, case), n).high for case in RIVALS], axis=0)
    means = {case: mean_over_fits(difference(found.compared, case), n) for case in (TRAINED, UNMATCHED, *RIVALS)}
    return CRITERIA.claim(
        "embeddings",
        id="embeddings",
        statement="Embeddings of words that share a topic are nearer, in cosine and in dot product, than embeddings of words "
        "as frequent that do not: at every threshold, in every fit of topics.",
        reference="the paper: larger for words of the same topic, on text too",
        measured="same minus different topic, mean over fits, by the least P(topic | word)\ncosine\n"
        + by_threshold(THRESHOLDS, means[TRAINED][:, 0])
        + "\ndot product\n"
        + by_threshold(THRESHOLDS, means[TRAINED][:, 1])
        + f"\nabove every rival: cosine in {count_clear(own.low[..., 0], rival[..., 0])}, dot product in "
        f"{count_clear(own.low[..., 1], rival[..., 1])} fits and thresholds\nn = {n:,} words, {found.n_pairs:,} pairs",
        control=f"cosine, at {THRESHOLDS[2]:g}\n"
        + "\n".join(f"{case}: {told(means[case][2, 0])}" for case in (UNMATCHED, *RIVALS))
        + f"\nhighest upper end of a rival at any threshold and fit: {highest(rival[..., 0])}",
        numbers={
            "words": n,
            "cosine_low": own.low[..., 0].ravel(),
            "cosine_rival": rival[..., 0].ravel(),
            "dot_low": own.low[..., 1].ravel(),
            "dot_rival": rival[..., 1].ravel(),
        },
        figure="fig-embeddings-effect",
    )


def _embeddings_ambiguity(found: EmbeddingResults) -> Claim:
    n = found.n_words
    effect = steady_effect(found.compared, TRAINED, ratios=False)
    rivals = {case: gain(steady_effect(found.compared, case, ratios=False), n) for case in RIVALS}
    gained = gain(effect, n)
    return CRITERIA.claim(
        "embeddings-ambiguity",
        id="embeddings-ambiguity",
        statement="The less ambiguous the words, the larger the difference of their cosines: it rises with every threshold, the "
        "frequencies of the words being weighed alike at all of them.",
        reference="the paper: the advantage is larger for unambiguous words (as recalled; its table is not at hand)",
        measured="cosine, same minus different topic\n"
        + by_threshold(THRESHOLDS, mean_over_fits(effect, n))
        + f"\nfrom first to last: {told(gained)}\nn = {n:,} words",
        control="from first to last\n" + "\n".join(f"{case}: {told(one)}" for case, one in rivals.items()),
        numbers={
            "words": n,
            "by_threshold": mean_over_fits(effect, n).mean,
            "gain_low": gained.low,
            "gain_rival": max(float(one.high) for one in rivals.values()),
        },
        figure="fig-embeddings-effect",
    )


def _attention(found: AttentionResults) -> Claim:
    n = found.n_passages
    own = each_fit(ratio(found.unseen, TRAINED), n)
    rival = np.max([each_fit(ratio(found.unseen, case), n).high for case in RIVALS], axis=0)
    means = {case: mean_over_fits(ratio(found.unseen, case), n) for case in (TRAINED, UNMATCHED, *RIVALS)}
    less = mean_over_fits(ratio(found.unseen, TRAINED) - ratio(found.unseen, SHUFFLED), n)  # resampled together
    fitted = mean_over_fits(ratio(found.fitted, TRAINED), found.n_passages_fitted)
    return CRITERIA.claim(
        "attention",
        id="attention",
        statement="Words attend more, on average over all heads, to words that share a topic than to words as far away and as "
        "frequent that do not: at every threshold, in every fit, in articles that topics were not fitted on.",
        reference="the paper: more average attention between words of the same topic",
        measured="same over different topic, mean over fits, by the least P(topic | word)\n"
        + by_threshold(ATTENTION_THRESHOLDS, means[TRAINED])
        + f"\nless the ratio of shuffled topics, at {ATTENTION_THRESHOLDS[2]:g}: {told(less[2])}"
        + f"\nabove 1 and every rival in {count_clear(own.low, np.fmax(rival, 1))} fits and thresholds\nn = {n:,} passages, "
        f"{found.n_pairs:,} pairs",
        control=f"at {ATTENTION_THRESHOLDS[2]:g}\n"
        + "\n".join(f"{case}: {told(means[case][2])}" for case in (UNMATCHED, *RIVALS))
        + f"\narticles that topics were fitted on: {told(fitted[2])}, n = {found.n_passages_fitted:,} passages",
        numbers={"passages": n, "low": own.low.ravel(), "rival": rival.ravel()},
        figure="fig-attention-effect",
    )


def _heads(found: AttentionResults) -> Claim:
    n = found.n_passages
    fits = {case: each_fit(ratios, n) for case, ratios in found.heads.items()}
    clear = {case: (one.low > 1).mean(axis=(1, 2)) for case, one in fits.items()}
    above = {case: (one.mean > 1).mean(axis=(1, 2)) for case, one in fits.items()}
    most = CRITERIA["attention-heads"].bounds["most"]
    return CRITERIA.claim(
        "attention-heads",
        id="attention-heads",
        statement=f"It is so in more than {most:.0%} of the heads, each by itself, in every fit.",
        reference="no published reference for this encoder",
        measured=f"share of heads whose interval lies above 1: {spread(clear[TRAINED], 2)} by fit\n"
        f"share whose ratio does: {spread(above[TRAINED], 2)}\nn = {n:,} passages, {found.topical.size} heads",
        control="share whose interval lies above 1\n"
        + "\n".join(f"{case}: {spread(clear[case], 2)}" for case in (UNMATCHED, *RIVALS)),
        numbers={
            "passages": n,
            "clear": clear[TRAINED],
            "clear_rival": np.max([clear[case] for case in RIVALS], axis=0),
            "above": above[TRAINED],
            "above_rival": np.max([above[case] for case in RIVALS], axis=0),
        },
        figure="fig-attention-heads",
    )


def _attention_ambiguity(found: AttentionResults) -> Claim:
    n = found.n_passages
    effect = steady_effect(found.unseen, TRAINED, ratios=True)
    rivals = {case: gain(steady_effect(found.unseen, case, ratios=True), n) for case in RIVALS}
    gained = gain(effect, n)
    return CRITERIA.claim(
        "attention-ambiguity",
        id="attention-ambiguity",
        statement="The less ambiguous the words, the larger the ratio: it rises with every threshold, distances and the keys' "
        "frequencies being weighed alike at all of them.",
        reference="the paper: the advantage is larger for unambiguous words (as recalled; its table is not at hand)",
        measured="same over different topic, mean over heads\n"
        + by_threshold(ATTENTION_THRESHOLDS, mean_over_fits(effect, n))
        + f"\nfrom first to last: {told(gained)}\nn = {n:,} passages",
        control="from first to last\n" + "\n".join(f"{case}: {told(one)}" for case, one in rivals.items()),
        numbers={
            "passages": n,
            "by_threshold": mean_over_fits(effect, n).mean,
            "gain_low": gained.low,
            "gain_rival": max(float(one.high) for one in rivals.values()),
        },
        figure="fig-attention-effect",
    )


def _distance(found: AttentionResults) -> Claim:
    n = found.n_passages
    bands = {case: mean_over_fits(ratios, n) for case, ratios in found.by_distance.items()}
    rival = np.max([bands[case].high for case in RIVALS], axis=0)
    return CRITERIA.claim(
        "attention-distance",
        id="attention-distance",
        statement="It is so at every distance, from neighbours to words at the other end of the passage.",
        reference="no published reference",
        measured="same over different topic, mean over heads and fits\n"
        + "\n".join(f"{name} away: {told(bands[TRAINED][i])}" for i, name in enumerate(band_names()))
        + f"\nn = {n:,} passages",
        control="highest upper end of any band\n" + "\n".join(f"{case}: {highest(bands[case].high)}" for case in RIVALS),
        numbers={"passages": n, "low": bands[TRAINED].low, "rival": rival},
        figure="fig-attention-distance",
    )


def _edited_heads(found: EditResults) -> Claim:
    costs = {name: cost(found, name) for name in (TOPICAL, RANDOM, LEAST)}
    above_random, above_least = (cost(found, TOPICAL, other) for other in (RANDOM, LEAST))
    return CRITERIA.claim(
        "edited-heads",
        id="edited-heads",
        statement="Which words the most topical heads attend to matters more to the encoder's output than which words other "
        "heads of the same blocks attend to.",
        reference="no published reference: the paper shows attention, not what it is needed for",
        measured=f"{CHANGE}, {listed(MEASURES)}\nmost topical heads: {both(costs[TOPICAL])}\n"
        f"more than heads at random: {both(above_random)}\nmore than the least topical: {both(above_least)}\n"
        f"n = {found.n_passages:,} passages",
        control=f"heads at random: {both(costs[RANDOM])}\nleast topical heads: {both(costs[LEAST])}",
        numbers={"passages": found.n_passages, "above_random_low": above_random.low, "above_least_low": above_least.low},
        figure="fig-edits",
    )


def _edited_classes(found: EditResults) -> Claim:
    spared = cost(found, WITHIN_SHUFFLED, WITHIN)
    return CRITERIA.claim(
        "edited-classes",
        id="edited-classes",
        statement="It matters that these words share a topic: averages that keep topics apart change the output less than "
        "averages that keep shuffled topics apart.",
        reference="no published reference",
        measured=f"{CHANGE}, {listed(MEASURES)}\nwithin topics: {both(cost(found, WITHIN))}\n"
        f"spared against shuffled topics: {both(spared)}\nn = {found.n_passages:,} passages",
        control=f"within shuffled topics: {both(cost(found, WITHIN_SHUFFLED))}\nover all words: {both(cost(found, TOPICAL))}",
        numbers={"passages": found.n_passages, "spared_low": spared.low},
        figure="fig-edits",
    )


def _encoder(found: CheckResults) -> Claim:
    return CRITERIA.claim(
        "encoder",
        id="encoder",
        statement="The encoder with hooks computes what transformers' BertModel does: embedding, outputs of all blocks, "
        "attention.",
        reference="transformers' BertModel, the same weights, float64",
        measured=f"largest difference of any activation {found.largest_error:.0e}",
        control=f"had one of them scrambled weights: {found.scrambled_error:.1f}",
        numbers={"largest_error": found.largest_error},
    )


def _planted(found: CheckResults) -> Claim:
    return CRITERIA.claim(
        "planted",
        id="planted",
        statement="The comparison finds the ratio that is planted in attention, and none where attention falls with distance and "
        "the key's frequency alone.",
        reference=f"planted: {PLANTED:g}, and 1",
        measured=f"by fit: {spread(found.found)} where {PLANTED:g} was planted, {spread(found.empty)} where none was",
        control=f"nothing matched, none planted: {spread(found.unmatched)}",
        numbers={"passages": found.n_passages, "planted": PLANTED, "found": found.found, "empty": found.empty},
        figure="fig-planted",
    )


def _corpus(material: Material) -> Claim:
    characters = sum(len(article.text) for article in material.articles)
    return CRITERIA.claim(
        "corpus",
        id="corpus",
        statement="The text is the one that gensim ships, whole.",
        reference="103 articles of more than 1,500 characters, 3.1 million characters without markup",
        measured=f"{len(material.articles)} articles, {characters:,} characters",
        control=f"what follows uses the first {material.n_used} of them",
        numbers={"articles": len(material.articles), "characters": characters},
    )

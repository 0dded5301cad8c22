"""What every part of the page works on: passages of two halves of the articles, topics fitted on one of them, and the encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int

from analyses.topic_text.corpus import Article, Passages, cut_passages, read_articles
from analyses.topic_text.encoder import Encoder, load_encoder, scrambled
from analyses.topic_text.topics import TopicFit, fit_topics
from mechbp.study import Study

TOPIC_COUNTS = (20, 50)
SEEDS = (0, 1, 2)
FEWEST = 10
"""Occurrences in the articles fitted that make a word's topics worth asking for."""
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Smallest P(topic | word) of a topic that counts as one of the word's; words left with none are left out."""
BANDS = 5
"""Of frequency, with equally many words in each."""
ARTICLES_QUICKLY = 24


@dataclass(frozen=True, eq=False)
class Material:
    """Text, topics and encoders."""

    articles: list[Article]
    n_used: int
    """How many of them passages are from, the first ones."""
    fitted: Passages
    """Of the half of the articles that topics are fitted on."""
    unseen: Passages
    """Of the other half; same vocabulary."""
    fits: tuple[TopicFit, ...]
    shuffled: tuple[TopicFit, ...]
    """The control: each fit with the topics of its words shuffled among words of about the same frequency."""
    encoder: Encoder
    scrambled: Encoder

    @property
    def frequency_band(self) -> Int[np.ndarray, " word"]:
        """Band of each word's frequency in the articles fitted, 0 the rarest."""
        return bands_of(self.fitted.counts)


def gather(study: Study) -> Material:
    """Read the articles, fit topics on half of them, and load the encoder and its scrambled twin."""
    study.stage("text")
    encoder = load_encoder()
    articles = read_articles()
    n_used = study.size(len(articles), ARTICLES_QUICKLY)
    passages = cut_passages(articles[:n_used], encoder.tokenizer)
    chosen = study.rng("articles").permutation(n_used)[: n_used // 2]
    is_fitted = np.isin(passages.article, chosen)
    passages = passages.keeping(passages[np.flatnonzero(is_fitted)].counts >= FEWEST)
    fitted, unseen = (passages[np.flatnonzero(half)] for half in (is_fitted, ~is_fitted))
    study.stage("topics")
    seeds = SEEDS[:1] if study.quick else SEEDS
    fits = tuple(
        fit_topics(fitted, n_topics, seed, study.rng("topics", n_topics, seed)) for n_topics in TOPIC_COUNTS for seed in seeds
    )
    band = bands_of(fitted.counts)
    shuffles = tuple(shuffled(fit, band, study.rng("shuffle", fit.n_topics, fit.seed)) for fit in fits)
    return Material(articles, n_used, fitted, unseen, fits, shuffles, encoder, scrambled(encoder, seed=1))


def bands_of(counts: Int[np.ndarray, " word"]) -> Int[np.ndarray, " word"]:
    """Return the band of each word's frequency, 0 the rarest; equal counts share a band."""
    edges = np.quantile(counts, np.arange(1, BANDS) / BANDS)
    return np.searchsorted(edges, counts, side="left")


def shuffled(fit: TopicFit, band: Int[np.ndarray, " word"], rng: np.random.Generator) -> TopicFit:
    """Return a fit whose words have exchanged their topics within each band: as ambiguous and as frequent, but any words."""
    return replace(fit, topic_given_word=fit.topic_given_word[exchanged(band, rng)])


def exchanged(band: Int[np.ndarray, " word"], rng: np.random.Generator) -> Int[np.ndarray, " word"]:
    """Return a permutation of the words that leaves each in its band."""
    order = np.arange(len(band))
    for one in np.unique(band):
        members = np.flatnonzero(band == one)
        order[members] = rng.permutation(members)
    return order


def static_embeddings(encoder: Encoder, passages: Passages) -> Float64[np.ndarray, "word d_model"]:
    """Return the encoder's embedding of each word, before position and context."""
    return encoder.model.embed.embed.W_E[passages.token_of.tolist()].detach().double().cpu().numpy()

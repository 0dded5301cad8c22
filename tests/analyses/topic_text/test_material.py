"""From articles to topics: lines of prose, planted topics, and which half of the articles is fitted."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gensim", reason="the page about topics in text needs pip install 'mechbp[text]'")

from analyses.topic_text import corpus, material
from analyses.topic_text.corpus import PASSAGE, Passages
from analyses.topic_text.topics import TopicFit, fit_topics
from mechbp.randomness import rng
from mechbp.study import Study


def test_planted_topics_are_fitted_and_nothing_global_moves():
    draw = rng(8)
    topic = draw.integers(3, size=1000)
    words = topic[:, None] * 10 + draw.integers(10, size=(1000, 40))
    text = Passages(words, words, topic, tuple(map(str, range(30))), np.arange(30))
    before = np.random.get_state()[1].copy()
    fit, again = (fit_topics(text, 3, 0, rng(9)) for _ in range(2))
    assert (np.random.get_state()[1] == before).all()
    assert (fit.topic_given_word == again.topic_given_word).all() and (
        fit_topics(text, 3, 1, rng(10)).topic_given_word != fit.topic_given_word
    ).any()
    np.testing.assert_allclose(fit.topic_given_word.sum(axis=1), 1, rtol=1e-12)
    best = fit.topic_given_word.argmax(axis=1).reshape(3, 10)
    assert (best == best[:, :1]).all() and len(set(best[:, 0])) == 3 and fit.topic_given_word.max(axis=1).min() > 0.9
    assert set(fit.shown(text.vocabulary, int(best[1, 0])).split(", ")) <= {str(word) for word in range(10, 20)}


def test_lines_of_prose_are_kept():
    line = "A sentence of '''running''' text that is long enough to count as prose and not as a heading or a ''list'' item."
    heading = "== A heading that is long enough to count as prose but for the marks around it, and so on and on =="
    text = f"\n{heading}\n{line}\n* {line}\nshort\n"
    assert corpus.prose(text) == line.replace("'''", "").replace("''", "")


def test_topics_are_fitted_on_one_half_of_the_articles(monkeypatch):
    draw = rng(13)
    words = draw.integers(30, size=(80, PASSAGE))
    article = np.repeat(np.arange(8), 10)
    text = Passages(words, words, article, tuple(map(str, range(30))), np.arange(30))
    fitted_on = []

    def fit(passages, n_topics, seed, rng):
        fitted_on.append(set(passages.article))
        return TopicFit(n_topics, seed, draw.dirichlet(np.ones(n_topics), size=30), np.ones((n_topics, 30)))

    for name, stand_in in {
        "load_encoder": lambda: SimpleNamespace(tokenizer=None),
        "scrambled": lambda encoder, seed: None,
        "read_articles": lambda: list(range(8)),
        "cut_passages": lambda articles, tokenizer: text,
        "fit_topics": fit,
    }.items():
        monkeypatch.setattr(material, name, stand_in)
    found = material.gather(Study((), False, lambda text: None))
    assert len(found.fits) == 6 and len({(fit.n_topics, fit.seed) for fit in found.fits}) == 6
    assert all(on == set(found.fitted.article) and len(on) == 4 for on in fitted_on)
    assert set(found.fitted.article) | set(found.unseen.article) == set(range(8)) and len(set(found.unseen.article)) == 4
    assert all(a.topic_given_word.shape == b.topic_given_word.shape and (a.topic_given_word != b.topic_given_word).any()
               for a, b in zip(found.fits, found.shuffled, strict=True))  # fmt: skip

"""Passages, topics and material made up so that the truth is known."""

import numpy as np
import pytest

from mechbp.randomness import rng

# The page's modules are imported in the fixtures: without the extra this file is still read, and the tests beside it skip.

N_WORDS = 40
N_TOPICS = 5


@pytest.fixture(scope="module")
def passages():
    """60 passages in which words of a topic stand together, and a third of the positions hold none."""
    from analyses.topic_text.corpus import NO_WORD, PASSAGE, Passages

    draw = rng(0, "passages")
    topic = np.repeat(draw.integers(N_TOPICS, size=(60, PASSAGE // 8)), 8, axis=1)
    words = topic + N_TOPICS * draw.integers(N_WORDS // N_TOPICS, size=topic.shape)
    words = np.where(draw.random(words.shape) < 1 / 3, NO_WORD, words)
    names = tuple(f"word{number}" for number in range(N_WORDS))
    return Passages(np.full(words.shape, 7), words, np.repeat(np.arange(6), 10), names, np.arange(N_WORDS))


@pytest.fixture(scope="module")
def fit():
    """Word w is of topic w mod 5; every fourth one is of the next topic too."""
    from analyses.topic_text.topics import TopicFit

    given = np.full((N_WORDS, N_TOPICS), 0.01)
    word = np.arange(N_WORDS)
    given[word, word % N_TOPICS] = 0.9
    twice = word % 4 == 0
    given[twice, word[twice] % N_TOPICS] = 0.55
    given[twice, (word[twice] + 1) % N_TOPICS] = 0.4
    return TopicFit(N_TOPICS, 0, given / given.sum(axis=1, keepdims=True), np.ones((N_TOPICS, N_WORDS)) / N_WORDS)


@pytest.fixture(scope="module")
def known(passages, fit):
    """Material without an encoder."""
    from analyses.topic_text import material

    control = material.shuffled(fit, material.bands_of(passages.counts), rng(1))
    return material.Material([], 0, passages, passages, (fit,), (control,), None, None)

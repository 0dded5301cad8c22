"""Features that no network computed: what regression finds in tokens, in positions and in noise."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mechbp.processes.chain.words import Words
from mechbp.theory.chain.prefix_moments import Design
from mechbp.theory.chain.prefix_probe import WordScore, word_probe

Features = Float64[np.ndarray, "prefix d"]
PREFIX_SHARE = 0.8
"""Of the prefixes are fitted, to read the others: some processes have few."""
MANY = 256
"""Columns from which a fit takes so long that fewer splits must do."""


def splits(n_columns: int, repeats: int) -> int:
    """Return how many random splits a regression on so many columns gets."""
    return repeats if n_columns <= MANY else max(repeats // 20, 3)


def token_and_position(words: Words) -> Features:
    """Return one indicator per last token and one per position: all that an embedding, their sum, can hold."""
    token = words.tokens.ravel()[words.first_of_prefix]
    return np.hstack([np.eye(int(words.tokens.max()) + 1)[token], np.eye(words.tokens.shape[1])[words.last_position]])


def token_history(words: Words) -> Features:
    """Return one indicator per position, lag and token: a sum over tokens, weighted freely at every position."""
    length = words.tokens.shape[1]
    n_tokens = int(words.tokens.max()) + 1
    word, position = np.divmod(words.first_of_prefix, length)
    columns = np.zeros((words.n_prefixes, n_tokens * length * (length + 1) // 2))
    offset = 0
    for last in range(length):
        rows = np.flatnonzero(position == last)
        for place in range(last + 1):
            columns[rows, offset + words.tokens[word[rows], place]] = 1.0
            offset += n_tokens
    return columns


def noise(words: Words, width: int, rng: np.random.Generator) -> Features:
    """Return independent normal features of every prefix: what regression finds by the number of columns alone."""
    return rng.normal(size=(words.n_prefixes, width))


def baseline_scores(
    words: Words, target: Float64[np.ndarray, "prefix state"], widths: tuple[int, ...], rng: np.random.Generator, repeats: int
) -> dict[str, tuple[WordScore, WordScore]]:
    """Return {features: scores split by sequence and by prefix}; noise once per width."""
    features = {"token and position": token_and_position(words), "token history": token_history(words)}
    features |= {f"noise, {width} columns": noise(words, width, rng) for width in widths}
    return {name: both_splits(columns, target, words, rng, repeats) for name, columns in features.items()}


def both_splits(
    features: np.ndarray, target: Float64[np.ndarray, "prefix state"], words: Words, rng: np.random.Generator, repeats: int
) -> tuple[WordScore, WordScore]:
    """Return one target's scores, words split and counted once, and prefixes split and counted once."""
    repeats = splits(features.shape[1], repeats)
    design = Design.of(features)
    by_word = word_probe(design, {"target": target}, words, rng=rng, repeats=repeats)
    by_prefix = word_probe(
        design,
        {"target": target},
        words,
        rng=rng,
        weighting="prefix",
        split="prefix",
        repeats=repeats,
        train_share=PREFIX_SHARE,
    )
    return by_word["target"], by_prefix["target"]

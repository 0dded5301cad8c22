"""Time the exact code of hidden Markov models against loops that any reader would write, and check that they agree.

Enumeration: all words with the belief after every prefix, against a depth-first walk over tokens that filters one word at a time.
Filtering: a batch of sequences, against one sequence at a time. Regression: beliefs on 64 features over all words, against
scikit-learn's least squares on one row per word and position.
"""

import numpy as np
from sklearn.linear_model import LinearRegression
from threadpoolctl import threadpool_limits

import mechbp
from mechbp.processes.chain.filters import naive_bayes_beliefs
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain.prefix_probe import word_probe
from tests.benchmarks.cpu_time import seconds

LENGTH = 10
ENUMERATION_S = 0.3
"""All beliefs of the 3^10 words of Mess3."""
BATCHES = ((128, 10), (4096, 10), (1024, 64), (256, 512))
LEAST_RATIO = {"enumeration": 5, "filtering": 10, "regression": 3}


def walk(hmm: HiddenMarkovModel, length: int) -> tuple[np.ndarray, np.ndarray]:
    """All words in lexicographic order, and the belief after each of their prefixes, one product at a time."""
    words, beliefs = [], []

    def visit(tokens: list[int], path: list[np.ndarray]) -> None:
        if len(tokens) == length:
            words.append(tokens)
            beliefs.append(path)
            return
        for token, steps in enumerate(hmm.transitions):
            joint = path[-1] @ steps
            if (chance := joint.sum()) > 0:
                visit([*tokens, token], [*path, joint / chance])

    visit([], [hmm.start])
    return np.array(words), np.array(beliefs)


def filter_one(hmm: HiddenMarkovModel, tokens: np.ndarray) -> np.ndarray:
    """The filter of one sequence, a token at a time."""
    beliefs = [hmm.start]
    for token in tokens:
        joint = beliefs[-1] @ hmm.transitions[token]
        beliefs.append(joint / joint.sum())
    return np.array(beliefs)


def enumeration() -> list[bool]:
    good = []
    for name, hmm, length in (("Mess3(.05, .85)", mechbp.mess3(0.05, 0.85), LENGTH), ("RRXOR", mechbp.rrxor(), LENGTH)):
        ours_s, words = seconds(lambda hmm=hmm, length=length: enumerate_words(hmm, length))
        loop_s, (tokens, beliefs) = seconds(lambda hmm=hmm, length=length: walk(hmm, length), 1)
        error = np.abs(words.beliefs - beliefs).max() if (words.tokens == tokens).all() else np.inf
        ratio = loop_s / ours_s
        print(
            f"enumeration, {name}: {len(words.tokens):,} words, {words.n_prefixes:,} prefixes in {ours_s:.3f} s; "
            f"walk {loop_s:.2f} s, ratio {ratio:.0f}; largest difference {error:.1e}"
        )
        good += [error < 1e-12, name == "RRXOR" or (ratio >= LEAST_RATIO["enumeration"] and ours_s <= ENUMERATION_S)]
        if name != "RRXOR":
            again_s, _ = seconds(lambda hmm=hmm, words=words: hmm.beliefs(words.tokens))
            added_s, _ = seconds(lambda hmm=hmm, words=words: hmm.constrained_beliefs(words.tokens))
            naive_s, _ = seconds(lambda hmm=hmm, words=words: naive_bayes_beliefs(hmm, words.tokens))
            print(
                f"  beliefs of all words from tokens {again_s:.3f} s (at most {ENUMERATION_S}), constrained {added_s:.3f} "
                f"s, naive Bayes {naive_s:.2f} s"
            )
            good.append(again_s <= ENUMERATION_S)
    return good


def filtering() -> list[bool]:
    good, hmm = [], mechbp.mess3(0.05, 0.85)
    for n, length in BATCHES:
        tokens = hmm.sample(n, mechbp.rng(0, "bench", n), length=length).tokens
        ours_s, beliefs = seconds(lambda tokens=tokens: hmm.beliefs(tokens))
        few = tokens[:64]
        loop_s, slow = seconds(lambda few=few: np.stack([filter_one(hmm, row) for row in few]), 1)
        ratio = loop_s / len(few) / (ours_s / n)
        error = np.abs(beliefs[: len(few)] - slow).max()
        print(
            f"filtering, {n} x {length}: {n * length / ours_s:,.0f} tokens/s with beliefs; loop {few.size / loop_s:,.0f}, "
            f"ratio {ratio:.0f}; largest difference {error:.1e}"
        )
        good += [ratio >= LEAST_RATIO["filtering"] or n < 1024, error < 1e-12]
    return good


def regression() -> list[bool]:
    words = enumerate_words(mechbp.mess3(0.05, 0.85), LENGTH)
    beliefs = words.of_prefixes(words.beliefs[:, 1:])
    features = mechbp.rng(0, "bench", "features").normal(size=(words.n_prefixes, 64)).astype(np.float32)
    ours_s, found = seconds(lambda: word_probe(features, {"belief": beliefs}, words, rng=mechbp.rng(0), repeats=0)["belief"])
    rows = words.prefix.ravel()
    x, y = features[rows].astype(np.float64), beliefs[rows]
    peer_s, peer = seconds(lambda: LinearRegression().fit(x, y), 1)
    difference = float(np.abs(found.map(features) - peer.predict(features)).max())
    ratio = peer_s / ours_s
    print(
        f"regression, {len(rows):,} rows of 64 features: {ours_s:.2f} s; scikit-learn {peer_s:.2f} s, ratio {ratio:.1f}; "
        f"largest difference of predictions {difference:.1e}"
    )
    return [ratio >= LEAST_RATIO["regression"], difference < 1e-5]


def main() -> int:
    """Print CPU times, ratios and differences; return 1 if any misses its bound."""
    with threadpool_limits(1):
        good = enumeration() + filtering() + regression()
    return int(not all(good))

"""Time the exact posterior of topic models against loops that any reader would write, and place approximate inference beside it.

Disjoint topics: a batch of documents, against the closed form one document at a time. Overlapping topics: a batch, against
the dynamic programme over topic counts one document at a time. Then what variational inference (scikit-learn) and Gibbs sampling
(tomotopy) say of the same documents of the same known topics, with the time that they take.
"""

import math

import numpy as np
import tomotopy
from sklearn.decomposition import LatentDirichletAllocation
from threadpoolctl import threadpool_limits

import mechbp
from mechbp.processes.topics.enumeration import enumerate_counts
from mechbp.processes.topics.masking import MaskRates
from mechbp.processes.topics.noisy import noisy_beliefs
from mechbp.processes.topics.topic_model import TopicModel
from tests.benchmarks.cpu_time import seconds

N_DOCUMENTS = 1000
LEAST_RATIO = {"disjoint, with assignments": 50, "overlapping": 30}
"""Without assignments the loop is as short as a line per word, and the ratio is shown without a bound."""
GIBBS_RUNS = (1, 20)
"""Runs of the sampler averaged."""
GIBBS_SWEEPS = 100
PSEUDO_COUNT = 1e7
"""Words that the sampler is told to have seen of every topic, so that its own documents hardly move P(word | topic)."""


def closed_form(alpha: list[float], phi: list[list[float]], topic_of_word: list[int], words: list[int], every: bool) -> tuple:
    """E theta, its variance, P(next word), log evidence and, if `every`, assignments of one document, in plain Python."""
    counts = [0] * len(alpha)
    log_evidence = 0.0
    assignments = []
    for word in words:
        topic = topic_of_word[word]
        counts[topic] += 1
        log_evidence += math.log(phi[topic][word])
        if every:
            assignments.append([float(t == topic) for t in range(len(alpha))])
    total = sum(alpha) + len(words)
    mean = [(a + c) / total for a, c in zip(alpha, counts, strict=True)]
    variance = [m * (1 - m) / (total + 1) for m in mean]
    log_evidence += math.lgamma(sum(alpha)) - math.lgamma(total)
    log_evidence += sum(math.lgamma(a + c) - math.lgamma(a) for a, c in zip(alpha, counts, strict=True))
    next_word = [mean[t] * phi[t][w] for w, t in enumerate(topic_of_word)]
    return mean, variance, next_word, log_evidence, assignments


def disjoint() -> list[bool]:
    model = TopicModel.disjoint(10, 10, alpha=0.1)
    tokens = model.sample(N_DOCUMENTS, mechbp.rng(0, "bench", "disjoint"), length=100).tokens

    table = (model.alpha.tolist(), model.word_given_topic.tolist(), model.topic_of_word.tolist())
    few = tokens[:200].tolist()
    good = []
    for every, part in ((True, "with"), (False, "without")):

        def ours(every: bool = every) -> tuple:
            found = model.beliefs(tokens)
            counts = (found.proportions, found.variance, found.predictive, found.log_evidence)
            return (*counts, found.assignments) if every else counts

        ours_s, found = seconds(ours)
        loop_s, slow = seconds(lambda every=every: [closed_form(*table, words, every) for words in few], 3)
        ratio = loop_s / len(few) / (ours_s / len(tokens))
        error = max(
            np.abs(fast[: len(few)] - np.array(one)).max() for fast, one in zip(found, zip(*slow, strict=True), strict=False)
        )
        print(
            f"disjoint, {N_DOCUMENTS} x 100, 10 topics: {1e6 * ours_s / len(tokens):.1f} us per document {part} assignments; "
            f"loop {1e6 * loop_s / len(few):.0f} us, ratio {ratio:.0f}; largest difference {error:.1e}"
        )
        good += [ratio >= LEAST_RATIO.get(f"disjoint, {part} assignments", 0), error < 1e-11]
    noisy_s, _ = seconds(lambda: noisy_beliefs(model, tokens, MaskRates()), 3)
    print(f"the same under noise: {1e6 * noisy_s / len(tokens):.0f} us per document")
    return good


def overlapping() -> list[bool]:
    model = TopicModel.ring(3, 6, 2, 0.25, alpha=0.2)
    tokens = model.sample(N_DOCUMENTS, mechbp.rng(0, "bench", "ring"), length=60).tokens
    ours_s, found = seconds(lambda: model.beliefs(tokens))
    few = tokens[:50]
    loop_s, slow = seconds(lambda: [enumerate_counts(model, words) for words in few], 3)
    ratio = loop_s / len(few) / (ours_s / len(tokens))
    error = max(
        np.abs(found.proportions[: len(few)] - [row.proportions for row in slow]).max(),
        np.abs(found.log_evidence[: len(few)] - [row.log_evidence for row in slow]).max(),
    )
    print(
        f"overlapping, {N_DOCUMENTS} x 60, 3 topics: {1e6 * ours_s / len(tokens):.1f} us per document with all assignments; "
        f"dynamic programme without them {1e6 * loop_s / len(few):.0f} us, ratio {ratio:.0f}; largest difference {error:.1e}"
    )
    return [ratio >= LEAST_RATIO["overlapping"], error < 1e-12]


def variational(model: TopicModel, tokens: np.ndarray) -> np.ndarray:
    """E theta under scikit-learn's mean field, its topics set to the true ones."""
    peer = LatentDirichletAllocation(
        model.n_topics, doc_topic_prior=float(model.alpha[0]), max_doc_update_iter=1000, mean_change_tol=1e-6
    )  # fmt: skip
    peer.fit(np.ones((1, model.vocab_size), int))
    peer.components_ = model.word_given_topic
    peer.exp_dirichlet_component_ = model.word_given_topic.copy()  # exp E log phi of topics that are known
    histogram = np.stack([np.bincount(words, minlength=model.vocab_size) for words in tokens])
    return peer.transform(histogram)


def gibbs(model: TopicModel, tokens: np.ndarray, runs: int) -> np.ndarray:
    """E theta by tomotopy's collapsed sampler, its topics held by a prior of PSEUDO_COUNT words each; the mean of `runs`.

    It returns the state after the last sweep only, and the same one for every seed and copy of a document, so the runs stop
    one sweep apart.
    """
    peer = tomotopy.LDAModel(k=model.n_topics, alpha=float(model.alpha[0]), eta=1e-9, seed=0)
    peer.optim_interval = 0
    for word, column in enumerate(model.word_given_topic.T):
        peer.set_word_prior(str(word), np.maximum(PSEUDO_COUNT * column, 1e-9).tolist())
    peer.add_doc([str(word) for word in range(model.vocab_size)])
    peer.train(0, workers=1)
    documents = [peer.make_doc([str(word) for word in words]) for words in tokens]
    return np.mean([peer.infer(documents, iterations=GIBBS_SWEEPS + run, workers=1)[0] for run in range(runs)], axis=0)


def approximate() -> list[bool]:
    model = TopicModel.ring(3, 6, 2, 0.25, alpha=0.2)
    good = []
    for length in (10, 60):
        tokens = model.sample(N_DOCUMENTS, mechbp.rng(0, "bench", "peers", length), length=length).tokens
        exact_s, exact = seconds(lambda tokens=tokens: model.beliefs(tokens))
        print(f"ring of 3 topics, {N_DOCUMENTS} documents of {length} words, exact {1e6 * exact_s / N_DOCUMENTS:.0f} us each")
        methods = {"variational, scikit-learn": lambda tokens=tokens: variational(model, tokens)}
        for runs in GIBBS_RUNS:
            name = f"Gibbs, tomotopy, {runs} x {GIBBS_SWEEPS} sweeps"
            methods[name] = lambda tokens=tokens, runs=runs: gibbs(model, tokens, runs)
        for name, work in methods.items():
            peer_s, proportions = seconds(work, 1)
            predictive = proportions @ model.word_given_topic
            kl_nats = (exact.predictive * np.log(exact.predictive / predictive)).sum(axis=1).mean()
            off = np.abs(proportions - exact.proportions).mean()
            print(
                f"  {name:32s} {1e6 * peer_s / N_DOCUMENTS:7.0f} us each ({peer_s / exact_s:5.0f} x exact); KL of exact to its "
                f"predictive {kl_nats:.1e} nats, mean |E theta - exact| {off:.4f}"
            )
            good.append(bool(np.isfinite(kl_nats)) and off < 0.1)  # the same topics, else it would be .3
    return good


def main() -> int:
    """Print CPU times, ratios and differences; return 1 if any misses its bound."""
    with threadpool_limits(1):
        good = disjoint() + overlapping() + approximate()
    return int(not all(good))

"""Stage one alone (attention uniform): the values that least squares reaches, on the population and from documents."""

from __future__ import annotations

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.setting import THEORY
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.processes.topics.masking import MaskRates, mask_documents
from mechbp.processes.topics.supports import SupportMixture
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.pairs import PairClasses
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import finite_length_values, setting_values

RIDGE = 1e-9
LENGTH, QUICK_LENGTH = 1000, 200
DOCUMENTS, QUICK_DOCUMENTS = 10_000, 1000
SAMPLED_SEEDS = 5


def study_values(study: Study) -> tuple[list[Claim], Section]:
    """Minimise the squared loss over the values, exactly and on sampled documents, and compare with the closed form."""
    study.stage("values under uniform attention")
    theory = setting_values(THEORY)
    errors = {tau: float(np.abs(_population_minimum(tau) - theory.matrix()).max()) for tau in (2, 4)}
    n, length = study.size(DOCUMENTS, QUICK_DOCUMENTS), study.size(LENGTH, QUICK_LENGTH)
    seeds = range(study.size(SAMPLED_SEEDS, 2))
    fits = {tau: [_sampled_minimum(study, tau, seed, n, length) for seed in seeds] for tau in (2, 4)}
    gaps = {tau: np.array([_block_gap(fit) for fit in found]) for tau, found in fits.items()}
    claims = [_exact_claim(errors), _sampled_claim(gaps, theory.contrast, n, length)]
    text = (
        "Attention that cannot be trained is uniform, so the layer reads the histogram of a document through one matrix. For "
        f"squared loss its best values are known: {theory.same:.6f} for a word of the same topic, {theory.different:.6f} for "
        f"another one, {theory.mask:.6f} for MASK, whatever the number of topics per document.",
        "That limit takes documents to be infinitely long before the penalty on the weights goes to 0. In a document of "
        "finite length the query's own word is a share of the histogram, and least squares reads it there: the diagonal "
        "stands out, and only the difference between blocks, diagonal included, stays where the theory puts it.",
    )
    return claims, Section("values", "Values under uniform attention", text, (_entries_figure(fits, length, n),))


def _population_minimum(topics_per_document: int) -> np.ndarray:
    """Values [word, id] of least squared loss plus a vanishing penalty over all sets of topics, by the normal equations."""
    setting = TopicSetting(THEORY.n_topics, THEORY.words_per_topic, topics_per_document)
    mass = setting.key_mass()
    seen = np.hstack([setting.spread(mass[:, :-1]), mass[:, -1:]])
    wanted = setting.spread(setting.supports() / topics_per_document)
    gram = seen.T @ seen / len(seen) + RIDGE * np.eye(seen.shape[1])
    return np.linalg.solve(gram, seen.T @ wanted / len(seen)).T


def _sampled_minimum(study: Study, topics_per_document: int, seed: int, n: int, length: int) -> np.ndarray:
    """Values of least squared loss on n documents, their selected words asked for."""
    process = SupportMixture.disjoint(THEORY.n_topics, THEORY.words_per_topic, topics_per_document, length=length)
    rng = study.rng("sampled values", topics_per_document, seed)
    n_ids = process.vocab_size + 1
    moments = np.zeros((n_ids, n_ids))
    products = np.zeros((process.vocab_size, n_ids))
    for first in range(0, n, 1000):
        tokens = process.sample(min(1000, n - first), rng).tokens
        masked = mask_documents(tokens, MaskRates(), rng, mask_token=n_ids - 1, n_random_ids=process.vocab_size)
        seen = _counts(masked.shown, n_ids) / length
        asked = masked.selected.sum(axis=1)
        wanted = _counts(np.where(masked.selected, tokens, process.vocab_size), n_ids)[:, :-1]
        moments += (seen * asked[:, None]).T @ seen
        products += wanted.T @ seen
    return products @ np.linalg.pinv(moments, rcond=1e-12, hermitian=True)


def _counts(ids: np.ndarray, n_ids: int) -> np.ndarray:
    flat = ids + n_ids * np.arange(len(ids))[:, None]
    return np.bincount(flat.ravel(), minlength=len(ids) * n_ids).reshape(len(ids), n_ids).astype(float)


def _block_gap(values: np.ndarray) -> float:
    """Mean over pairs of one topic, a word with itself included, less the mean over other pairs."""
    n = len(values)
    classes = PairClasses.of(np.repeat(np.arange(THEORY.n_topics), THEORY.words_per_topic))
    words = values[:, :n]
    return float(words[classes.own | classes.same].mean() - words[classes.different].mean())


def _exact_claim(errors: dict[int, float]) -> Claim:
    return CRITERIA.claim(
        "values",
        id="topics-values",
        statement="Minimising the squared loss over the values gives the closed form, entry by entry, for two and four topics "
        "per document.",
        reference="optimal value matrix under uniform attention (theory; constants derived here)",
        measured="largest difference of an entry\n" + "\n".join(f"{tau} topics: {error:.1e}" for tau, error in errors.items()),
        control="by construction the closed form does not depend on the number of topics; the minimiser is found for each",
        numbers={"largest_error": list(errors.values())},
    )


def _sampled_claim(gaps: dict[int, np.ndarray], theory: float, n: int, length: int) -> Claim:
    over = gaps[2] / theory
    return CRITERIA.claim(
        "values-sampled",
        id="topics-values-sampled",
        statement="On sampled documents the best values separate topics by what the theory says, however many topics a "
        "document has.",
        reference=f"difference of blocks {theory:.4f}",
        measured=f"2 topics {estimate(seed_mean(gaps[2]), 4)}\n4 topics {estimate(seed_mean(gaps[4]), 4)}\n{len(over)} seeds "
        f"of {n:,} documents of {length:,} words; interval over seeds",
        control=f"labels at random: 0; over the theory {', '.join(f'{value:.3f}' for value in over)}",
        numbers={"gap_over_theory": over.tolist(), "four_over_two": float(gaps[4].mean() / gaps[2].mean())},
        figure="fig-topics-values-entries",
    )


def _entries_figure(fits: dict[int, list[np.ndarray]], length: int, n: int) -> FigureData:
    theory = setting_values(THEORY)
    finite = finite_length_values(THEORY, length)
    classes = PairClasses.of(np.repeat(np.arange(THEORY.n_topics), THEORY.words_per_topic))
    names = ["diagonal", "same topic", "another topic", "MASK"]

    def entries(values: np.ndarray) -> list[float]:
        return [*classes.means(values[:, :-1]), float(values[:, -1].mean())]

    sampled = seed_mean(np.array([entries(fit) for fit in fits[2]]))
    rows = [
        {"name": "sampled documents", "x": sampled.mean, "low": sampled.low, "high": sampled.high},
        {"name": f"exact for {length:,} words", "x": entries(finite)},
        {"name": "infinite documents, then no penalty", "x": [theory.same, theory.same, theory.different, theory.mask]},
    ]
    return FigureData(
        id="fig-topics-values-entries",
        kind="dots",
        title="The order of limits",
        caption=f"Mean entries of the best value matrix for two topics per document. Sampled: least squares on {n:,} documents "
        f"of {length:,} words, {len(fits[2])} seeds, 95 % t intervals over seeds.",
        alt=f"Mean entries by class ({', '.join(names)}), one marker each for sampled documents, the exact minimiser at their "
        "length, and the limit of infinite documents.",
        data={"x_title": "entry of the value matrix", "categories": names, "series": rows},
    )

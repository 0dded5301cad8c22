"""How near answers are to the exact posterior, in nats and as a share of what there is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.shared.calibration import calibration_axes, calibration_line
from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.divergence import kl_nats
from mechbp.figures.intervals import points
from mechbp.methods.probing.logistic import LogisticFit, fit_logistic
from mechbp.methods.probing.ridge import Spectrum
from mechbp.methods.statistics.answers import calibration
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.hidden_words import HiddenWords


@dataclass(frozen=True, eq=False)
class LinearLogits:
    """The best answers whose logits are linear in the counts of shown words: a rival that cannot take a logarithm."""

    spectrum: Spectrum
    fit: LogisticFit

    @classmethod
    def of(cls, documents: HiddenWords) -> LinearLogits:
        """Fit exact answers by cross-entropy."""
        spectrum = Spectrum.of(documents.histogram)
        return cls(spectrum, fit_logistic(spectrum, np.ascontiguousarray(documents.beliefs.predictive.T[:, None])))

    def answers(self, documents: HiddenWords) -> Float64[np.ndarray, "n word"]:
        """Return what it says of hidden words."""
        return self.fit.predict(self.spectrum.rotate(documents.histogram))[:, 0].T


@dataclass(frozen=True, eq=False)
class Answering:
    """Divergences of one run and its rivals, on the same documents."""

    subject: Subject
    documents: HiddenWords
    answers: Float64[np.ndarray, "n word"]
    """Of the model, at the position that is asked."""
    kl_nats: Interval
    share: Interval
    """KL(exact || model) over KL(exact || unigram)."""
    learnable_nats: Interval
    r2: float
    """Of probabilities: the part of their squared distance from the unigram's that is explained."""
    linear: Interval
    """The same share of the best linear logits."""
    random: Interval
    """And of random weights, mean over several."""


def answering(study: Study, subject: Subject, rival: LinearLogits) -> Answering:
    """Ask a run about documents, at all hidden words."""
    study.stage(f"{subject.name}: answers")
    documents = subject.hidden_words(study, "answers", study.size(1000, 100))
    exact = documents.beliefs.predictive
    everywhere = subject.answers(subject.run.model, documents.shown)
    kl = documents.kl_nats(everywhere)
    learnable = documents.learnable_nats
    untrained = np.mean([documents.kl_nats(subject.answers(model, documents.shown)) for model in subject.controls], axis=0)
    linear = kl_nats(exact, rival.answers(documents))

    def share(of: np.ndarray, name: str) -> Interval:
        return bootstrap_ratio(of, learnable, study.rng(subject.name, "share", name))

    asked = everywhere[:, 0]
    return Answering(
        subject,
        documents,
        asked,
        bootstrap_mean(kl, study.rng(subject.name, "kl")),
        share(kl, "model"),
        bootstrap_mean(learnable, study.rng(subject.name, "learnable")),
        float(1 - np.square(asked - exact).sum() / np.square(exact - documents.unigram).sum()),
        share(linear, "linear"),
        share(untrained, "random"),
    )


def answers_claim(found: Sequence[Answering]) -> Claim:
    """Every run is near the exact answers, or not."""
    close = CRITERIA["answers"].bounds["close"]
    return CRITERIA.claim(
        "answers",
        id="answers",
        statement=f"Ordinary transformers answer as the exact posterior over topics does, to {close:.0%} of what there is to "
        "learn.",
        reference="the theory's layer has uniform attention and logits linear in a histogram; exact answers need its logarithm",
        measured="\n".join(
            f"{one.subject.name}: KL(exact || model) {estimate(one.kl_nats, 4, 'nats')}, a share of {estimate(one.share, 3)}; "
            f"R² of probabilities {one.r2:.3f}; {len(one.documents.shown):,} documents"
            for one in found
        ),
        control="\n".join(
            f"{one.subject.name}: best logits linear in the counts {estimate(one.linear, 3)}, random weights "
            f"{estimate(one.random, 2)}; unigram 1 ({float(one.learnable_nats.mean):.3f} nats)"
            for one in found
        ),
        numbers={
            "share_high": [float(one.share.high) for one in found],
            "linear_share": [float(one.linear.mean) for one in found],
            "random_share": [float(one.random.mean) for one in found],
            "kl_nats": [float(one.kl_nats.mean) for one in found],
        },
        figure="fig-answers",
    )


def answers_section(study: Study, found: Sequence[Answering]) -> Section:
    """Return the section with its figures."""
    rate = found[0].subject.hidden_share
    text = (
        f"A document draws proportions of topics and then its words. {rate:.0%} of them, at least one, show MASK, and the model "
        "is asked for those. Given the proportions words are exchangeable, so that all hidden words of a document have one exact "
        "answer, the predictive of the posterior over proportions given the words shown. What there is to learn is how far that "
        "is, on average, from the word frequencies of all documents, KL(exact || unigram).",
        "For topics without shared words the exact answer is linear in the counts of shown words, and its logits are their "
        "logarithms. A block without an MLP reads sums over words and turns them into logits by layer normalisation alone. The "
        "best logits linear in the counts, fitted to the exact answers for other documents, show what a sum over words can do.",
    )
    series = [
        {"name": "the model", **points([one.share for one in found], "x")},
        {"name": "best logits linear in the counts", **points([one.linear for one in found], "x"), "control": True},
        {"name": "random weights", **points([one.random for one in found], "x"), "control": True},
    ]
    near = FigureData(
        id="fig-answers",
        kind="dots",
        title="How far answers are from exact inference",
        caption="KL(exact || answer) at hidden words over KL(exact || unigram), logarithmic, with 95 % bootstrap intervals over "
        "documents. 0 is exact inference, 1 the answer of one who reads nothing. Hollow: rivals and random weights.",
        alt="Share of what can be learnt that is missed, by run, beside the best linear logits and random weights.",
        data={
            "x_title": "KL(exact || answer) / KL(exact || unigram)",
            "x_log": True,
            "categories": [one.subject.name for one in found],
            "series": series,
            "references": [{"name": "unigram", "x": 1.0}],
        },
    )
    return Section("answers", "Does the transformer answer as the posterior does?", text, (near, _calibration(study, found)))


def _calibration(study: Study, found: Sequence[Answering]) -> FigureData:
    """Probabilities of topics: words grouped by the topic that uses them most, so that they reach from 0 to 1."""
    series = []
    for one in found:
        topics = one.subject.process.word_given_topic
        member = (topics.argmax(axis=0)[:, None] == np.arange(len(topics))).astype(np.float64)
        exact, stated = (values @ member for values in (one.documents.beliefs.predictive, one.answers))
        rng = study.rng(one.subject.name, "calibration")
        line = calibration_line(one.subject.name, calibration(exact[:, None], stated[:, None], rng, bins=20))
        series.append(line)
    return FigureData(
        id="fig-calibration",
        kind="scatter",
        title="Probability of a topic's words, exact where the model states it",
        caption="Words grouped by the topic that uses them most. Mean exact probability of a group over the documents for which "
        "the model states about as much, in 20 bins, with 95 % intervals over documents; on the line both are equal.",
        alt="Mean exact probability against stated probability of groups of words, one series per run, with the identity line.",
        data=calibration_axes("exact probability") | {"series": series},
    )

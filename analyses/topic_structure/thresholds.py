"""The numbers that runs of theory's one-layer model are held to, from the same measurements as the page, for `mechbp verify`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyses.topic_structure.attention import same_over_different
from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.documents import documents_of, is_attention
from analyses.topic_structure.overlap import is_overlapping, linear_excess
from analyses.topic_structure.trained import contrast, corpus_of, is_hidden_values, measure
from mechbp.models.runs import Run
from mechbp.models.verify import Check
from mechbp.study import Study
from mechbp.theory.topics.floors import squared_contrast
from mechbp.theory.topics.linear_logits import best_linear_logits


def thresholds(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield the thresholds of every run that the page knows how to judge."""
    for run in study.runs:
        if is_hidden_values(run):
            checks = _values(study, run)
        elif is_attention(run):
            checks = _attention(study, run)
        elif is_overlapping(run) and run.config.model.regime == "wv":
            checks = _overlap(study, run)
        else:
            continue
        for check in checks:
            yield run.name, check


def _values(study: Study, run: Run) -> Iterator[Check]:
    held = measure(study, run)
    bounds = CRITERIA["values-hidden"].bounds
    floors = held.floors
    if run.config.objective.loss == "cross-entropy":
        linear = best_linear_logits(corpus_of(run)).ce_nats
        ce = float(held.loss.sum() / floors.n_targets.sum())
        what = f"cross-entropy within {bounds['near_nats']} nats of the best linear logits, {linear:.4f}"
        yield Check.of(what, f"{ce:.4f}", abs(ce - linear) <= bounds["near_nats"])
        return
    n_words = run.process.vocab_size
    skill = 1 - float(held.excess.sum() / ((1 - 1 / n_words) * floors.n_targets - floors.squared).sum())
    yield Check.of(
        f"share of the learnable squared loss >= {bounds['least_skill']}", f"{skill:.4f}", skill >= bounds["least_skill"]
    )
    theory = squared_contrast(corpus_of(run)) / run.config.process.words_per_topic
    found = contrast(run)
    what = f"contrast within {bounds['near']:.0%} of {theory:.6f}"
    yield Check.of(what, f"{found:.6f}", abs(found / theory - 1) <= bounds["near"])


def _attention(study: Study, run: Run) -> Iterator[Check]:
    found = same_over_different(study, run.name, documents_of(study, run).by_class)
    least = CRITERIA["attention"].bounds["least_ratio"] if run.config.model.regime == "kq" else 1.0
    shown = f"{float(found.mean):.2f} [{float(found.low):.2f}, {float(found.high):.2f}]"
    passed = bool(found.mean > least and found.low > 1)
    yield Check.of(f"attention to the same over another topic > {least:g}, interval above 1", shown, passed)


def _overlap(study: Study, run: Run) -> Iterator[Check]:
    most = CRITERIA["overlap"].bounds["most"]
    excess = float(np.asarray(linear_excess(study, run).mean))
    yield Check.of(f"excess over the best linear predictor < {most:.0%}", f"{excess:+.2%}", excess < most)

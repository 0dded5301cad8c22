"""One word of a document exchanged: whether the answer moves as exact inference says, and where the word is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from analyses.topic_transformers.answers import LinearLogits
from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.methods.statistics.line_fit import LineFit, line_fit
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, panel
from mechbp.study import Study
from mechbp.theory.topics.exchanged_words import ExchangedWords, exchanged_words
from mechbp.theory.topics.hidden_words import HiddenWords

PLACE = 1
"""Where the exchanged word stands; order means nothing in a document."""
CELLS = ("asked position", "exchanged word", "all other positions")


@dataclass(frozen=True, eq=False)
class SingleWords:
    """Changes of log-odds, exact and the model's, and what patching says of their way through the network."""

    subject: Subject
    exchanged: ExchangedWords
    change: Float64[np.ndarray, " pair"]
    """The model's."""
    fit: LineFit
    """The model's change against the exact one."""
    linear: LineFit
    """The same of the best logits linear in the counts."""
    random: LineFit
    effects: PatchEffects
    """Denoising from the document after the exchange into the one before, [stage x cell]."""


def single_words(study: Study, subject: Subject, rival: LinearLogits) -> SingleWords:
    """Exchange words, and patch their way."""
    study.stage(f"{subject.name}: single words")
    shown = subject.documents(study, "single words", study.size(600, 60))
    exchanged = exchanged_words(subject.process, shown, PLACE, study.rng(subject.name, "exchange"))
    before, after = (HiddenWords.of(subject.process, ids) for ids in (exchanged.before, exchanged.after))

    def model_change(model: object) -> Float64[np.ndarray, " pair"]:
        return exchanged.change(*(subject.answers(model, ids)[:, 0] for ids in (exchanged.before, exchanged.after)))

    def fit(change: np.ndarray, name: str) -> LineFit:
        return line_fit(exchanged.exact_change, change, study.rng(subject.name, "line", name))

    change = model_change(subject.run.model)
    linear = exchanged.change(rival.answers(before), rival.answers(after))
    return SingleWords(
        subject,
        exchanged,
        change,
        fit(change, "model"),
        fit(linear, "linear"),
        fit(model_change(subject.controls[0]), "random"),
        _patched(study, subject, exchanged),
    )


def _patched(study: Study, subject: Subject, exchanged: ExchangedWords) -> PatchEffects:
    some = slice(0, study.size(64, 12))
    new, old = (torch.from_numpy(words[some])[:, None] for words in (exchanged.new, exchanged.old))

    def log_odds(logits: Tensor) -> Tensor:
        asked = logits[:, 0]
        return (asked.gather(1, new) - asked.gather(1, old))[:, 0]

    others = tuple(place for place in range(exchanged.before.shape[1]) if place not in (0, PLACE))
    return patch(
        subject.run.model,
        exchanged.after[some],
        exchanged.before[some],
        log_odds,
        list(subject.stages.values()),
        positions=[0, PLACE, others],
        rng=study.rng(subject.name, "patching"),
    )


def single_words_claim(found: Sequence[SingleWords]) -> Claim:
    """The answer moves as far as exact inference moves."""
    bounds = CRITERIA["single-words"].bounds
    return CRITERIA.claim(
        "single-words",
        id="single-words",
        statement="With one word exchanged, the log-odds of the new word over the old one move as in exact inference: "
        f"correlation at least {bounds['correlated']}, slope within {bounds['off_slope']} of 1.",
        reference="exact: a word of a topic that a document lacks moves the odds by far more than one of a topic that it is full "
        "of",
        measured="\n".join(
            f"{one.subject.name}: correlation {estimate(one.fit.correlation, 3)}, slope {estimate(one.fit.slope, 3)}; exact "
            f"changes of {one.exchanged.exact_change.mean():.2f} ± {one.exchanged.exact_change.std():.2f} nats, "
            f"{len(one.exchanged):,} pairs"
            for one in found
        ),
        control="\n".join(
            f"{one.subject.name}: best linear logits: correlation {estimate(one.linear.correlation, 2)}, slope "
            f"{estimate(one.linear.slope, 2)}; random weights: slope {estimate(one.random.slope, 2)}"
            for one in found
        ),
        numbers={
            "pairs": [len(one.exchanged) for one in found],
            "correlation_low": [float(one.fit.correlation.low) for one in found],
            "slope": [float(one.fit.slope.mean) for one in found],
            "linear_correlation": [float(one.linear.correlation.mean) for one in found],
        },
        figure="fig-single-words",
    )


def single_words_section(study: Study, found: Sequence[SingleWords]) -> Section:
    """Return the section with its figures."""
    text = (
        "One shown word becomes another, of a topic that the old word does not have, and the log-odds of the new word over the "
        "old one at the asked position move, for exact inference by much where a topic was rare in the document and by little "
        "where it was frequent. Logits linear in the counts move by the same amount for a pair of words, whatever the document.",
        "Patching writes the activations of the document after the exchange into the run on the one before, at the asked "
        "position, at the exchanged word, or at all others: 1 is the whole change of the model's log-odds. It shows where the "
        "word is, stage by stage, on its way to the answer.",
    )
    n = study.size(150, 40)
    series = [
        {"name": one.subject.name, "x": np.round(one.exchanged.exact_change[:n], 3), "y": np.round(one.change[:n], 3)}
        for one in found
    ]
    drawn = FigureData(
        id="fig-single-words",
        kind="scatter",
        title="Change of log-odds with one word exchanged",
        caption=f"One point per pair of documents, {n} per run; on the line the model moves as exact inference does. Nats.",
        alt="The model's change of log-odds against the exact one, one series per run, with the identity line.",
        data={
            "x_title": "exact change (nats)", "y_title": "the model's change (nats)", "identity": True, "series": series,
        },
    )  # fmt: skip
    return Section("single-words", "Do single words move the answer as they must?", text, (drawn, _patching(found)))


def _patching(found: Sequence[SingleWords]) -> FigureData:
    panels = []
    for one in found:
        effects = one.effects.normalized_effect
        rows = list(one.subject.stages)
        where = np.arange(len(rows) * len(CELLS)).reshape(len(rows), len(CELLS))
        panels.append(panel(one.subject.name, effects[where]) | {"rows": rows})
    stages = max((list(one.subject.stages) for one in found), key=len)
    return FigureData(
        id="fig-patching",
        kind="heatmap",
        title="Where the exchanged word is",
        caption="Share of the model's own change of log-odds that a patch brings back, mean over pairs; 95 % intervals in hover "
        "and table.",
        alt="Heat maps of patching effects, stages in rows, patched positions in columns, one panel per run.",
        data={
            "rows": stages, "columns": list(CELLS), "row_title": "patched", "column_title": "position", "value_title": "share",
            "range": [0, 1], "cell_text": True, "panel_columns": 2, "panels": panels,
        },
    )  # fmt: skip

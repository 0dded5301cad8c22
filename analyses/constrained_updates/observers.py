"""Which observer describes each stage of a deeper model best: the one who adds up, or the exact one?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.criteria import CRITERIA
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, NAIVE, Corpus, stages, trained_on, trained_on_exact
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed
from mechbp.study import Study
from mechbp.theory.chain.prefix_probe import word_probe

FLOOR = 1e-6
"""What float32 activations can tell of 1 - R²; smaller values are drawn here."""


@dataclass(frozen=True, eq=False)
class ObserverScores:
    """1 - R² on other words, of every observer at every stage."""

    corpus: Corpus
    stages: list[str]
    oracles: list[str]
    missed: np.ndarray
    """[stage, observer]"""
    untrained: np.ndarray

    def at(self, stage: str, oracle: str) -> float:
        """1 - R² of one observer at one stage."""
        return float(self.missed[self.stages.index(stage), self.oracles.index(oracle)])


def score_observers(study: Study, run: Run, length: int) -> ObserverScores:
    """Regress every observer on every stage, with and without training."""
    study.stage(f"{run.name}: observers at every stage")
    corpus = Corpus.of(run, length)
    where = stages(run)
    tables = []
    for model in (run.model, run.untrained(1)):
        found = corpus.activations(model, where)
        rng = study.rng(run.name, "race")
        scores = [word_probe(c, corpus.oracles, corpus.words, rng=rng, repeats=study.size(20, 4)) for c in found.values()]
        missed = [[1 - score[oracle].held_out_r2 for oracle in corpus.oracles] for score in scores]
        tables.append(np.maximum(missed, FLOOR))
    return ObserverScores(corpus, list(where), list(corpus.oracles), tables[0], tables[1])


def observers_section(found: list[ObserverScores]) -> Section:
    """Return the section with its figures."""
    text = (
        "Every stage of a deeper model is regressed on every observer: the exact belief, the constrained one, naive Bayes, and "
        "exact observers who remember the last 1, 2 or 3 tokens. Scores are 1 - R² on other words, for raw errors favour "
        "targets of small variance.",
    )
    return Section("race", "Deeper models: from the constrained to the exact belief", text, tuple(map(_figure, found)))


def _figure(found: ObserverScores) -> FigureData:
    run = found.corpus.run
    random = found.untrained
    series = [{"name": oracle, "x": found.missed[:, i], "color": i} for i, oracle in enumerate(found.oracles)] + [
        {"name": f"random weights, {FULL}", "x": random[:, found.oracles.index(FULL)], "control": True}
    ]
    return FigureData(
        id=f"fig-{run.name}-race",
        kind="dots",
        title=f"{run.name}: which observer describes each stage",
        caption=f"1 - R² on words that were not fitted, {found.corpus.words.n_prefixes:,} prefixes; the observer farthest to "
        f"the left describes the stage best; values below {FLOOR:g} are raised to it. {run.config.process.name}, trained on "
        f"{trained_on(run)}.",
        alt="1 - R² by stage, on a logarithmic axis, one series per observer, and the exact one for random weights.",
        data={"x_title": "1 - R²", "x_log": True, "categories": found.stages, "series": series},
    )  # fmt: skip


def observers_claim(found: ObserverScores) -> Claim:
    """Return whether the constrained belief leads at the first Mid and the exact one soon after."""
    run = found.corpus.run
    first = "layer 1 mid"
    handed = [stage for stage in ("layer 1", "layer 2") if stage in found.stages]
    flips = [
        stage for stage in found.stages[found.stages.index(first) + 1 :] if found.at(stage, FULL) < found.at(stage, CONSTRAINED)
    ]
    asked = [stage for stage in (first, "layer 1", "layer 2 mid", "layer 2") if stage in found.stages]
    rivals = [oracle for oracle in found.oracles if not oracle.startswith("last")]  # the last token itself is in the stream
    best = min(rivals, key=lambda oracle: found.at(first, oracle))
    printed = published.OBSERVERS_MSE.get(published.setting_of(run) or (0.0, 0.0))
    random = found.untrained[found.stages.index(first)]
    return CRITERIA.claim(
        "handover-exact" if trained_on_exact(run) else "handover",
        id=f"{run.name}-handover",
        statement=f"{run.name}, trained on {trained_on(run)}, one seed, is described best by the constrained belief after its "
        "first attention, and better by the exact one after the first or second block.",
        reference=f"{published.NAME}: MSE {printed[0]:g} constrained, {printed[1]:g} exact at the first Mid (Fig. A6, on tokens)"
        if printed
        else "none",
        measured=f"{first}: 1 - R² {found.at(first, CONSTRAINED):.4f} constrained, {found.at(first, FULL):.4f} exact, "
        f"{found.at(first, NAIVE):.4f} naive Bayes\n"
        + "\n".join(f"{s}: {found.at(s, CONSTRAINED):.4f} constrained, {found.at(s, FULL):.4f} exact" for s in handed)
        + f"\nexact leads from {flips[0] if flips else 'nowhere'} on\nbest of {listed(rivals)} at {first}: {best}",
        control=f"random weights at {first}: {random[found.oracles.index(CONSTRAINED)]:.4f} constrained, "
        f"{random[found.oracles.index(FULL)]:.4f} exact",
        numbers={
            "constrained_missed": [found.at(stage, CONSTRAINED) for stage in asked],
            "exact_missed": [found.at(stage, FULL) for stage in asked],
            "naive_missed": found.at(first, NAIVE),
        },
        figure=f"fig-{run.name}-race",
    )

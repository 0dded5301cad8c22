"""Does the answer depend on the grammar? The ladder of oracles of each, and where a model trained on it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.tree_robustness.criteria import CRITERIA
from mechbp.divergence import expected_hits, kl_nats
from mechbp.figures.intervals import points
from mechbp.methods.statistics.answers import nearest
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.rival_oracles import OracleLeads, oracle_leads
from mechbp.models.answers import model_answers
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed
from mechbp.study import Study

HEADINGS = {"root": "Root", "masked": "Masked leaf"}


@dataclass(frozen=True, eq=False)
class OnGrammar:
    """One run on data of its own grammar."""

    run: Run
    ladder: np.ndarray
    """Accuracy of BP_k on the run's own data."""
    accuracy: Interval
    untrained: float
    nearest_level: int
    leads: OracleLeads

    @property
    def label(self) -> str:
        """The run and its grammar."""
        return f"{self.run.name} (grammar {self.run.config.process.seed}, {self.run.config.objective.targets})"


def study_grammars(study: Study, task: str, runs: Sequence[Run]) -> tuple[list[Claim], Section]:
    """Compare runs of one task that differ in their grammar."""
    measured = [_measure(study, run) for run in runs]
    n = measured[0].accuracy.n
    text = (
        "Every grammar is drawn by the same recipe from another seed. A grammar decides how far the rungs of its ladder are "
        "from each "
        "other: where two oracles all but agree, no model can be told to follow one of them.",
    )
    figure = FigureData(
        id=f"fig-grammars-{task}",
        kind="dots",
        title=f"{HEADINGS[task]}: accuracy on each grammar, of the model and of every oracle",
        caption="Expected accuracy on data of filter level 0, with 95 % intervals over sequences for the model; oracles on the "
        "same "
        f"sequences. n = {n:,} per run; one training seed each.",
        alt="Accuracy of the model, with intervals, and of every oracle: one row per run.",
        data={
            "x_title": "accuracy",
            "categories": [found.label for found in measured],
            "series": [
                {"name": "model", **points([found.accuracy for found in measured], "x"), "color": 0},
                *(
                    {"name": f"BP_{k}", "x": [float(found.ladder[k]) for found in measured], "color": k, "control": True}
                    for k in range(len(measured[0].ladder))
                ),
            ],
        },
    )
    section = Section(f"grammars-{task}", f"{HEADINGS[task]}: other grammars", text, (figure,))
    return [_claim(task, measured, n)], section


def _measure(study: Study, run: Run) -> OnGrammar:
    study.stage(f"{run.name}: other grammars")
    process = run.process
    n = study.size(*{"masked": (512, 24), "root": (4096, 256)}[run.config.objective.task])
    tokens = process.sample(n, study.rng(run.name, "grammar")).tokens
    own = run.config.process.filter_level
    oracles = [run.task.exact(FilteredTree(process.grammar, process.depth, k), tokens) for k in range(process.depth + 1)]
    answers = model_answers(run.model, run.task, process, tokens)
    few = slice(max(16, n // 8))
    random = model_answers(run.untrained(seed=1), run.task, process, tokens[few])
    divergences = np.stack([kl_nats(answers, oracle).mean(axis=1) for oracle in oracles], axis=1)
    return OnGrammar(
        run=run,
        ladder=np.array([expected_hits(oracles[own], oracle).mean() for oracle in oracles]),
        accuracy=bootstrap_mean(expected_hits(oracles[own], answers).mean(axis=1), study.rng(run.name, "accuracy")),
        untrained=float(expected_hits(oracles[own][few], random).mean()),
        nearest_level=nearest(divergences, study.rng(run.name, "nearest"))[0],
        leads=oracle_leads(oracles, own, answers, study.rng(run.name, "leads")),
    )


def _claim(task: str, measured: Sequence[OnGrammar], n: int) -> Claim:
    numbers = [found.leads.numbers() for found in measured]
    seeds = sorted({found.run.config.process.seed for found in measured})
    lines = [
        f"{found.label}: accuracy {estimate(found.accuracy, 3)}, BP_0 to BP_{len(found.ladder) - 1} "
        + ", ".join(f"{value:.3f}" for value in found.ladder)
        + f"; nearest BP_{found.nearest_level}; KL of the next oracle less the model's "
        f"{estimate(found.leads.closer_nats[found.leads.next], 4)} nats"
        for found in measured
    ]
    return CRITERIA.claim(
        "grammars",
        id=f"grammars-{task}",
        statement=f"On {'grammar' if len(seeds) == 1 else 'grammars'} {listed([str(seed) for seed in seeds])} alike the "
        f"{HEADINGS[task].lower()} model answers as its own oracle and no other: it loses less, is nearer to it than to any "
        "other, and "
        "is right more often than the next.",
        reference="the paper's Fig. 7: on other grammars the same picture, of other difficulty",
        measured="\n".join([*lines, f"n = {n:,} sequences each, one training seed"]),
        control="random weights, accuracy: " + ", ".join(f"{found.untrained:.2f}" for found in measured),
        numbers={
            **{name: [row[name] for row in numbers] for name in numbers[0]},
            "grammars": len(seeds),
        },
        figure=f"fig-grammars-{task}",
    )

"""Claim: a trained transformer answers as exact inference on its process does, whatever the family of processes.

The one page that knows no setting: it asks what the run's task asks, of any process that offers exact answers. Rivals: the same
architecture with random weights, the constant answer that ignores the sequence, and oracles that know less of the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyses.shared.calibration import calibration_axes, calibration_density, calibration_line
from mechbp.divergence import kl_nats
from mechbp.methods.statistics.answers import Calibration, calibration
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.answers import ask, model_answers
from mechbp.models.metrics import divergence_names
from mechbp.models.runs import Run
from mechbp.models.tasks.task import own_oracle
from mechbp.report.claim import Claim
from mechbp.report.criteria import Criteria
from mechbp.report.document import FigureData, Section
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import estimate, listed
from mechbp.study import ANY, Findings, Page, Study

CRITERIA = Criteria.read(Path(__file__).with_name("criteria.toml"))
SEQUENCES, QUICK_SEQUENCES = 2048, 256
UNTRAINED, CONSTANT = "random weights", "constant answer"


@dataclass(frozen=True, eq=False)
class Answers:
    """One run's answers held against the exact ones, beside its rivals', on held-out sequences."""

    run: Run
    n: int
    model: Interval
    """KL(exact || model), nats, mean over the queries of a sequence."""
    untrained: Interval
    """The same of random weights."""
    constant: Interval
    """The same of each query's mean exact answer: what is lost by ignoring the sequence, so what there is to learn."""
    oracles: dict[str, Interval]
    """The same of oracles that know less of the process, by name."""
    over: dict[str, Interval]
    """How much more each rival misses than the model on the same sequences: random weights, the constant answer, oracles."""
    calibration: Calibration
    untrained_calibration: Calibration


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    measured = [measure(study, run) for run in study.runs]
    claims = [claim for found in measured for claim in (_exact_claim(found), _calibrated_claim(found))]
    return claims, [_section(found) for found in measured]


def measure(study: Study, run: Run) -> Answers:
    """Ask a run, its untrained twin and every oracle about the same sequences."""
    study.stage(f"{run.name}: answers")
    asked = ask(run.task, run.process, study.size(SEQUENCES, QUICK_SEQUENCES), study.rng(run.name, "answers"))
    exact = run.task.exact(run.process, asked.tokens)
    answers = model_answers(run.model, run.task, run.process, asked.tokens)
    untrained = model_answers(run.untrained(seed=1), run.task, run.process, asked.tokens)
    constant = np.broadcast_to(exact.mean(axis=0), exact.shape)
    others = {name: oracle for name, oracle in run.task.oracles(run.process).items() if oracle is not run.process}

    rivals = {UNTRAINED: untrained, CONSTANT: constant}
    rivals |= {name: run.task.exact(oracle, asked.tokens) for name, oracle in others.items()}
    own = kl_nats(exact, answers).mean(axis=1)

    def missed(found: np.ndarray, label: str) -> Interval:
        return bootstrap_mean(kl_nats(exact, found).mean(axis=1), study.rng(run.name, "missed", label))

    def over(found: np.ndarray, label: str) -> Interval:
        return bootstrap_mean(kl_nats(exact, found).mean(axis=1) - own, study.rng(run.name, "over", label))

    return Answers(
        run=run,
        n=len(asked.tokens),
        model=missed(answers, "model"),
        untrained=missed(untrained, "untrained"),
        constant=missed(constant, "constant"),
        oracles={name: missed(rivals[name], name) for name in others},
        over={name: over(found, name) for name, found in rivals.items()},
        calibration=calibration(exact, answers, study.rng(run.name, "calibration")),
        untrained_calibration=calibration(exact, untrained, study.rng(run.name, "calibration", "untrained")),
    )


def _exact_claim(found: Answers) -> Claim:
    name = found.run.name
    most = CRITERIA["exact"].bounds["most_missed"]
    return CRITERIA.claim(
        "exact",
        id=f"{name}-exact",
        statement=f"{name} gives the exact answer but for at most {most:.0%} of the nats that a sequence tells, and misses fewer "
        f"on the same sequences than {listed(list(found.over))}.",
        reference="no published reference",
        measured=f"KL(exact || model) {_nats(found.model)}\nof {_nats(found.constant)} that a sequence tells\n"
        f"n = {found.n:,} sequences",
        control="misses more by\n" + "\n".join(f"{rival} {_nats(interval)}" for rival, interval in found.over.items()),
        numbers={
            "kl_high_nats": found.model.high,
            "learnable_nats": found.constant.mean,
            "untrained_over_low": found.over[UNTRAINED].low,
            "constant_over_low": found.over[CONSTANT].low,
            "oracle_over_low": [found.over[oracle].low for oracle in found.oracles],
        },
        figure=f"fig-{name}-missed",
    )


def _calibrated_claim(found: Answers) -> Claim:
    name = found.run.name
    most = CRITERIA["calibrated"].bounds["most_error"]
    return CRITERIA.claim(
        "calibrated",
        id=f"{name}-calibrated",
        statement=f"Where {name} states a probability, the exact one is on average the same, within {most:g}.",
        reference="no published reference",
        measured=f"mean |stated - exact| over bins {found.calibration.error:.4f}\nn = {found.n:,} sequences",
        control=f"random weights {found.untrained_calibration.error:.4f}\n"
        "the constant answer: 0 by construction, so that being calibrated says nothing of how much is known",
        numbers={
            "calibration_error": found.calibration.error,
            "untrained_error": found.untrained_calibration.error,
        },
        figure=f"fig-{name}-calibration",
    )


def _section(found: Answers) -> Section:
    run = found.run
    trained = (
        f"was trained elsewhere; it is asked about {run.config.process.name}, task {run.config.objective.task}: "
        f"{found.n:,} sequences, in eval mode."
        if run.given
        else f"was trained on {run.config.process.name} ({run.config.objective.targets}, task "
        f"{run.config.objective.task}), {run.steps[-1]:,} steps of {run.config.training.batch_size:,} sequences. It is asked "
        f"what its task asks about {found.n:,} sequences that training did not see, in eval mode."
    )
    text = (
        f"`{run.name}` {trained}",
        "The constant answer is the mean exact answer to each query: whoever ignores the sequence can do no better, so its "
        "divergence is what there is to learn.",
    )
    return Section(f"run-{run.name}", run.name, text, (_missed_figure(found), _calibration_figure(found), _curve_figure(run)))


def _missed_figure(found: Answers) -> FigureData:
    rows = {found.run.name: found.model, **found.oracles}
    controls = {"random weights": found.untrained, "constant answer": found.constant}
    names = [*rows, *controls]
    series = [
        {"name": "model and oracles", **_column([*rows.values(), *(None for _ in controls)])},
        {"name": "controls", **_column([*(None for _ in rows), *controls.values()]), "control": True},
    ]
    return FigureData(
        id=f"fig-{found.run.name}-missed",
        kind="dots",
        title=f"{found.run.name}: nats missed",
        caption=f"Mean KL(exact || answer) with 95 % bootstrap intervals over {found.n:,} sequences.",
        alt=f"Mean KL(exact || answer) in nats, one row per answerer: {', '.join(names)}; controls are hollow.",
        data={"x_title": "KL(exact || answer) (nats)", "categories": names, "series": series},
    )


def _column(intervals: list[Interval | None]) -> dict[str, list[float | None]]:
    """Values of a series, with gaps."""
    ends = {"x": "mean", "low": "low", "high": "high"}
    return {key: [None if one is None else float(getattr(one, end)) for one in intervals] for key, end in ends.items()}


def _calibration_figure(found: Answers) -> FigureData:
    result = found.calibration
    line = calibration_line("mean exact probability per bin", result) | {"color": 1}
    return FigureData(
        id=f"fig-{found.run.name}-calibration",
        kind="scatter",
        title=f"{found.run.name}: calibration",
        caption=f"How often each pair of stated and exact probability occurs, all queries and symbols of {found.n:,} sequences. "
        f"Mean |stated - exact| over bins: {result.error:.4f}.",
        alt="Exact probability against the probability that the model states, binned counts and the mean per bin, with the "
        "diagonal where both are equal.",
        data=calibration_axes("exact probability") | {"series": [line], "density": calibration_density(result)},
    )


def _curve_figure(run: Run) -> FigureData:
    place = (f"fig-{run.name}-curve", "lines", f"{run.name}: along training")
    lines = [line for line in run.metrics if 0 < line["step"] <= run.steps[-1]]
    if not lines:
        why = "the run was trained elsewhere" if run.given else "the run has no metrics.jsonl"
        return FigureData(*place, "", "", status="skipped", reason=why)
    key, _ = divergence_names(own_oracle(run.task, run.process))
    series = {"name": run.name, "x": [line["sequences"] for line in lines], "y": [max(line[key], 1e-9) for line in lines]}
    return FigureData(
        *place,
        caption="KL(exact || model) on 512 held-out sequences at every measured step.",
        alt="KL(exact || model) in nats against training sequences, both axes logarithmic.",
        data={
            "x_title": "training sequences",
            "x_log": True,
            "y_title": "KL(exact || model) (nats)",
            "y_log": True,
            "series": [series],
        },
    )


def _nats(interval: Interval) -> str:
    """An interval in nats, in powers of ten where it is small."""
    if float(interval.high) >= 0.01:
        return estimate(interval, 4, "nats")
    return f"{float(interval.mean):.2e} [{float(interval.low):.2e}, {float(interval.high):.2e}] nats"


PAGE = Page(
    title="Does the model give the exact answer?",
    lead="Runs of every family are asked on held-out sequences and compared with exact inference, with the constant answer that "
    "ignores the sequence, and with random weights. Made for a run of your own it needs no more than its recipe.",
    runs=("tree-mlm-k0", "mess3-s24"),
    family=ANY,
    study=study_page,
    by_run=True,
    opening=Opening(
        telling="fig-tree-mlm-k0-missed",
        result=(
            Said(
                "A tree model and a chain model give the exact answer but for at most 5 % of the nats that a "
                "sequence tells, and where they state a probability, the exact one is on average the same.",
                {
                    "holds": ("tree-mlm-k0-exact", "tree-mlm-k0-calibrated", "mess3-s24-exact", "mess3-s24-calibrated"),
                },
            ),
        ),
    ),
)

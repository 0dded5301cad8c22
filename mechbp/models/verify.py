"""Hold a run against what its recipe requires, after checking that its files are what was stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import CheckpointError, InputError
from mechbp.models.answers import ask, model_answers
from mechbp.models.llc_records import FILE, asked_steps, digest_of, read_llc, read_records, why_stale
from mechbp.models.own_process import check_code
from mechbp.models.run_folder import step_file
from mechbp.models.runs import Run
from mechbp.models.training import measure
from mechbp.randomness import rng

CURVE_TOLERANCE_NATS = 1e-6
FEW_NATS = 1e-3
"""Smaller divergences are printed as powers of ten."""
NOT_ASKED = ", no bound asked"
"""Where a recipe has no [requirement] for a number, which then passes whatever it is."""
VERIFY_SEED = 20_000_000
"""Held-out sequences that neither training nor its curves have seen."""


@dataclass(frozen=True)
class Check:
    """One line of `mechbp verify`."""

    what: str
    measured: str
    verdict: str
    """"pass", "short" (a number was not reached) or "FAIL" (a file is not what it should be)."""

    @classmethod
    def of(cls, what: str, measured: str, reached: bool) -> Check:
        """Return "pass" where a number was reached, "short" where not."""
        return cls(what, measured, "pass" if reached else "short")


def verify_run(run: Run, sequences: int | None = None) -> Iterator[Check]:
    """Yield one check per promise: stored steps intact, requirement met; statistical ones with a 95 % interval over sequences.

    sequences: ask at most so many new ones; by default as many as the task wants for a narrow interval.
    """
    files = _check_files(run)
    yield files
    if files.verdict != "pass":
        return
    if run.config.names_code:
        yield _check_process(run)
    if not run.complete:
        reached = f"no: stopped at step {run.steps[-1]:,} of {run.config.training.steps:,}"
        yield Check("training complete", f"{reached}. {_next(run, 'train')}", "short")
    yield _check_curve(run)
    if (run.folder / FILE).exists():
        yield _check_measurements(run)
    wanted = run.config.requirement
    n = min(run.task.verified_sequences, sequences or run.task.verified_sequences)
    asked = ask(run.task, run.process, n, rng(VERIFY_SEED, "verify"))
    exact = run.task.exact(run.process, asked.tokens)
    found = model_answers(run.model, run.task, run.process, asked.tokens)
    kl = _over_sequences(kl_nats(exact, found))
    hit = _over_sequences(found.argmax(-1) == asked.truth)
    gap = _over_sequences(expected_hits(exact, exact) - expected_hits(exact, found))
    most_nats = wanted.kl_bp_to_model_nats
    shown = _interval(kl, 5) if kl[0] >= FEW_NATS else _interval(kl, 2, "e")
    bound = f" <= {most_nats:g} nats" if most_nats < math.inf else NOT_ASKED
    yield Check.of(f"KL(exact || model){bound}", shown, kl[0] <= most_nats)
    bound = f" >= {wanted.accuracy:g}" if wanted.accuracy > 0 else NOT_ASKED
    yield Check.of(f"accuracy{bound}", _interval(hit, 4), hit[0] >= wanted.accuracy)
    bound = f" <= {wanted.accuracy_below_bp:g}" if wanted.accuracy_below_bp < 1 else NOT_ASKED
    yield Check.of(f"accuracy below exact{bound}", _interval(gap, 5), gap[0] <= wanted.accuracy_below_bp)


def _check_files(run: Run) -> Check:
    size = 0
    for step in run.steps:
        path = step_file(run.folder, step)
        try:
            run.at(step)
        except CheckpointError as error:
            return Check("stored steps intact", _one_line(error), "FAIL")
        size = max(size, path.stat().st_size)
    if not run.steps:
        return Check("stored steps intact", f"none: the run is not trained yet. {_next(run, 'train')}", "short")
    return Check("stored steps intact", f"{len(run.steps)} steps, largest {size / 1e6:.2f} MB, last {run.digest[:16]}", "pass")


def _check_process(run: Run) -> Check:
    """Hold the process whose code stands beside the run against the laws that every process keeps, and its task against it."""
    what = "own process keeps its laws"
    try:
        check_code(run.config.process, run.config.objective.task)
    except InputError as error:
        return Check(what, _one_line(error), "FAIL")
    return Check(what, f"{run.config.process.file}, SHA-256 {run.config.process.sha256[:16]}", "pass")


def _check_curve(run: Run) -> Check:
    """Re-run the last evaluation of the training curve: weights, process and code must still give the stored numbers."""
    what = f"curve reproduced to {CURVE_TOLERANCE_NATS:g} nats"
    try:
        stored = [line for line in run.metrics if line["step"] == run.steps[-1]]
    except CheckpointError as error:
        return Check(what, _one_line(error), "FAIL")
    if not stored:
        return Check(what, f"metrics.jsonl has no line for step {run.steps[-1]:,}", "FAIL")
    found = measure(run.model, run.process, run.task)
    # The reverse KLs hold log of near-zero model probabilities and exact zeros; forward ones are what the claims rest on.
    names = [name for name in found if name.endswith("_to_model_nats")]
    deviation = max(abs(found[name] - stored[-1].get(name, math.inf)) for name in names)
    return Check(what, f"largest deviation {deviation:.1e}", "pass" if deviation <= CURVE_TOLERANCE_NATS else "FAIL")


def _check_measurements(run: Run) -> Check:
    """Hold every line of llc.jsonl against the stored step and the setting that it names; nothing is measured."""
    what = "measurements bound to stored steps"
    settings = {setting.name: setting for setting in run.config.llc}
    try:
        records = read_records(run.folder / FILE)
        for name, _, step in records:
            if name not in settings or step not in run.steps:
                missing = f"step {step} is not stored" if name in settings else "run.toml has no such setting"
                return Check(what, f"{FILE}: {name}, step {step}: {missing}. Restore it, or remove the line.", "FAIL")
        digests = {step: digest_of(run, step) for step in {step for _, _, step in records}}
        for (name, _, step), record in records.items():
            if stale := why_stale(record, settings[name], digests[step]):
                return Check(what, f"{FILE}: {name}, step {step}: {stale}", "FAIL")
        measured = sum(map(len, read_llc(run).values()))
        asked = sum(len(asked_steps(run, setting)) for setting in run.config.llc)
    except (CheckpointError, InputError) as error:
        return Check(what, _one_line(error), "FAIL")
    text = f"{FILE}: {len(records)} records, {len(settings)} setting{'s' if len(settings) > 1 else ''}"
    missing = "" if measured == asked else f", {measured} of {asked} measured. {_next(run, 'measure')}"
    return Check.of(what, text + missing, measured == asked)


def _next(run: Run, command: str) -> str:
    """What brings a run that is short of something further."""
    return f"Next: mechbp {command} {run.folder}{' --trust' if run.config.names_code else ''}"


def _over_sequences(values: np.ndarray) -> tuple[float, float, int]:
    """Mean and half-width of its 95 % interval; queries of one sequence are averaged first, for they are not independent."""
    per_sequence = values.mean(axis=1, dtype=np.float64)
    return float(per_sequence.mean()), 1.96 * float(per_sequence.std(ddof=1)) / math.sqrt(len(per_sequence)), len(per_sequence)


def _interval(estimate: tuple[float, float, int], digits: int, kind: str = "f") -> str:
    mean, half, n = estimate
    return f"{mean:.{digits}{kind}} ± {half:.{digits}{kind}} (n = {n:,} sequences)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

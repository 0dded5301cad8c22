"""Hold a run against what its recipe requires, after checking that its files are what was stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mechbp.divergence import expected_hits, kl_nats
from mechbp.errors import CheckpointError
from mechbp.models.runs import Run
from mechbp.models.tasks import ask, exact_answers, model_answers
from mechbp.models.training import measure, step_file
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.randomness import rng

VERIFIED_SEQUENCES = {"masked": 2048, "root": 32_768, "next-token": 4096}
CURVE_TOLERANCE_NATS = 1e-6
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


def verify_run(run: Run) -> Iterator[Check]:
    """Yield one check per promise: stored steps intact, requirement met; statistical ones with a 95 % interval over sequences."""
    files = _check_files(run)
    yield files
    if files.verdict != "pass":
        return
    if not run.complete:
        yield Check("training complete", f"step {run.steps[-1]:,} of {run.config.training.steps:,}", "short")
    yield _check_curve(run)
    task, process, wanted = run.config.objective.task, run.process, run.config.requirement
    asked = ask(process, task, VERIFIED_SEQUENCES[task], rng(VERIFY_SEED, "verify"))
    exact, answers = exact_answers(process, task, asked.tokens), model_answers(run.model, process, task, asked.tokens)
    truth = asked.truth
    kl = _over_sequences(kl_nats(exact, answers))
    hit = _over_sequences(answers.argmax(-1) == truth)
    gap = _over_sequences(expected_hits(exact, exact) - expected_hits(exact, answers))
    low, high = wanted.accuracy, wanted.kl_bp_to_model_nats
    below = wanted.accuracy_below_bp
    shown = _interval(kl, 5) if isinstance(process, FilteredTree) else _interval(kl, 2, "e")  # chains leave little to learn
    yield Check.of("KL(BP || model)" + f" <= {high:g} nats" * (high < math.inf), shown, kl[0] <= high)
    yield Check.of("accuracy" + f" >= {low:g}" * (low > 0), _interval(hit, 4), hit[0] >= low)
    yield Check.of("accuracy below BP" + f" <= {below:g}" * (below < 1), _interval(gap, 5), gap[0] <= below)


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
        return Check("stored steps intact", "none stored", "short")
    return Check("stored steps intact", f"{len(run.steps)} steps, largest {size / 1e6:.2f} MB, last {run.digest[:16]}", "pass")


def _check_curve(run: Run) -> Check:
    """Re-run the last evaluation of the training curve: weights, process and code must still give the stored numbers."""
    what = f"curve reproduced to {CURVE_TOLERANCE_NATS:g} nats"
    try:
        stored = [line for line in run.metrics if line["step"] == run.steps[-1]]
    except CheckpointError as error:
        return Check(what, _one_line(error), "FAIL")
    if not stored:
        return Check(what, f"metrics.jsonl has no line for step {run.steps[-1]:,}", "FAIL")
    found = measure(run.model, run.process, run.config.objective.task, run.config.process.levels)
    # The reverse KLs hold log of near-zero model probabilities and exact zeros; forward ones are what the claims rest on.
    names = [name for name in found if name.endswith("_to_model_nats")]
    deviation = max(abs(found[name] - stored[-1].get(name, math.inf)) for name in names)
    return Check(what, f"largest deviation {deviation:.1e}", "pass" if deviation <= CURVE_TOLERANCE_NATS else "FAIL")


def _over_sequences(values: np.ndarray) -> tuple[float, float, int]:
    """Mean and half-width of its 95 % interval; queries of one sequence are averaged first, for they are not independent."""
    per_sequence = values.mean(axis=1, dtype=np.float64)
    return float(per_sequence.mean()), 1.96 * float(per_sequence.std(ddof=1)) / math.sqrt(len(per_sequence)), len(per_sequence)


def _interval(estimate: tuple[float, float, int], digits: int, kind: str = "f") -> str:
    mean, half, n = estimate
    return f"{mean:.{digits}{kind}} ± {half:.{digits}{kind}} (n = {n:,} sequences)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""When does training take in each level of the hierarchy, and does every seed do so in the same order?"""

from __future__ import annotations

from collections.abc import Sequence

from analyses.shared.tree_training import inclusions, taken_in
from analyses.tree_training.criteria import CRITERIA
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed
from mechbp.study import Study

HEADINGS = {"masked": "Masked leaf", "root": "Root", "next-token": "Next leaf"}


def study_ladder(study: Study, task: str, runs: Sequence[Run]) -> tuple[list[Claim], Section]:
    study.stage(f"{task}: ladder of oracles")
    passed = {run.name: inclusions(run) for run in runs}
    depth = runs[0].process.depth
    level = runs[0].config.process.filter_level
    place = (f"ladder-{task}-k{level}", f"{HEADINGS[task]}, filter level {level}: the ladder of oracles")
    if level == depth:
        return [], Section(*place, (), (), "skipped", f"data of filter level {level}, the depth, hold no level to take in")
    steps = range(depth - 1, level - 1, -1)
    categories = [f"BP_{k + 1} to BP_{k}" for k in steps]
    series = [{"name": _described(run), "x": [passed[run.name].get(k) for k in steps], "color": i} for i, run in enumerate(runs)]
    text = (
        "At every measured step the model's answers on 512 held-out sequences are compared with every oracle. A level counts as "
        "taken in at the first step from which on the model stays nearer, in KL(model || BP), to the oracle that knows the level "
        "than to the one that does not. Steps are log-spaced, about 12 % apart.",
    )
    figure = FigureData(
        id=f"fig-{task}-k{level}-ladder",
        kind="dots",
        title=f"{HEADINGS[task]}: when each level of the hierarchy is taken in",
        caption="Training sequences seen when the nearer of two neighbouring oracles changes for good. One marker per run: seeds "
        "and grammars differ, architecture and recipe do not, but for the length of training. No interval within a run; the "
        "spread over runs is the uncertainty.",
        alt="Training sequences, on a logarithmic axis, at which each level is taken in: one row per level, one marker per run.",
        data={"x_title": "training sequences", "x_log": True, "categories": categories, "series": series},
    )
    return [_claim(task, runs, passed, depth, level)], Section(*place, text, (figure,))


def _described(run: Run) -> str:
    objective = run.config.objective
    name = f"{run.name}: grammar {run.config.process.seed}, seed {run.config.training.seed}"
    return f"{name}, one mask per sequence" if objective.task == "masked" and objective.mask == "single" else name


def _claim(task: str, runs: Sequence[Run], passed: dict[str, dict[int, float]], depth: int, level: int) -> Claim:
    expected = list(range(depth - 1, level - 1, -1))
    lines = []
    finals = []
    for run in runs:
        at = passed[run.name]
        lines.append(f"{run.name}: " + (", ".join(f"{k} at {_short(at[k])}" for k in expected if k in at) or "none"))
        start = run.metrics[0]
        finals.append(min(range(depth + 1), key=lambda k, start=start: start[f"kl_model_to_bp{k}_nats"]))
    found = [taken_in(passed[run.name], depth, level) for run in runs]
    return CRITERIA.claim(
        "ladder",
        id=f"{task}-k{level}-ladder",
        statement=f"In every run of the {HEADINGS[task].lower()} task training takes in the levels of the hierarchy from the "
        "leaves up, one after another.",
        reference="the paper: the nearest oracle moves 4 → 3 → 2 → 1 → 0",
        measured="training sequences when BP_k overtakes BP_(k+1) for good, k at:\n"
        + "\n".join(lines)
        + f"\nn = {len(runs)} runs, 512 held-out sequences each",
        control="random weights at step 0: nearest " + listed([f"BP_{k}" for k in sorted(set(finals), reverse=True)]),
        numbers={name: [numbers[name] for numbers in found] for name in ("levels", "missed", "shortest_wait")},
        figure=f"fig-{task}-k{level}-ladder",
    )


def _short(sequences: float) -> str:
    return f"{sequences / 1e6:.2f} M" if sequences >= 1e5 else f"{sequences / 1e3:.0f} k"

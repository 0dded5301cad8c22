"""Claim: enough training sequences lead to the optimum; data of a middle filter level need more, pre-training spares most.

Root models trained on fixed sets of sequences, stopped early, at every size of the set: accuracy against size for filter levels,
numbers of blocks, and models that start from an encoder of masked leaves. Control: smallest sets, and a frozen random encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

from analyses.samples.blocks import study_blocks
from analyses.samples.curves import Exam, curve_of
from analyses.samples.levels import study_levels
from analyses.samples.transfer import study_transfer
from mechbp.models.runs import Run, load, run_names
from mechbp.report.document import Claim, Section
from mechbp.study import Study

RUNS = tuple(name for name in run_names() if name.startswith(("samples-", "tuned-")))


def analyse(study: Study) -> dict[str, object]:
    """Return the content of the page."""
    runs = [run for run in study.runs if run.config.training.training_set and run.config.objective.task == "root"]
    claims: list[Claim] = []
    sections: list[Section] = []
    if runs:
        found, parts = _study(study, runs)
        claims, sections = [*claims, *found], [*sections, *parts]
    left_out = [run.name for run in study.runs if run not in runs]
    if left_out or not runs:
        reason = f"no root models on fixed training sets: {', '.join(left_out) or 'none given'}"
        sections.append(Section("skipped", "Runs left out", (), (), "skipped", reason))
    held = sum(claim.verdict == "holds" for claim in claims)
    return {
        "slug": "tree_samples",
        "title": "How many sequences does it take?",
        "lead": f"{held} of {len(claims)} claims hold. {len(runs)} root models, each trained on a fixed set of sequences and "
        "stopped early, on sets of growing size.",
        "claims": tuple(claims),
        "sections": tuple(sections),
    }


def _study(study: Study, runs: Sequence[Run]) -> tuple[list[Claim], list[Section]]:
    """Group the runs into curves: by filter level, by blocks, by where they start."""
    process = min((run.process for run in runs), key=lambda tree: tree.filter_level)
    same = [run for run in runs if (run.process.depth, run.process.vocab_size) == (process.depth, process.vocab_size)]
    exams: dict[int, Exam] = {}
    groups: dict[tuple[int, int, str], list[Run]] = {}
    for run in same:
        level = run.config.process.filter_level
        groups.setdefault((level, run.config.model.n_layers, run.config.start.run), []).append(run)
        if level not in exams:
            exams[level] = Exam.draw(study, run.process, study.size(8192, 256))
    blocks = max(layers for _, layers, _ in groups)
    curves = {}
    for (level, layers, start), members in groups.items():
        study.stage(f"filter level {level}, {layers} blocks{', from ' * bool(start)}{start}")
        name = f"fine-tuned {start}" if start else f"k = {level}" if layers == blocks else f"{layers} blocks"
        curves[level, layers, start] = curve_of(name, members, exams[level], uniform=layers == blocks and not start)
    by_level = [curve for (_, layers, start), curve in sorted(curves.items()) if layers == blocks and not start]
    at_limit = [run.name for run in same if run.steps[-1] == run.config.training.steps]
    claims, sections = study_levels(by_level, len(next(iter(exams.values())).tokens), at_limit)
    lowest = min(exams)
    by_blocks = {layers: curve for (level, layers, start), curve in curves.items() if level == lowest and not start}
    if len(by_blocks) > 1:
        found, section = study_blocks(by_blocks)
        claims, sections = [*claims, *found], [*sections, section]
    starts = [start for level, _, start in curves if start and level == lowest]
    scratch = curves.get((lowest, blocks, ""))
    if starts and scratch:
        encoder = load(runs[0].folder.parent / starts[0])
        found, section = study_transfer(study, encoder, scratch, curves[lowest, blocks, starts[0]], exams[lowest])
        claims, sections = [*claims, *found], [*sections, section]
    return claims, sections

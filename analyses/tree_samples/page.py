"""Claim: enough training sequences lead to the optimum; data of a middle filter level need more, pre-training spares most.

Root models trained on fixed sets of sequences, stopped early, at every size of the set: accuracy against size for filter levels,
numbers of blocks, and models that start from an encoder of masked leaves. Control: smallest sets, and a frozen random encoder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from analyses.shared.suitable import only
from analyses.tree_samples.blocks import study_blocks
from analyses.tree_samples.curves import Curve, TestSet, curve_of
from analyses.tree_samples.levels import study_levels
from analyses.tree_samples.transfer import study_transfer
from mechbp.errors import MechbpError
from mechbp.models.runs import Run, load
from mechbp.report.claim import Claim
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out, reason
from mechbp.study import Findings, Page, Study

SIZES = ("p9", "p11", "p13", "p14", "p15", "p17")
SHALLOW = tuple(f"{size}-l{blocks}" for size in ("p13", "p15") for blocks in (1, 2, 3))
NAMES = (
    *(f"samples-root-k0-{size}" for size in (*SIZES, *SHALLOW)),
    *(f"samples-root-k2-{size}" for size in SIZES),
    *(f"tuned-root-k0-{size}" for size in ("p9", "p11", "p13", "p15")),
)
RUNS = tuple(sorted(f"{name}-s{seed}" for name in NAMES for seed in (0, 1)))
"""Root models on 2^p sequences: of two filter levels, with fewer blocks, and after pre-training on masked leaves."""

Key = tuple[int, int, str]
"""Filter level, number of blocks, and the run that training started from."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    runs = [run for run in study.runs if _on_a_set(run)]
    if runs:  # one process but for its filter level, that of the lowest level
        process = min((run.config.process for run in runs), key=lambda config: config.filter_level)
        runs = [run for run in runs if replace(run.config.process, filter_level=process.filter_level) == process]
    claims, sections = _study(study, runs) if runs else ([], [])
    others = [run.name for run in study.runs if run not in runs] or ([] if runs else ["no run given"])
    why = "this page compares root models on fixed training sets, of one process but for its filter level"
    return claims, [*sections, *left_out(others, why)]


def _on_a_set(run: Run) -> bool:
    return bool(run.config.training.training_set) and run.config.objective.task == "root"


def _study(study: Study, runs: Sequence[Run]) -> tuple[list[Claim], list[Section]]:
    """Compare curves by filter level, by blocks, by where they start."""
    curves, tests = _curves(study, runs)
    lowest = min(level for level, _, _ in curves)
    blocks = max(layers for _, layers, _ in curves)
    claims: list[Claim] = []
    sections: list[Section] = []
    by_level = [curve for (_, layers, start), curve in sorted(curves.items()) if layers == blocks and not start]
    if by_level:
        claims, sections = study_levels(by_level, len(tests[lowest].tokens), _notes(runs))
    by_blocks = {layers: curve for (level, layers, start), curve in curves.items() if level == lowest and not start}
    if len(by_blocks) > 1:
        found, section = study_blocks(by_blocks)
        claims, sections = [*claims, *found], [*sections, section]
    starts = sorted({start for level, layers, start in curves if start and level == lowest and layers == blocks})
    for i, start in enumerate(starts):
        slug = f"transfer-{i + 1}" if i else "transfer"
        place = (slug, f"What pre-training on masked leaves spares: {start}")
        scratch = curves.get((lowest, blocks, ""))
        if scratch is None:
            sections.append(Section(*place, (), (), "skipped", "no run of the same size from random weights to compare with"))
            continue
        try:
            encoder = load(runs[0].folder.parent / start)
        except MechbpError as error:
            sections.append(Section(*place, (), (), "skipped", reason(error)))
            continue
        found, section = study_transfer(study, slug, encoder, scratch, curves[lowest, blocks, start], tests[lowest])
        claims, sections = [*claims, *found], [*sections, section]
    return claims, sections


def _curves(study: Study, runs: Sequence[Run]) -> tuple[dict[Key, Curve], dict[int, TestSet]]:
    """Group the runs that differ in size and seed alone, and score each group on the test of its level."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        key = (run.config.process.filter_level, run.config.model.n_layers, run.config.start.run)
        groups.setdefault(key, []).append(run)
    blocks = max(layers for _, layers, _ in groups)
    trees = {run.config.process.filter_level: run.process for run in runs}
    tests = {level: TestSet.draw(study, tree, study.size(8192, 256)) for level, tree in trees.items()}
    curves = {}
    for (level, layers, start), members in groups.items():
        study.stage(f"filter level {level}, {layers} blocks" + (f", from {start}" if start else ""))
        name = f"fine-tuned {start}" if start else f"k = {level}" if layers == blocks else f"{layers} blocks"
        curves[level, layers, start] = curve_of(name, members, tests[level], uniform=layers == blocks and not start)
    return curves, tests


def _notes(runs: Sequence[Run]) -> list[str]:
    """Say where recipes differ in more than the page compares, and where training was cut off."""
    at_limit = [run.name for run in runs if run.steps[-1] == run.config.training.steps]
    notes = [f"Still improving at their last step, so that more training might help: {', '.join(at_limit) or 'none'}."]
    for key, what in {"early_stopping": "the multiple", "measured_steps": "the number of measured steps"}.items():
        values = {run.name: getattr(run.config.training, key) for run in runs}
        usual = Counter(values.values()).most_common(1)[0][0]
        others = [f"{name} {value:g}" for name, value in values.items() if value != usual]
        if others:
            notes.append(f"For most runs {what} is {usual:g}; for the others: {', '.join(others)}.")
    return notes


PAGE = Page(
    title="How many sequences does it take?",
    lead="Root models, each trained on a fixed set of sequences and stopped early, on sets of growing size.",
    runs=RUNS,
    family="tree",
    study=study_page,
    why_not=only("compares root models on fixed training sets", _on_a_set),
    opening=Opening(
        telling="fig-samples-levels",
        result=(
            Said(
                "That data filtered at level 2 need more training sequences than unfiltered data at every share of the way to "
                "the optimum is not supported; for the first half of it they need fewer.",
                {
                    "fails": ("samples-order",),
                    "holds": ("samples-early",),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)

"""Claim: a transformer trained on tree data answers as exact belief propagation does, on its own data and beyond.

For every run: divergence from BP_k for all filter levels k, on fresh data of the training level and on uniformly random
sequences; accuracy on data of every level beside the oracle's; calibration; and the path of training along the ladder of
oracles. Controls: the same architecture with random weights, and the mismatched oracles themselves.
"""

from __future__ import annotations

from analyses.tree_inference.along_training import training_figures
from analyses.tree_inference.claims import claims_of
from analyses.tree_inference.comparison import accuracy_on, compare
from analyses.tree_inference.figures import calibration_figures, divergence_figure, level_figure
from mechbp.models.runs import Run
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study
from mechbp.theory.tree.oracle_table import oracle_table

RUNS = ("tree-mlm-k0", "tree-root-k0")


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    sections = []
    claims = []
    for run in study.runs:
        run_claims, run_sections = _study_run(study, run)
        claims += run_claims
        sections += run_sections
    return claims, sections


def _study_run(study: Study, run: Run) -> tuple[list[Claim], list[Section]]:
    task = run.config.objective.task
    process = run.process
    level = run.config.process.filter_level
    name = run.name
    trees = [FilteredTree(process.grammar, process.depth, k) for k in range(process.depth + 1)]
    n = study.size(*{"masked": (2048, 64), "next-token": (1024, 64)}.get(task, (4096, 256)))
    study.stage(f"{name}: data of the training level")
    own = compare(study, run, trees, process.sample(n, study.rng(name, "own")).tokens, "own")
    study.stage(f"{name}: uniform sequences")
    uniform_tokens = study.rng(name, "uniform").integers(process.vocab_size, size=(n // 2, process.n_leaves))
    uniform = compare(study, run, trees, uniform_tokens, "uniform")
    study.stage(f"{name}: data of every level")
    by_level = [accuracy_on(study, run, tree, trees[level], n // 4) for tree in trees]
    study.stage(f"{name}: oracles")
    n_oracle = study.size(20_000, 2000)
    oracles = (
        None
        if task == "next-token"
        else oracle_table(trees, n_oracle, study.rng(name, "oracles"), "masked" if task == "masked" else "root")
    )
    figures = [
        divergence_figure(run, own, uniform),
        level_figure(run, by_level),
        *calibration_figures(study, run, own, uniform),
        *training_figures(run, oracles),
    ]
    asked = {"masked": "a hidden leaf, given all others", "next-token": "the next leaf"}.get(task, "the root, given all leaves")
    blocks = (
        "Its blocks are pre-norm with learned positions, unlike the post-norm encoder of the paper."
        if run.config.model.kind == "transformer"
        else "Its blocks are post-norm with sinusoidal positions, as in the paper."
    )
    trained = (
        f"It was trained elsewhere, and is held against data of filter level {level}."
        if run.given
        else f"It was trained on {run.config.objective.targets} of filter level {level}, "
        f"{run.steps[-1] * run.config.training.batch_size:,} sequences in {run.steps[-1]:,} steps, each sequence seen once."
    )
    text = (
        f"`{name}` is asked for {asked}. {trained} {blocks}",
        "BP_k is exact inference for data of filter level k. The model's own level is its matched oracle; the others are "
        "what a model would compute that saw only part of the hierarchy.",
    )
    return claims_of(run, own, uniform, oracles), [Section(f"run-{name}", name, text, tuple(figures))]


PAGE = Page(
    title="Does the network compute the exact answer?",
    lead="Models are compared with exact belief propagation on held-out sequences, in eval mode, every number with a 95 % "
    "bootstrap interval over sequences and a control beside it.",
    runs=RUNS,
    family="tree",
    study=study_page,
    by_run=True,
    opening=Opening(
        telling="fig-tree-mlm-k0-divergence",
        result=(
            Said(
                "The masked leaf model and the root model give the answers of belief propagation on the whole "
                "tree, and of no oracle that knows less of it.",
                {
                    "holds": ("tree-mlm-k0-exact", "tree-mlm-k0-nearest", "tree-root-k0-exact", "tree-root-k0-nearest"),
                },
            ),
        ),
        wing="trees",
        papers=("Garnier-Brun et al. 2025",),
    ),
)

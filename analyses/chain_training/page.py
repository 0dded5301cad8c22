"""Claim: the constrained update is what noisy training finds on the way, and not what one block of attention does at its best.

The theory of constrained updates says what attention can do if it is the same for all words. Runs on exact answers, on batches of
several sizes and over several seeds are followed along training: how far they are from the exact answer, and how far from the
theory. Rivals are named: that every run turns away from the theory in time, and that noise matters only through the distance from
the optimum at which it stops a run.
(Source: Piotrowski et al., "Constrained belief updates explain geometric structures in transformer representations", 2025.)
"""

from __future__ import annotations

from analyses.chain_training.courses import covered, follow
from analyses.chain_training.distance import distance_claims, distance_section
from analyses.chain_training.grid import grid_parts, grids
from analyses.chain_training.noise import noise_claims, noise_section
from analyses.chain_training.turning import turning_claims, turning_section
from analyses.shared.prefix_corpus import unsuitable
from analyses.shared.seed_groups import groups
from analyses.shared.suitable import only
from mechbp.report.opening import Opening, Said
from mechbp.report.parts import left_out
from mechbp.study import Findings, Page, Study

ON_EXACT = ("mess3-x15-a60-exact", "mess3-x15-a20-exact", "mess3-x50-a20-exact", "mess3-x50-a60-exact")
EXACT = tuple(f"{name}{seed}" for name in ON_EXACT for seed in ("", "-s1", "-s2"))
"""On exact answers, three seeds of each setting."""
NOISE = tuple(f"{setting}-b{batch}" for setting in ("x15-a60", "x50-a60") for batch in ("32-16k", "32-64k", "512-4k", "4096-500"))
SAMPLED = (
    *(f"mess3-{name}{seed}" for name in ("x15-a60-b128", "x15-a60", "x50-a60") for seed in ("", "-s1", "-s2")),
    *("mess3-x15-a20", "mess3-x50-a20"),
    *(f"mess3-{batch}-s{seed}" for seed in (0, 1) for batch in ("x50-a60-b512-16k", *NOISE)),
    *(f"mess3-{batch}-s2" for batch in NOISE if batch.startswith("x15")),
)
"""On sampled tokens, in batches of several sizes, at equal steps and at equal words."""
GRID = ()
"""Layers by heads, trained alike."""
RUNS = (*EXACT, *SAMPLED, *GRID)
LENGTH = 7
QUICK_LENGTH = 5
"""Tokens per word: a causal model does not know what follows, so that shorter words see the same attention at less cost."""


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    length = study.size(LENGTH, QUICK_LENGTH)
    usable = [run for run in study.runs if not unsuitable(run)]
    shapes = grids(usable)
    in_grid = {run.name for runs in shapes for run in runs}
    studied = [run for run in usable if covered(run) and run.name not in in_grid]
    found = follow(study, groups(studied), length)
    claims = [claim for family in found for part in (turning_claims, noise_claims, distance_claims) for claim in part(family)]
    sections = [turning_section(found), noise_section(found), distance_section(found)] if found else []
    for runs in shapes:
        claim, section = grid_parts(study, runs, length)
        claims.append(claim)
        sections.append(section)
    known = {run.name for run in studied} | in_grid
    missing = [run.name for run in study.runs if run.name not in known]
    return claims, [*sections, *left_out(missing, "the theory asks for one block with other heads, or there is nothing to learn")]


def _why_not(runs: Sequence[Run]) -> str:
    usable = [run for run in runs if not unsuitable(run)]
    return "" if grids(usable) else only("studies models of one block with the heads that theory asks for", covered)(usable)


PAGE = Page(
    title="Is the constrained update the optimum, or on the way to it?",
    lead="The constrained update describes attention of models that were trained on sampled tokens. Training on exact answers, "
    "in batches of several sizes and with several seeds shows whether it is where training ends or what training passes.",
    runs=RUNS,
    family="chain",
    study=study_page,
    why_not=_why_not,
    opening=Opening(
        telling="fig-mess3-x15-a60-exact-course",
        result=(
            Said(
                "In no setting is it found that training on exact answers passes the constrained update and leaves it.",
                {
                    "fails": (
                        "mess3-x15-a60-exact-turn",
                        "mess3-x15-a20-exact-turn",
                        "mess3-x50-a20-exact-turn",
                        "mess3-x50-a60-exact-turn",
                    )
                },
            ),
            Said(
                "That noise of sampling holds attention near it is not supported either.",
                {
                    "fails": ("mess3-x15-a60-exact-noise-left", "mess3-x50-a60-exact-noise-left"),
                },
            ),
        ),
        wing="chains",
        papers=("Piotrowski et al. 2025",),
    ),
)

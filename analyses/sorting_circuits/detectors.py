"""Are the detectors of modes right where the mode is known, and silent where there is none?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.sorting_circuits.criteria import CRITERIA
from mechbp.methods.circuits.circuit import circuits
from mechbp.methods.circuits.mode_margins import margin, null_scores
from mechbp.methods.circuits.modes import OV, QK, modes
from mechbp.models.compiled.sorter import Kind, compile_sorter
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

VALUES, LENGTH = 24, 4
KINDS: tuple[Kind, ...] = ("splitting", "suppression", "both", "overlap")
DRAWS, QUICK_DRAWS = 10, 3
NULLS, QUICK_NULLS = 100, 20


@dataclass(frozen=True, eq=False)
class Truth:
    """One pair of heads whose mode is known."""

    name: str
    expected: str
    found: str
    flips_at: tuple[float, ...]
    """Noise at which the label first flips, per draw; empty where the expected label is none."""
    null_labels: tuple[str, ...]
    """Labels after values have been permuted, per draw."""


def detectors(study: Study) -> list[Truth]:
    """Judge compiled sorters and synthetic circuits."""
    study.stage("detectors")
    draw = study.rng("detectors")
    cases: list[tuple[str, str, OV, QK]] = []
    for kind in KINDS:
        compiled = compile_sorter(SortedLists(VALUES, LENGTH), kind)
        found = circuits(compiled.model, key_positions=range(LENGTH), query_positions=range(LENGTH, 2 * LENGTH))
        cases.append((f"compiled, {kind}", kind, found.ov[:, :VALUES, :VALUES], found.qk[:, :, :VALUES]))
    random = draw.standard_normal((2, VALUES, VALUES))
    cases.append(("random matrices", "none", random, draw.standard_normal((2, VALUES + 1, VALUES))))
    truths = []
    for name, expected, ov, qk in cases:
        sure = () if expected == "none" else margin(ov, qk, draw, draws=study.size(DRAWS, QUICK_DRAWS)).flips_at
        null = null_scores(ov, qk, draw, study.size(NULLS, QUICK_NULLS))
        truths.append(Truth(name, expected, modes(ov, qk).label, tuple(map(float, sure)), null.labels))
    return truths


def detectors_claim(found: Sequence[Truth]) -> Claim:
    """Known modes get their label, permuted circuits none."""
    null = [label for one in found for label in one.null_labels]
    return CRITERIA.claim(
        "detectors",
        id="detectors",
        statement="The detectors name the mode of sorters that were built by hand, and find none where values are permuted.",
        reference="the mode that each was built with",
        measured="\n".join(
            f"{one.name}: {one.found}" + (f", until noise of {np.median(one.flips_at):.2f} (median)" if one.flips_at else "")
            for one in found
        ),
        control=f"rows of OV permuted: {sum(label != 'none' for label in null)} of {len(null)} get a label",
        numbers={
            "right": [one.found == one.expected for one in found],
            "null_share": float(np.mean([label != "none" for label in null])),
        },
        figure="fig-margins",
    )


def detectors_section(found: Sequence[Truth]) -> Section:
    """Return the section with the noise that each label bears."""
    text = (
        "A head copies a value if the diagonal entry of its OV circuit is the largest of its row and positive, and suppresses "
        "it if it is the smallest and negative; rows have mean 0. Splitting: of the values that either head copies at most a "
        "tenth are copied by both, 95 % are copied, each head owns a tenth or more, and ownership changes one to six times "
        "along the values. Copy-suppression: the share that one head copies times the share that the other suppresses is at "
        "least one half, and both score keys above the query alike (correlation above .5). Overlap: both copy at least half "
        "of the values.",
        "Noise is a normal number on every entry, in units of the mean of the largest diagonal entries for OV and of the "
        "spread of scores for QK.",
    )
    known = [one for one in found if one.flips_at]
    ends = [np.quantile(np.minimum(one.flips_at, 2.0), [0.0, 0.5, 1.0]) for one in known]
    figure = FigureData(
        id="fig-margins",
        kind="dots",
        title="Noise that a label bears",
        caption="Noise at which the label of a compiled sorter first flips: median, least and largest over draws of the "
        "noise; 2 where it never does.",
        alt="Noise at which labels flip, one row per compiled sorter.",
        data={
            "x_title": "noise",
            "categories": [one.name for one in known],
            "series": [
                {
                    "name": "first flip",
                    "x": [float(end[1]) for end in ends],
                    "low": [float(end[0]) for end in ends],
                    "high": [float(end[2]) for end in ends],
                }
            ],
        },
    )
    return Section("detectors", "Are the detectors right?", text, (figure,))

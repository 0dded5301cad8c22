"""The belief states of the processes themselves: how many there are, and how many of them predict alike. No model is involved."""

from __future__ import annotations

import numpy as np

from analyses.belief_geometry.criteria import CRITERIA
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r
from mechbp.processes.chain.words import mixed_states
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import listed

DEPTH = 10
PROCESSES = {"golden mean": golden_mean(), "even": even(), "Z1R": z1r(), "RRXOR": rrxor(), "Mess3 to depth 3": mess3(0.05, 0.85)}
COUNTED = ("golden mean", "even", "Z1R", "RRXOR")
"""Those whose number of distinct beliefs is known, the one before the first token included."""
FEWER = COUNTED[2:]
"""Those of them that make fewer predictions than they have beliefs."""


def study_belief_states() -> tuple[Claim, Section]:
    """Return the claim and the section."""
    found = {name: mixed_states(hmm, 3 if "depth" in name else DEPTH) for name, hmm in PROCESSES.items()}
    beliefs = {name: len(states.beliefs) for name, states in found.items()}
    predictives = {name: _distinct(hmm.predictive(found[name].beliefs)) for name, hmm in PROCESSES.items()}
    closed = [name for name, states in found.items() if states.closed]
    alike = _alike_in_z1r()
    text = (
        "A belief is a law over hidden states. Two different beliefs may predict the same next token and differ only in what "
        "comes later, so that a model could do without telling them apart for one prediction, but not for the next. In Z1R the "
        f"beliefs before any token, after 1 0 and after 0 1 all give the next token the same law: {alike}.",
        f"The beliefs of {listed(closed)} are finitely many, and every token leads from them to them; those of Mess3 are a "
        "fractal.",
    )
    figure = FigureData(
        id="fig-machines",
        kind="bars",
        title="Belief states, and predictions that they make",
        caption=f"Distinct beliefs that words of up to {DEPTH} tokens reach, told apart by five decimals, and distinct "
        "next-token predictives among them. Exact.",
        alt="Two bars per process, distinct beliefs and distinct predictives: "
        + "; ".join(f"{name} {count} and {predictives[name]}" for name, count in beliefs.items())
        + ".",
        data={
            "y_title": "number", "categories": list(beliefs),
            "series": [
                {"name": "beliefs", "y": list(beliefs.values())},
                {"name": "next-token predictives", "y": list(predictives.values())},
            ],
        },
    )  # fmt: skip
    known = dict(zip(COUNTED, CRITERIA["machines"].bounds["known"], strict=True))
    claim = CRITERIA.claim(
        "machines",
        id="machines",
        statement="The processes have the known numbers of belief states; those of Z1R and RRXOR make fewer predictions than "
        "they are.",
        reference=f"Shai et al. 2024: RRXOR {known['RRXOR']}; known of the others: "
        + ", ".join(f"{name} {count}" for name, count in known.items() if name != "RRXOR"),
        measured="beliefs: " + ", ".join(f"{name} {count}" for name, count in beliefs.items()) + "\nexact",
        control="distinct predictives: " + ", ".join(f"{name} {count}" for name, count in predictives.items()),
        numbers={"beliefs": [beliefs[name] for name in COUNTED], "predictives": [predictives[name] for name in FEWER]},
        figure="fig-machines",
    )
    return claim, Section("machines", "The beliefs that there are to hold", text, (figure,))


def _distinct(rows: np.ndarray) -> int:
    return len(np.unique(rows.round(5) + 0.0, axis=0))


def _alike_in_z1r() -> str:
    """The predictive that the prior shares with the beliefs after 1 0 and 0 1, or what they are if they differ."""
    hmm = PROCESSES["Z1R"]
    words = [hmm.start, *hmm.beliefs(np.array([[1, 0], [0, 1]]))[:, -1]]
    predictives = [hmm.predictive(belief).round(5) for belief in words]
    shown = [", ".join(f"{chance:.4f}" for chance in law) for law in predictives]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)

"""Which failures of a root model are its ROOT token's: a model without the token beside its twin that has it."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.tree_paper.criteria import CRITERIA
from analyses.tree_paper.looking import CONSTRUCTION, merged_name
from analyses.tree_paper.measurements import Measured
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.report.verdicts import shown_verdict
from mechbp.study import Study

FAILURES = {
    "used": "does not use a message written in a subspace where the construction has it",
    "necessary": "does not need the messages where the construction has them",
    "static": "does not keep its answers with one pattern per level",
    "construction": "does not keep its answers with the construction's pattern",
}
"""Key of the criterion that a model fails -> what it does."""


def token_claims(study: Study, pair: tuple[Measured, Measured] | None, claims: Sequence[Claim]) -> list[Claim]:
    """Return one claim per failure; `claims` are those of the runs."""
    return [_claim(study, pair, key, claims) for key in FAILURES]


def _claim(study: Study, pair: tuple[Measured, Measured] | None, key: str, claims: Sequence[Claim]) -> Claim:
    statement = f"That a root model {FAILURES[key]} is its ROOT token's doing: its twin, which is read from all leaves, does."
    reference = "our pre-norm root model fails it"
    if pair is None:
        return CRITERIA.claim(
            "token", id=f"token-{key}", statement=statement, reference=reference, measured="no pair of such runs",
            control="none", numbers=None,
        )  # fmt: skip
    without, twin = pair
    verdicts = [
        next((claim.verdict for claim in claims if claim.id == f"{m.run.name}-{key}"), "not run") for m in (without, twin)
    ]
    better = better_by(study, without, twin, key)
    if not better or "not run" in verdicts or "short" in verdicts:
        return CRITERIA.claim(
            "token", id=f"token-{key}", statement=statement, reference=reference, measured="too few pairs, or not measured",
            control="none", numbers=None,
        )  # fmt: skip
    unit = {"used": "share beyond deletion"}.get(key, "nats")
    return CRITERIA.claim(
        "token",
        id=f"token-{key}",
        statement=statement,
        reference=reference,
        measured=f"{without.run.name}: {shown_verdict(verdicts[0])}\n{twin.run.name}: {shown_verdict(verdicts[1])}\n"
        + f"better without the token by ({unit}):\n"
        + "\n".join(f"{name}: {estimate(by, 2)}" for name, by in better.items()),
        control=f"the twin differs in the token and the read-out alone; n = {min(by.n for by in better.values()):,}, paired",
        numbers={
            "passes": verdicts[0] == "holds",
            "twin_passes": verdicts[1] == "holds",
            "better_low": [by.low for by in better.values()],
        },
        figure="fig-token",
    )


def better_by(study: Study, without: Measured, twin: Measured, key: str) -> dict[str, Interval]:
    """Return by how much the run without the token is better than its twin, part by part, on the same sequences or pairs."""
    if key in ("static", "construction"):
        name = CONSTRUCTION if key == "construction" else merged_name(without.run.process.depth - 1)
        if name not in without.looking.answers or name not in twin.looking.answers:
            return {}
        difference = twin.looking.loss(name) - without.looking.loss(name)
        return {"all blocks": bootstrap_mean(difference, study.rng("token", key))}
    found = {}
    for mine in without.messages:
        theirs = twin.at_depth(mine.depth)
        if theirs is None:
            continue
        up = without.run.process.depth - mine.depth
        name = f"{up} up" if up else "leaf"
        if key == "used":
            found[name] = mine.more_used(study, theirs)
        else:
            found[name] = mine.more_needed(study, theirs)
    return found

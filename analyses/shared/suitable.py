"""Why a page has nothing to show of the runs at hand, said before anything is computed: each returns "" where it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mechbp.models.runs import Run

WhyNot = Callable[[Sequence[Run]], str]
"""Runs -> what the page does instead, to follow its name in a sentence, such as "compares masked models"."""


def only(what: str, suits: Callable[[Run], bool]) -> WhyNot:
    """Return why not for a page that says `what` it studies, where no run suits it."""
    return lambda runs: "" if any(map(suits, runs)) else what


def unless(unsuitable: Callable[[Run], str]) -> WhyNot:
    """Return why not for a page that says of a run why it is unsuitable, where all are: the reason of the first."""

    def why_not(runs: Sequence[Run]) -> str:
        reasons = [unsuitable(run) for run in runs]
        if not all(reasons):
            return ""
        first = runs[0].name
        said = reasons[0] if first in reasons[0] else f"{first} {reasons[0]}"
        return f"asks for other runs: {said}"

    return why_not


def asked(*tasks: str) -> Callable[[Run], bool]:
    """Return whether a run is asked one of these tasks."""
    return lambda run: run.config.objective.task in tasks

"""What a method answers, checked: a score or a decision for every candidate, and no number that is not one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.judging.question import Question

FORMS = "a float or bool array [{n}], one value per candidate in their order, or (scores, found): floats, then bools"


@dataclass(frozen=True, eq=False, repr=False)
class Answer(Brief):
    """Scores of all candidates of one question, and the method's own decisions if it makes some."""

    scores: Float64[np.ndarray, " candidate"]
    found: Bool[np.ndarray, " candidate"] | None


def checked_answer(given: Any, question: Question, method: str) -> Answer:
    """Return what the method gave as an Answer; raise InputError naming what it is and what was expected.

    Decisions alone are scores of 0 and 1.
    """
    n = len(question.candidates)
    where = f"judge: {method} on {question.name!r}"
    pair = isinstance(given, tuple) and len(given) == 2
    scores = _array(given[0] if pair else given, n, where)
    if not pair:
        return Answer(scores.astype(np.float64), scores if scores.dtype == bool else None)
    found = _array(given[1], n, where)
    if found.dtype != bool or scores.dtype == bool:
        raise InputError(f"{where} returned a pair of {scores.dtype} and {found.dtype}; expected floats, then bools.")
    return Answer(scores.astype(np.float64), found)


def _array(given: Any, n: int, where: str) -> np.ndarray:
    expected = f"expected {FORMS.format(n=n)}."
    try:
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} returned a {type(given).__name__} that is no array ({error!s:.60});\n{expected}") from None
    if given is None or array.dtype.kind not in "fiub":
        raise InputError(f"{where} returned {'None' if given is None else f'a {type(given).__name__}'};\n{expected}")
    if array.shape != (n,):
        raise InputError(f"{where} returned shape {list(array.shape)};\n{expected}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{where} returned {array[first]} for candidate {first};\n"
            "expected finite numbers. Score a place that the method cannot judge as low as where it finds nothing."
        )
    return array

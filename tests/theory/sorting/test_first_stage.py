"""The end of stage 1: the first step that meets either rule."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.theory.sorting.first_stage import FirstStage, first_stage

STEPS = np.array([0, 10, 20, 40, 80])
NAN = np.nan


@pytest.mark.parametrize(
    ("loss", "accuracy", "expected"),
    [
        ([4.0, 1.0, 0.2, 0.11, 0.1], [0.0, 0.5, 0.98, 0.985, 0.989], FirstStage(20, 20, None)),
        ([4.0, 1.0, 0.2, 0.01, 1e-4], [0.0, 0.99, 0.98, 1.0, 1.0], FirstStage(10, 80, 10)),
        ([4.0, 1.0, 0.2, 0.2, 0.19], [0.0, 0.5, 0.7, 0.9, 0.995], FirstStage(20, 20, 80)),
        ([4.0, 1.0, 0.5, 0.3, 0.9], [0.0, 0.1, 0.2, 0.3, 0.4], FirstStage(20, 20, None)),
        ([NAN, 1.0, NAN, 0.9, 0.8], [NAN, 0.1, NAN, 0.2, 0.3], FirstStage(10, 10, None)),
        ([NAN] * 5, [NAN] * 5, FirstStage(None, None, None)),
    ],
)
def test_rules(loss, accuracy, expected):
    assert first_stage(STEPS, np.array(loss), np.array(accuracy)) == expected


def test_refusals(unchecked):
    for steps in (STEPS[:-1], STEPS[::-1]):
        with pytest.raises(InputError, match="first_stage"):
            first_stage(steps, np.zeros(5), np.zeros(5))

"""Attribution to correct answers, against a loop over questions."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.circuits.attribution import answer_attribution


def test_means_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(7, 3, 2, 6))
    answers = rng.choice([0, 1, 2, 5], size=(7, 3))
    found = answer_attribution(heads, answers)
    questions = [(heads[n, p, :, answers[n, p]], answers[n, p]) for n in range(7) for p in range(3)]
    for value in range(6):
        mine = [added for added, answer in questions if answer == value]
        assert found.counts[value] == len(mine)
        if mine:
            np.testing.assert_allclose(found.by_answer[value], np.mean(mine, axis=0), rtol=0, atol=1e-14)
        else:
            assert np.isnan(found.by_answer[value]).all()
    np.testing.assert_allclose(found.mean, np.mean([added for added, _ in questions], axis=0), rtol=0, atol=1e-14)


def test_arguments_that_do_not_fit():
    heads = np.zeros((2, 3, 2, 6))
    for answers in (np.zeros((2, 2), int), np.zeros((2, 3))):
        with pytest.raises(InputError, match=r"answers integers \[n, position\], at least one,\ngot \[2, 3, 2, 6\] and"):
            answer_attribution(heads, answers)
    with pytest.raises(InputError, match="at least one"):
        answer_attribution(heads[:0], np.zeros((0, 3), int))
    with pytest.raises(InputError, match=r"answers must be in 0\.\.5, got 0\.\.6"):
        answer_attribution(heads, np.array([[0, 6, 1], [0, 0, 0]]))

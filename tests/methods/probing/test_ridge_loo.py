"""The penalty and the fit are those of scikit-learn, and of leaving rows out one by one."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from mechbp.errors import InputError
from mechbp.methods.probing import ridge, transfer_probe
from mechbp.methods.probing.ridge_loo import fit_ridge_loo

PENALTIES = np.logspace(-6, 4, 11)


@pytest.mark.parametrize(
    ("n", "d", "noise"), [(60, 5, 0.5), (60, 5, 1e-6), (40, 60, 0.5), pytest.param(300, 30, 3.0, marks=pytest.mark.slow)]
)
def test_the_fit_is_that_of_leave_one_out_cross_validation(n, d, noise):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, d)) * np.logspace(0, -3, d) + 2
    y = x @ draw.normal(size=(d, 2)) + noise * draw.normal(size=(n, 2))
    found, peer = fit_ridge_loo(x, y, PENALTIES), RidgeCV(alphas=PENALTIES).fit(x, y)
    assert found.penalty == pytest.approx(peer.alpha_)
    new = draw.normal(size=(20, d)) + 2
    np.testing.assert_allclose(found(new), peer.predict(new), rtol=1e-6, atol=1e-6)
    errors = []
    for penalty in PENALTIES:
        left = [
            Ridge(alpha=penalty).fit(np.delete(x, i, 0), np.delete(y, i, 0)).predict(x[i : i + 1])[0] - y[i] for i in range(n)
        ]
        errors.append(np.square(left).mean())
    assert found.penalty == PENALTIES[np.argmin(errors)]


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="positive penalties"):
        fit_ridge_loo(np.zeros((4, 2)), np.zeros((4, 1)), np.zeros(1))


@pytest.mark.parametrize("penalties", [ridge.PENALTIES, transfer_probe.PENALTIES], ids=["ridge", "logistic"])
def test_penalties_rise_from_none_to_speak_of_by_steps_without_a_gap(penalties):
    assert penalties[0] <= 1e-4 and penalties[-1] >= 1
    assert all(1 < ratio <= 1001 for ratio in np.divide(penalties[1:], penalties[:-1]))

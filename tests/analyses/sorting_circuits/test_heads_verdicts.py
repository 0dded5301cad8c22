"""Verdicts about suppressors, owners, gaps and other designs at the bounds on record."""

import pytest

from analyses.sorting_circuits.criteria import CRITERIA

SUPPRESSOR = {
    "accuracy_change": [-0.009, 0.002], "entropy_low": [0.1, -0.3], "entropy_high": [0.2, -0.1], "without_copier": [0.1, 0.49],
}  # fmt: skip
GAPS = {"p_windows": 0.009, "slope_windows": 1.0, "p_values": 0.001, "slope_values": 0.2}
ROBUST = {"token_low": [0.99, 0.999], "coverage": [0.95, 1.0], "first_low": [0.9, 0.99]}


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("suppressor", SUPPRESSOR, "holds"),
        ("suppressor", SUPPRESSOR | {"accuracy_change": [-0.01, 0.002]}, "partly"),
        ("suppressor", SUPPRESSOR | {"entropy_low": [0.1, -0.3], "entropy_high": [0.2, 0.1]}, "partly"),  # holds 0: no change
        ("suppressor", SUPPRESSOR | {"without_copier": [0.5, 0.6]}, "fails"),
        ("suppressor", SUPPRESSOR | {"accuracy_change": [-0.2, 0.011]}, "fails"),
        ("calibrates", {"gain_low": [0.001, 0.02]}, "holds"),
        ("calibrates", {"gain_low": [-0.001, 0.02]}, "partly"),
        ("calibrates", {"gain_low": [0.0]}, "fails"),
        ("suppression-preserved", {"kept": [0.5, 1.0]}, "holds"),
        ("suppression-preserved", {"kept": [0.49, 1.0]}, "partly"),
        ("suppression-preserved", {"kept": [-2.0, None]}, "fails"),
        ("split-ablation", {"deviation": [0.05, 0.0]}, "holds"),
        ("split-ablation", {"deviation": [0.051, 0.0]}, "partly"),
        ("split-ablation", {"deviation": [0.06, 0.07, 0.01]}, "fails"),
        ("gap-mode", GAPS, "holds"),
        ("gap-mode", GAPS | {"slope_values": -0.2}, "partly"),  # opposite directions
        ("gap-mode", GAPS | {"p_values": 0.01}, "partly"),
        ("gap-mode", GAPS | {"p_values": None, "slope_values": None}, "partly"),
        ("gap-mode", GAPS | {"p_windows": 0.02, "p_values": None}, "fails"),
        ("gap-mode", dict.fromkeys(GAPS), "fails"),
        ("loss-by-mode", {"difference_high": -1e-5}, "holds"),
        ("loss-by-mode", {"difference_high": 0.0}, "fails"),
        ("loss-by-mode", {"difference_high": None}, "fails"),  # too few runs to bound it
        ("robust", ROBUST, "holds"),
        ("robust", ROBUST | {"token_low": [0.989, 0.999]}, "partly"),
        ("robust", ROBUST | {"first_low": [0.89, 0.99]}, "partly"),
        ("robust", ROBUST | {"first_low": [0.89, 0.99], "coverage": [1.0, 0.94]}, "fails"),
    ],
)
def test_bounds(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict

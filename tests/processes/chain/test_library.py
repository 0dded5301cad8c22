"""The chains of the literature take the probabilities that they are defined for, and no others."""

import re

import pytest

from mechbp.errors import InputError
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r

RANGES = {
    "mess3, x": (lambda x: mess3(x, 0.6), (1e-3, 0.5), (0.0, 0.501)),
    "mess3, alpha": (lambda alpha: mess3(0.15, alpha), (0.0, 1.0), (-1e-3, 1.001)),
    "rrxor, p": (lambda p: rrxor(p=p), (1e-3, 0.999), (0.0, 1.0)),
    "rrxor, q": (lambda q: rrxor(q=q), (1e-3, 0.999), (0.0, 1.0)),
    "z1r, p": (z1r, (0.0, 1.0), (-1e-3, 1.001)),
    "even, p": (even, (1e-3, 1.0), (0.0, 1.001)),
    "golden_mean, p": (golden_mean, (1e-3, 1.0), (0.0, 1.001)),
}


@pytest.mark.parametrize("parameter", RANGES)
def test_a_probability_is_taken_up_to_its_ends_and_refused_beyond(parameter):
    make, taken, refused = RANGES[parameter]
    where, name = parameter.split(", ")
    for value in taken:
        assert make(value).transitions.sum(axis=(0, 2)) == pytest.approx(1)
    for value in refused:
        with pytest.raises(InputError, match=rf"^{where}: {name} must .*{re.escape(f'{value:g}')}"):
            make(value)

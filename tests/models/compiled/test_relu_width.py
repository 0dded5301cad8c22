"""The ReLU variant: interpolated squares, errors that fall with the width, and what it cannot do."""

import json
import re

import numpy as np
import pytest
from compiled_cases import exact, make_tree, masked_data

from mechbp.errors import InputError
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.relu_width import accuracy_by_width
from mechbp.models.compiled.square_units import interpolation


def test_interpolation_meets_the_square_at_its_nodes_and_lies_above_between():
    nodes = np.array([0.0, 0.1, 0.3, 1.0, 4.0])
    knots, slopes = interpolation(nodes)
    z = np.linspace(-2, 4, 601)
    found = np.maximum(z[:, None] - knots, 0) @ slopes
    assert np.abs(np.maximum(nodes[:, None] - knots, 0) @ slopes - nodes**2).max() < 1e-14
    assert (found[z <= 0] == 0).all()
    above = found - np.maximum(z, 0) ** 2
    widest = np.diff(nodes)[np.clip(np.searchsorted(nodes, z, "right") - 1, 0, 3)]
    assert (above > -1e-14).all() and (above <= widest**2 / 4 + 1e-14).all()


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_errors_fall_with_the_width(depth):
    tree = make_tree("unambiguous", 3, depth)
    result = accuracy_by_width(tree, [4, 16, 64], masked_data(tree, 40, "width"))
    assert result.knots == (4, 16, 64) and result.d_mlp == tuple(k * compile_bp(tree).model.cfg.d_mlp for k in result.knots)
    for error in (result.leaf_mean_error, result.root_mean_error, result.leaf_kl_bp_to_model_nats):
        assert error[0] > 3 * error[1] > 9 * error[2] > 0
    assert result.leaf_max_error[2] < 0.05 and result.leaf_kl_bp_to_model_nats[2] < 2e-3 and result.undefined[2] == 0
    assert result.n == 40 and json.loads(json.dumps(result.to_dict()))["knots"] == [4, 16, 64]


def test_the_numbers_are_those_of_the_model():
    tree = make_tree("ambiguous", 3, 2)
    tokens = masked_data(tree, 20, "numbers")
    result = accuracy_by_width(tree, [8], tokens)
    for answer, largest in (("leaf", result.leaf_max_error), ("root", result.root_max_error)):
        compiled = compile_bp(tree, answer=answer, activation="relu", knots=8)
        assert compiled.model.cfg.act_fn == "relu" and compiled.knots == 8
        assert np.abs(compiled.answers(tokens) - exact(tree, answer, tokens)).max() == pytest.approx(largest[0], rel=1e-6)


def test_nothing_to_measure_is_refused():
    tree = make_tree("unambiguous", 2, 2)
    with pytest.raises(InputError, match="need at least one number of knots and one sequence, got 0 and 3"):
        accuracy_by_width(tree, [], masked_data(tree, 3))
    with pytest.raises(InputError, match=re.escape("knots must be an integer in 2..4096")):
        accuracy_by_width(tree, [1], masked_data(tree, 3))

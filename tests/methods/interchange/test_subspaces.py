"""Whatever `capture` returns goes into the fits of subspaces and erasers as it is."""

import numpy as np
import pytest
import torch

from mechbp.errors import InputError
from mechbp.methods.interchange.leace import leace, projection
from mechbp.methods.interchange.subspaces import mean_subspace, probe_subspace

RNG = np.random.default_rng(0)
MESSAGES = RNG.dirichlet(np.ones(3), size=(40, 4))
ACTIVATIONS = (RNG.normal(size=(40, 4, 6)) + MESSAGES @ RNG.normal(size=(3, 6))).astype(np.float32)


@pytest.mark.parametrize("fit", [mean_subspace, probe_subspace], ids=lambda fit: fit.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_and_arrays_give_the_same_subspace(fit, dtype):
    tensor = torch.from_numpy(ACTIVATIONS).to(dtype).requires_grad_()
    np.testing.assert_array_equal(fit(tensor, MESSAGES, 2).basis, fit(ACTIVATIONS, MESSAGES, 2).basis)


def test_half_precision_is_taken_as_float32():
    half = torch.from_numpy(ACTIVATIONS).to(torch.bfloat16)
    np.testing.assert_array_equal(mean_subspace(half, MESSAGES, 2).basis, mean_subspace(half.float().numpy(), MESSAGES, 2).basis)


def test_tensors_and_arrays_give_the_same_eraser():
    tensor = torch.from_numpy(ACTIVATIONS)
    subspace = mean_subspace(tensor, MESSAGES, 2)
    for one, other in (
        (leace(tensor, MESSAGES), leace(ACTIVATIONS, MESSAGES)),
        (projection(tensor, subspace), projection(ACTIVATIONS, subspace)),
    ):
        np.testing.assert_array_equal(one.removed, other.removed)
        np.testing.assert_array_equal(one.mean, other.mean)


def test_messages_of_nodes_are_refused_with_the_likely_cure():
    with pytest.raises(InputError, match=r"pass at_leaves\(beliefs.upward\[depth\], n_leaves\)"):
        mean_subspace(ACTIVATIONS, MESSAGES[:, :2], 2)

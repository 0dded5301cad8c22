"""The nearest oracle is told in either direction."""

import numpy as np
import pytest

from mechbp.divergence import kl_nats
from mechbp.randomness import rng
from mechbp.theory.tree.followed import followed


def test_the_two_directions_can_follow_two_oracles():
    answers = np.tile([0.90, 0.10], (50, 1))
    oracles = {0: np.tile([1.0, 0.0], (50, 1)), 1: np.tile([0.6, 0.4], (50, 1))}  # sure, and doubtful
    found = followed(answers, oracles, rng(0))
    assert found.nearest == (0, 1)  # an oracle's zero costs 27.6 nats times the model's doubt
    for k, exact in oracles.items():
        assert found.oracle_to_answers_nats.mean[k] == pytest.approx(kl_nats(exact, answers).mean())
        assert found.answers_to_oracle_nats.mean[k] == pytest.approx(kl_nats(answers, exact).mean())
    assert found.lead[0].mean == pytest.approx(np.ptp(found.oracle_to_answers_nats.mean))
    assert all(lead.low > 0 for lead in found.lead)

"""Leads over rival oracles: known answers for models that compute one of the oracles, and for mixtures."""

import numpy as np
import pytest

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.methods.statistics.intervals import Interval
from mechbp.methods.statistics.rival_oracles import OracleLeads, oracle_leads


@pytest.fixture
def oracles():
    draw = np.random.default_rng(0)
    own = draw.dirichlet(np.ones(4), size=(300, 3))
    near = 0.8 * own + 0.2 * draw.dirichlet(np.ones(4), size=(300, 3))
    far = draw.dirichlet(np.ones(4), size=(300, 3))
    return [near, own, far]


def leads(oracles, answers):
    return oracle_leads(oracles, 1, answers, np.random.default_rng(1))


def test_a_model_that_computes_its_own_oracle_leads_everywhere(oracles):
    found = leads(oracles, oracles[1])
    assert found.rivals == (0, 2) and found.next == 0
    np.testing.assert_allclose(found.closer_nats.mean, [kl_nats(oracles[1], oracles[k]).mean() for k in (0, 2)], atol=1e-12)
    np.testing.assert_allclose(found.nearer_nats.mean, [kl_nats(oracles[k], oracles[1]).mean() for k in (0, 2)], atol=1e-12)
    assert min(found.numbers().values()) > 0


def test_a_model_that_computes_the_next_oracle_is_excluded(oracles):
    """The bound of a nearly right oracle is not met by that oracle itself, however near it is."""
    found = leads(oracles, oracles[0])
    numbers = found.numbers()
    assert numbers["closer_low"] == 0 and numbers["nearer_low"] < 0 and numbers["better_low"] == 0


def test_nearness_and_closeness_are_two_questions(oracles):
    """Half way to a near rival the model loses less than the rival does, and is about as near to it as to its own oracle."""
    found = leads(oracles, 0.45 * oracles[1] + 0.55 * oracles[0])
    assert found.closer_nats.low[0] > 0 > found.nearer_nats.high[0]


def test_arguments_are_checked(oracles):
    with pytest.raises(InputError, match="two oracles or more"):
        oracle_leads(oracles[:1], 0, oracles[0], np.random.default_rng(0))
    with pytest.raises(InputError, match="equal shapes"):
        oracle_leads([oracles[0], oracles[1][:5]], 0, oracles[0], np.random.default_rng(0))


def test_what_a_criterion_is_given_is_of_the_rival_that_each_is_about():
    def interval(mean, low):
        return Interval(np.array(mean), np.array(low), np.array(mean) + 1, 9)

    found = OracleLeads(
        (0, 2), interval([0.5, 0.1], [0.4, 0.05]), interval([0.2, 0.9], [0.1, 0.8]), interval([0, 0.4], [-0.2, 0.3])
    )
    assert found.next == 1 and found.numbers() == {"closer_low": 0.05, "nearer_low": 0.1, "better_low": 0.3}

"""Gauss's rule on the simplex integrates polynomials exactly, however small the parameters, to full relative precision."""

from fractions import Fraction

import numpy as np
import pytest

from mechbp.processes.topics.simplex import beta_rule, dirichlet_rule


def rising(a, n):
    """a (a + 1) ... (a + n - 1), as a fraction."""
    product = Fraction(1)
    for i in range(n):
        product *= Fraction(a) + i
    return product


def moment(alpha, powers):
    """E prod_t theta_t^powers[t] over Dirichlet(alpha)."""
    total = rising(sum(map(Fraction, alpha)), sum(powers))
    product = Fraction(1)
    for a, n in zip(alpha, powers, strict=True):
        product *= rising(a, n)
    return product / total


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 1.0), (0.1, 0.2), (1e-8, 1.0), (1.0, 1e-8), (1e-3, 1e-3), (300.0, 0.7)])
@pytest.mark.parametrize("n", [1, 2, 5, 32])
def test_moments_of_the_beta_distribution(a, b, n):
    u, rest, weight = beta_rule(a, b, n)
    np.testing.assert_allclose(u + rest, 1, rtol=0, atol=1e-15)
    assert (np.diff(u) > 0).all() and (weight > 0).all()
    for degree in {0, 1, n, 2 * n - 1}:
        for i in {0, degree // 3, degree}:
            found = weight @ (u**i * rest ** (degree - i))
            assert found == pytest.approx(float(moment((a, b), (i, degree - i))), rel=3e-14)


def test_the_rule_is_exact_up_to_its_degree_and_not_beyond():
    u, _, weight = beta_rule(0.3, 2.0, 4)
    assert weight @ u**8 != pytest.approx(float(moment((0.3, 2.0), (8, 0))), rel=1e-6)


@pytest.mark.parametrize("alpha", [(0.1, 0.1, 0.1), (1e-6, 5.0, 0.2), (0.3, 0.7, 1.1, 2.0)])
@pytest.mark.parametrize("degree", [0, 1, 6, 31])
def test_moments_of_the_dirichlet_distribution(alpha, degree):
    rule = dirichlet_rule(np.array(alpha), degree, "test")
    assert rule.theta.shape == (len(alpha), (degree // 2 + 1) ** (len(alpha) - 1))
    np.testing.assert_allclose(rule.theta.sum(axis=0), 1, rtol=0, atol=1e-14)
    rng = np.random.default_rng(0)
    for powers in [*rng.multinomial(degree, np.full(len(alpha), 1 / len(alpha)), size=10), [degree] + [0] * (len(alpha) - 1)]:
        found = rule.weight @ np.prod(rule.theta ** np.array(powers)[:, None], axis=0)
        assert found == pytest.approx(float(moment(alpha, [int(n) for n in powers])), rel=1e-13)


def test_the_rule_of_one_topic_is_one_point():
    rule = dirichlet_rule(np.array([0.4]), 9, "test")
    assert rule.theta.tolist() == [[1.0]] and rule.weight.tolist() == [1.0]

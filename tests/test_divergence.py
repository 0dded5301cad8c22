"""Divergences against their sums written out, and their defining properties."""

import math

import numpy as np
import pytest

from mechbp.divergence import expected_hits, js_nats, kl_nats
from mechbp.randomness import rng


def drawn(n=200, q=5):
    return rng(0, "p").dirichlet(np.ones(q), n), rng(0, "q").dirichlet(np.ones(q), n)


def test_by_hand():
    p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    assert kl_nats(p, q)[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-15)
    assert kl_nats(q, p)[0] == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-15)


def test_loops_agree():
    p, q = drawn()
    expected = [sum(a * math.log(a / b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(kl_nats(p, q), expected, rtol=0, atol=1e-12)


def test_properties():
    p, q = drawn()
    assert (kl_nats(p, q) >= 0).all() and (kl_nats(p, p) == 0).all()
    np.testing.assert_allclose(js_nats(p, q), js_nats(q, p), rtol=0, atol=1e-15)
    assert (js_nats(p, q) <= math.log(2)).all()
    assert js_nats(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))[0] == pytest.approx(math.log(2))


def test_zeros():
    delta, even = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    assert kl_nats(delta, even)[0] == pytest.approx(math.log(2))
    assert kl_nats(even, delta)[0] == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / 1e-12))


def test_expected_hits_are_the_truth_at_the_choice():
    p, q = drawn()
    loops = [x[max(range(len(y)), key=lambda a: (y[a], -a))] for x, y in zip(p, q, strict=True)]
    assert expected_hits(p, q).tolist() == loops
    assert expected_hits(np.array([[[0.2, 0.8]]]), np.array([[[0.5, 0.5]]])).tolist() == [[0.2]]  # ties go to the first
    assert (expected_hits(p, p) == p.max(axis=-1)).all()

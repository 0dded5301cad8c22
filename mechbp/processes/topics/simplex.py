"""Integrals over the proportions of topics, exact for polynomials: Gauss's rule for the Dirichlet distribution.

Broken stick by stick, theta_1 = u_1, theta_2 = (1 - u_1) u_2, ..., the proportions are independent Beta variables, and a
polynomial of degree d in theta has degree d at most in each. Gauss's rule of n nodes integrates degree 2n - 1 exactly, so the
product of the rules of all sticks integrates the whole. All weights are positive, and no term cancels another.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.linalg import svdvals

from mechbp.errors import LimitExceeded
from mechbp.processes.read_only import read_only
from mechbp.processes.topics.listed import ListedProportions

MAX_NODES = 200_000
"""More points on the simplex are refused before they are listed."""


def dirichlet_rule(alpha: Float64[np.ndarray, " topic"], degree: int, where: str) -> ListedProportions:
    """Return proportions whose weighted sum is the expectation of every polynomial up to `degree` over Dirichlet(alpha).

    They are (degree // 2 + 1)^(topics - 1). Raises LimitExceeded, in the name of `where`, if that is more than MAX_NODES.
    """
    n = degree // 2 + 1  # the least with 2n - 1 >= degree
    n_nodes = n ** (len(alpha) - 1)
    if n_nodes > MAX_NODES:
        raise LimitExceeded(
            f"{where}: {len(alpha)} topics that share words need {float(n_nodes):.1e} points of quadrature for documents "
            f"of up to {degree - 2} words; at most {MAX_NODES:,} are summed.\n"
            f"Use shorter documents, fewer topics, or topics that share no word."
        )
    return _product_rule(tuple(alpha.tolist()), n)


@lru_cache(maxsize=8)
def _product_rule(alpha: tuple[float, ...], n: int) -> ListedProportions:
    theta = np.empty((0, 1))
    rest = np.ones(1)
    weight = np.ones(1)
    for t in range(len(alpha) - 1):
        first, others, chance = beta_rule(alpha[t], sum(alpha[t + 1 :]), n)
        theta = np.concatenate([np.repeat(theta, n, axis=1), np.outer(rest, first).reshape(1, -1)])
        rest = np.outer(rest, others).ravel()
        weight = np.outer(weight, chance).ravel()
    return ListedProportions(read_only(np.concatenate([theta, rest[None]])), read_only(weight))


def beta_rule(
    a: float, b: float, n: int
) -> tuple[Float64[np.ndarray, " node"], Float64[np.ndarray, " node"], Float64[np.ndarray, " node"]]:
    """Return u, 1 - u and the weights of Gauss's rule of n nodes for u ~ Beta(a, b), each to full relative precision.

    A node close to 0 carries a power of u as high as the document is long, so that an absolute error of 1e-16 would not do.
    Nodes up to 1/2 are found as u, those above as 1 - u, from the mirrored rule.
    """
    below, weight_below = _lower_nodes(a, b, n)
    above, weight_above = _lower_nodes(b, a, n)
    k = int((below <= 0.5).sum())
    near_zero = below[:k]
    near_one = above[: n - k][::-1]
    u = np.concatenate([near_zero, 1 - near_one])
    return u, np.concatenate([1 - near_zero, near_one]), np.concatenate([weight_below[:k], weight_above[: n - k][::-1]])


def _lower_nodes(a: float, b: float, n: int) -> tuple[Float64[np.ndarray, " node"], Float64[np.ndarray, " node"]]:
    """Rising nodes and weights; those close to 0 to full relative precision.

    The Jacobi matrix of the orthonormal polynomials factors as B B^T. The entries of the bidiagonal B are square roots of
    products of positive numbers (canonical moments: Dette and Studden 1997), so that nothing is subtracted, and the singular
    values of a bidiagonal matrix are as precise as its entries (Demmel and Kahan 1990). The nodes are their squares.
    """
    k = np.arange(n)
    odd = (a + k) / (a + b + 2 * k)  # canonical moments p_1, p_3, ...
    not_odd = (b + k) / (a + b + 2 * k)  # 1 - p
    even = (k + 1) / (a + b + (2 * k + 1))  # p_2, p_4, ...
    not_even = (a + b + k) / (a + b + (2 * k + 1))
    diagonal = np.sqrt(odd * np.append(1.0, not_even[:-1]))
    below = np.sqrt(even * not_odd)[: n - 1]
    root = np.asarray(svdvals(np.diag(diagonal) + np.diag(below, 1)))[::-1]  # upper bidiagonal: B^T, so nothing is to reduce
    # A weight is 1 / sum_k p_k(u)^2. The polynomials p solve B B^T p = u p; with y = B^T p / sqrt(u) row by row, so that
    # every term is as precise as the node.
    p = np.ones(n)
    y = root / diagonal[0]
    total = np.ones(n)
    for j in range(n - 1):
        p = (root * y - diagonal[j] * p) / below[j]
        y = (root * p - below[j] * y) / diagonal[j + 1]
        total += p**2
    return root**2, 1 / total

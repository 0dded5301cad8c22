"""The hidden Markov models of the literature, by name.

Sources: Shai et al. 2024 (Mess3, RRXOR, Z1R); the even process and the golden mean are standard examples of computational
mechanics. Published libraries disagree on which token of Z1R has probability p; here it is token 0.
"""

from __future__ import annotations

import numpy as np

from mechbp.arguments import checked_number
from mechbp.processes.chain.hmm import HiddenMarkovModel


def mess3(x: float, alpha: float, length: int | None = None) -> HiddenMarkovModel:
    """Return Mess3: three states in a ring of moves, each token naming the state moved to with probability `alpha`.

    From any state, each other one is moved to with probability `x`. The non-trivial eigenvalue is 1 - 3x.
    (Source: Piotrowski et al. 2025, Eqs. 21-23.) Raises InputError unless 0 < x <= 1/2 and 0 <= alpha <= 1.

    >>> import mechbp
    >>> mechbp.mess3(x=0.15, alpha=0.6).transitions.shape
    (3, 3, 3)
    """
    _checked("mess3", "x", x, 0.5, above_zero=True)
    _checked("mess3", "alpha", alpha, 1.0)
    moves = (1 - 3 * x) * np.eye(3) + x
    emits = (1 - alpha) / 2 + (alpha - (1 - alpha) / 2) * np.eye(3)  # [state moved to, token]
    return HiddenMarkovModel(moves[None] * emits.T[:, None, :], length=length)


def rrxor(p: float = 0.5, q: float = 0.5, length: int | None = None) -> HiddenMarkovModel:
    """Return Random-Random-XOR: two random bits, then their exclusive or; states S, 0, 1, T, F.

    (Source: Shai et al. 2024.) At p = q = 1/2 no two tokens are correlated.

    >>> import mechbp
    >>> mechbp.rrxor().transitions.sum(axis=(0, 2)).round(12).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    _checked("rrxor", "p", p, 1.0, above_zero=True, below_top=True)
    _checked("rrxor", "q", q, 1.0, above_zero=True, below_top=True)
    start, zero, one, true, false = range(5)
    steps = np.zeros((2, 5, 5))
    steps[0, start, zero] = p
    steps[1, start, one] = 1 - p
    steps[0, zero, false] = q
    steps[1, zero, true] = 1 - q
    steps[0, one, true] = q
    steps[1, one, false] = 1 - q
    steps[1, true, start] = steps[0, false, start] = 1
    return HiddenMarkovModel(steps, length=length)


def z1r(p: float = 0.5, length: int | None = None) -> HiddenMarkovModel:
    """Return Zero-One-Random: 0, then 1, then a random bit that is 0 with probability p."""
    _checked("z1r", "p", p, 1.0)
    steps = np.zeros((2, 3, 3))
    steps[0, 0, 1] = steps[1, 1, 2] = 1
    steps[0, 2, 0] = p
    steps[1, 2, 0] = 1 - p
    return HiddenMarkovModel(steps, length=length)


def even(p: float = 0.5, length: int | None = None) -> HiddenMarkovModel:
    """Return the even process: ones come in runs of even length. A 0 follows a finished run with probability 1 - p."""
    _checked("even", "p", p, 1.0, above_zero=True)
    return HiddenMarkovModel(np.array([[[1 - p, 0], [0, 0]], [[0, p], [1, 0]]]), length=length)


def golden_mean(p: float = 0.5, length: int | None = None) -> HiddenMarkovModel:
    """Return the golden mean process: no two ones in a row. A 1 may follow a 0 with probability p."""
    _checked("golden_mean", "p", p, 1.0, above_zero=True)
    return HiddenMarkovModel(np.array([[[1 - p, 0], [1, 0]], [[0, p], [0, 0]]]), length=length)


def _checked(
    where: str, name: str, value: object, top: float, *, above_zero: bool = False, below_top: bool = False
) -> None:  # fmt: skip
    lowest = {"above": 0.0} if above_zero else {"least": 0.0}
    highest = {"below": top} if below_top else {"most": top}
    checked_number(value, where, name, **lowest, **highest)

"""How two kinds of runs differ where each is compared with runs of its own cell only, with an interval that few runs earn.

T = sum over cells of w_c (mean of members - mean of the others), w_c = n n' / (n + n'), over the sum of w_c: what least squares
gives with a constant per cell. Its interval turns a permutation test round. If membership moved every value by d, values less d
per member would be exchangeable inside a cell; deal m of the memberships then gives T_m - d A_m, A_m being T of the memberships
themselves under the deal, and the deal at hand T - d. So m speaks against d being smaller or larger on either side of
D_m = (T - T_m) / (1 - A_m), and the ends of the interval are quantiles of D. Where there are too few deals for the level, as with
one member and one other, an end is infinite: a bootstrap would give such a cell no spread at all. (Plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechbp.errors import InputError
from mechbp.randomness import checked_generator

DRAWS = 20_000
SAME = 1e-9
"""A deal whose A is this near to 1 is the deal at hand."""


@dataclass(frozen=True)
class CellDifference:
    """Members less others, inside cells."""

    difference: float
    low: float
    high: float
    """Infinite where there are too few deals."""
    p: float
    """Two-sided, by permutation inside cells."""
    cells: int
    """Cells that have both."""
    members: int
    others: int
    """Runs of either kind in those cells."""


def cell_difference(
    values: Float64[np.ndarray, " n"],
    member: Bool[np.ndarray, " n"],
    cells: Int[np.ndarray, " n"],
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    draws: int = DRAWS,
) -> CellDifference:
    """Compare members with others cell by cell; cells that lack either are left out.

    Raises InputError where no cell has both, for values that are not finite, or arguments out of range.
    """
    generator = checked_generator(rng, "cell_difference")
    if not len(values) == len(member) == len(cells) or not np.isfinite(values).all() or not 0 < level < 1 or draws < 1:
        raise InputError(
            f"cell_difference: need one finite value, membership and cell per run, 0 < level < 1 and draws >= 1, got "
            f"{len(values)}, {len(member)} and {len(cells)}."
        )
    both = np.intersect1d(cells[member], cells[~member])
    if not len(both):
        raise InputError(f"cell_difference: none of {len(np.unique(cells))} cells has members and others. Compare other runs.")
    at = [np.flatnonzero(cells == cell) for cell in both]
    used = np.concatenate(at)
    starts = np.cumsum([0, *(len(part) for part in at)])
    parts = [slice(start, end) for start, end in pairwise(starts)]
    dealt = np.empty((draws, len(used)))
    belongs = member[used].astype(np.float64)
    moved = values[used].copy()
    moves = belongs.copy()
    for part in parts:
        dealt[:, part] = generator.permuted(np.broadcast_to(belongs[part], (draws, part.stop - part.start)), axis=1)
        moved[part] -= moved[part].mean()
        moves[part] -= moves[part].mean()
    weight = float(belongs @ moves)  # the sum over cells of n n' / (n + n')
    at_hand = float(belongs @ moved) / weight
    differences = dealt @ moved / weight
    alike = dealt @ moves / weight
    other = alike < 1 - SAME
    bounds = np.sort((at_hand - differences[other]) / (1 - alike[other]))
    as_large = np.abs(differences) >= abs(at_hand) * (1 - SAME)
    identical = 1 + int(np.count_nonzero(~other))
    needed = int(np.floor((1 - level) / 2 * (1 + draws))) - identical + 1
    enough = 0 < needed <= len(bounds)
    return CellDifference(
        difference=at_hand,
        low=float(bounds[needed - 1]) if enough else -np.inf,
        high=float(bounds[-needed]) if enough else np.inf,
        p=float((1 + np.count_nonzero(as_large)) / (1 + draws)),
        cells=len(both),
        members=int(belongs.sum()),
        others=int(len(used) - belongs.sum()),
    )

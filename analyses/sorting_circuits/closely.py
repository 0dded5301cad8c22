"""Which runs are watched closely."""

from __future__ import annotations

from collections.abc import Sequence

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.end_states import default_design

CLOSELY = 4
"""At most so many."""


def closely(sorters: Sequence[Sorter]) -> list[Sorter]:
    """Return the runs to watch closely: of the default design those with most values, else the first."""
    default = default_design(sorters) or list(sorters[:1])
    most = max(sorter.process.vocab_size for sorter in default)
    return [sorter for sorter in default if sorter.process.vocab_size == most][:CLOSELY]

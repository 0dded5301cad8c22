"""The numbers that models of sorting are held to, from the same measurements as the page, for `mechbp verify`."""

from __future__ import annotations

from collections.abc import Iterator

from analyses.shared.sorter import Sorter, unsuitable
from analyses.sorting_circuits.algorithm import answer_attention
from analyses.sorting_circuits.closely import closely
from analyses.sorting_circuits.criteria import CRITERIA
from analyses.sorting_circuits.end_states import SPLITTING, default_design
from analyses.sorting_circuits.splitting import splitting
from mechbp.models.verify import Check
from mechbp.study import Study


def thresholds(study: Study) -> Iterator[tuple[str, Check]]:
    """Yield what runs watched closely, split runs, and all runs of the default design together are held to."""
    sorters = [Sorter.last(run) for run in study.runs if not unsuitable(run)]
    if not sorters:
        return
    often, nearly_all = CRITERIA["selects"].bounds["often"], CRITERIA["copies"].bounds["nearly_all"]
    for sorter in closely(sorters):
        looking = answer_attention(study, sorter)
        first, coverage = float(looking.first.mean), sorter.modes.coverage
        yield sorter.name, Check.of(f"answer has most attention >= {often}", f"{first:.3f}", float(looking.first.low) >= often)
        yield sorter.name, Check.of(f"share of values copied >= {nearly_all}", f"{coverage:.3f}", coverage >= nearly_all)
    points = CRITERIA["split-ablation"].bounds["points"]
    for sorter in sorters:
        if sorter.label == "splitting":
            worst = float(splitting(study, sorter).deviation.max())
            what = f"accuracy without a head within {points} of expected"
            yield sorter.name, Check.of(what, f"{worst:.3f}", worst <= points)
    runs = default_design(sorters)
    free = [sorter for sorter in runs if not sorter.decays]
    most, least = CRITERIA["end-states"].bounds["most"], CRITERIA["splitting-free"].bounds["least"]
    share = sum(sorter.specialised for sorter in runs) / max(len(runs), 1)
    yield "sorting", Check.of(f"runs that split or suppress >= {most:.0%}", f"{share:.0%} of {len(runs)}", share >= most)
    passes = sum(sorter.label in SPLITTING for sorter in free)
    what = f"without decay, runs that split >= {least:.0%}"
    yield "sorting", Check.of(what, f"{passes} of {len(free)}", bool(free) and passes >= least * len(free))

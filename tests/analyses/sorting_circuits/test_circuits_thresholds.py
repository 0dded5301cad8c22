"""What `mechbp verify` says of sorters: the page's own numbers, on either side of what they are held to."""

from types import SimpleNamespace

import numpy as np
import pytest

from analyses.sorting_circuits import closely as choice
from analyses.sorting_circuits import thresholds as held
from analyses.sorting_circuits.known import known_sorter
from analyses.sorting_development import thresholds as along
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.study import Study

LISTS = SortedLists(12, 4)


STUDY = Study((), True, lambda text: None)


def judged(monkeypatch, sorters):
    """The thresholds of sorters that are no runs of a folder."""
    monkeypatch.setattr(held, "unsuitable", lambda run: "")
    monkeypatch.setattr(held, "Sorter", SimpleNamespace(last=lambda run: run))
    return list(held.thresholds(SimpleNamespace(runs=sorters, rng=STUDY.rng, size=STUDY.size, stage=STUDY.stage)))


def test_no_sorter_is_held_to_nothing(monkeypatch):
    assert judged(monkeypatch, []) == []


def test_a_compiled_splitter_passes_and_an_overlap_falls_short(monkeypatch):
    splitter = known_sorter("splitter", LISTS, "splitting", confidence=20.0)
    overlap = known_sorter("overlap", LISTS, "overlap")
    monkeypatch.setattr(choice, "default_design", lambda sorters: list(sorters))
    monkeypatch.setattr(held, "default_design", lambda sorters: list(sorters))
    monkeypatch.setattr(type(splitter), "decays", False)
    passed = dict.fromkeys(("answer has most attention >= 0.9", "share of values copied >= 0.95"), "pass")
    for sorter, verdict in ((splitter, "pass"), (overlap, "short")):
        found = {check.what: check.verdict for _, check in judged(monkeypatch, [sorter])}
        assert passed.items() <= found.items()
        assert found["runs that split or suppress >= 80%"] == verdict
        assert found["without decay, runs that split >= 20%"] == verdict
        assert any("without a head" in what for what in found) is (sorter is splitter)


@pytest.mark.parametrize(("low", "change", "verdict"), [(0.2, 0.01, "pass"), (0.05, 0.01, "short"), (0.2, 0.5, "short")])
def test_falls_are_judged_by_both_bounds(monkeypatch, low, change, verdict):
    ends = SimpleNamespace(mean=np.float64(0.3), low=np.float64(low))
    fall = SimpleNamespace(fall=ends, loss_change=change, setting="units", one=SimpleNamespace(name="run"))
    monkeypatch.setattr(along, "falls", lambda found, settings: [fall])
    monkeypatch.setattr(along, "within_runs", lambda found: [])
    ((name, check),) = along.thresholds(STUDY)
    assert name == "run" and check.verdict == verdict


@pytest.mark.parametrize(("specialised", "high", "verdicts"), [(True, -1.0, ["pass"]), (True, 1.0, ["short"]), (False, -1.0, [])])
def test_only_specialised_ends_are_compared(monkeypatch, specialised, high, verdicts):
    pair = SimpleNamespace(
        one=SimpleNamespace(name="run", specialised=specialised),
        setting="sharp",
        difference=SimpleNamespace(mean=np.float64(-2), high=np.float64(high)),
    )
    monkeypatch.setattr(along, "falls", lambda found, settings: [])
    monkeypatch.setattr(along, "within_runs", lambda found: [pair])
    assert [check.verdict for _, check in along.thresholds(STUDY)] == verdicts

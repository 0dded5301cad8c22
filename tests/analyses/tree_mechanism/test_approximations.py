"""The comparison of estimated with exact effects on runs of every kind: small, and with verdicts that the numbers decide."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from small_runs import write_run

from analyses.tree_mechanism import approximations
from analyses.tree_mechanism.approximations import METHODS, study_approximations
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.study import Study

KINDS = {
    "masked": {},
    "root": {"objective__task": "root"},
    "attention-only": {"process__vocab_size": 4, "process__depth": 3, "model__d_mlp": 0},
    "tiny": {"process__vocab_size": 2, "process__depth": 1},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("approximations")
    shared = {"training__steps": 12, "training__warmup_steps": 2, "training__stored_steps": 2}
    folders = [write_run(root / name, **{**shared, **kind}) for name, kind in KINDS.items()]
    for folder in folders:
        train(folder)
    return {folder.name: load(folder) for folder in folders}


def studied(run):
    return study_approximations(Study((run,), True, lambda text: None), run)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_run_is_compared(name, runs, monkeypatch):
    monkeypatch.setattr(approximations, "DRAWN", 0.0)
    claims, section = studied(runs[name])
    if section.status == "skipped":
        assert name == "tiny" and not claims and "pairs with different exact answers" in section.reason
        return
    (figure,) = section.figures
    assert [claim.id for claim in claims] == [f"{name}-{method}-agrees" for method in METHODS]
    assert all(claim.verdict in ("holds", "partly", "fails", "short") and claim.figure == figure.id for claim in claims)
    sites = 2 if name == "attention-only" else 3
    n_cells = sites * (runs[name].process.n_leaves + (name == "root"))
    assert {len(series["x"]) for series in figure.data["series"]} == {n_cells}
    assert np.isfinite([series[axis] for series in figure.data["series"] for axis in "xy"]).all()
    assert len(json.dumps(asdict(section))) + len(json.dumps([asdict(claim) for claim in claims])) < 40_000


def test_only_cells_near_zero_are_not_drawn(runs, monkeypatch):
    drawn = studied(runs["masked"])[1].figures[0].data["series"]
    monkeypatch.setattr(approximations, "DRAWN", 0.0)
    for few, every in zip(drawn, studied(runs["masked"])[1].figures[0].data["series"], strict=True):
        kept = {point for point in zip(every["x"], every["y"], strict=True) if max(map(abs, point)) >= 0.005}
        assert set(zip(few["x"], few["y"], strict=True)) == kept and len(few["x"]) <= len(every["x"])


def test_the_verdict_follows_the_numbers(runs, monkeypatch):
    """Estimates put in place by hand: the exact effects, half of them, and those of other cells."""
    exact = approximations.patch
    kept = {}

    def remembered(*arguments, **options):
        kept["exact"] = replace(exact(*arguments, **options))
        gap = replace(kept["exact"].gap, low=np.asarray(1e-9))  # an untrained model's gap is not clear of 0
        kept["exact"] = replace(kept["exact"], gap=gap)
        return kept["exact"]

    monkeypatch.setattr(approximations, "patch", remembered)
    verdicts = {}
    for name, plant in {
        "exact": lambda effects: effects,
        "half": lambda effects: effects / 2,
        "others": lambda effects: effects[:, ::-1],
    }.items():
        estimate = approximations.attribution_patch

        def planted(*arguments, plant=plant, estimate=estimate, **options):
            return replace(estimate(*arguments, **options), estimates=plant(kept["exact"].effects))

        with monkeypatch.context() as patched:
            patched.setattr(approximations, "attribution_patch", planted)
            verdicts[name] = studied(runs["masked"])[0][0].verdict
    assert verdicts == {"exact": "holds", "half": "partly", "others": "fails"}

"""A model that is no stored step is measured as the run's own steps are."""

import copy
from dataclasses import replace

import pytest
import torch
from measured_runs import AUTO, write_sorter

from mechbp.measuring import changed
from mechbp.measuring.changed import measure_changed
from mechbp.measuring.measure import measure
from mechbp.models.llc_records import read_llc
from mechbp.models.runs import load
from mechbp.models.training import train

BOTH = ("absolute", "units")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    settings = [{**AUTO, "name": kind, "coordinates": kind, "steps": "last", "l2": 0.01} for kind in BOTH]
    folder = write_sorter(tmp_path_factory.mktemp("changed") / "run", *settings)
    train(folder)
    measure(folder)
    return load(folder)


@pytest.mark.parametrize("kind", BOTH)
def test_the_stored_model_has_the_stored_estimate(kind, measured, monkeypatch):
    monkeypatch.setattr(changed, "CURVATURE_BATCHES", 2)  # as many as `measure` takes
    record = read_llc(measured)[kind][60]
    found = measure_changed(measured, measured.model, record.setting)
    assert tuple(found.per_chain) == record.per_chain and found.settings.step_size == record.step_size


def test_another_model_has_another(measured):
    record = read_llc(measured)["units"][60]
    other = copy.deepcopy(measured.model)
    with torch.no_grad():
        other.unembed.W_U.mul_(0.1)
    found = measure_changed(measured, other, replace(record.setting, draws=5))
    assert found.start_loss > record.start_loss and len(found.terms) == 5

"""A stored measurement is taken anew: equal for the draws that are kept apart, within its interval for others."""

import shutil
from dataclasses import replace

import pytest
from measured_runs import AUTO, write_sorter

from mechbp.errors import InputError
from mechbp.measuring.measure import measure
from mechbp.measuring.recheck import recheck
from mechbp.models.llc_records import FILE, read_llc, read_records, write_records
from mechbp.models.runs import load
from mechbp.models.training import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = write_sorter(tmp_path_factory.mktemp("recheck") / "run", {**AUTO, "draws": 60, "steps": "last"})
    train(folder)
    measure(folder)
    return folder


def test_the_first_draws_are_repeated_to_the_bit(measured):
    again = recheck(load(measured), "auto", 60)
    record = read_llc(load(measured))["auto"][60]
    assert again.same_draws and again.agrees and again.found.settings.draws == 6
    assert tuple(again.found.per_chain) == record.early_per_chain and again.stored_interval == again.found_interval
    whole = recheck(load(measured), "auto", 60, draws=60)
    assert whole.same_draws and tuple(whole.found.per_chain) == record.per_chain
    assert whole.stored_interval == whole.found_interval != again.found_interval


def test_other_draws_are_compared_by_interval(measured):
    again = recheck(load(measured), "auto", 60, draws=20)
    low, high = again.found_interval
    assert not again.same_draws and again.agrees and low < again.found.estimate < high
    # Two chains: half the width is the 97.5 % point of Student's t with one degree of freedom, 12.706, times the standard error.
    assert (high - low) / 2 == pytest.approx(12.706 * again.found.standard_error, rel=1e-3)


@pytest.mark.parametrize(("draws", "field"), [(None, "early_per_chain"), (60, "per_chain"), (20, "per_chain")])
def test_another_number_in_its_place_is_noticed(draws, field, measured, tmp_path):
    folder = shutil.copytree(measured, tmp_path / "run")
    records = read_records(folder / FILE)
    key = ("auto", "llc", 60)
    chains = getattr(records[key], field)
    width = 0.5 * abs(chains[0] - chains[1]) if draws != 20 else 1e3
    records[key] = replace(records[key], **{field: tuple(value + 12.706 * width for value in chains)})
    write_records(folder / FILE, records.values())
    assert not recheck(load(folder), "auto", 60, draws).agrees


def test_a_step_that_was_not_measured_is_refused(measured):
    with pytest.raises(InputError, match="no measurement 'auto' at step 32; measured are 60"):
        recheck(load(measured), "auto", 32)
    with pytest.raises(InputError, match="no measurement 'main' at step 60; measured are none"):
        recheck(load(measured), "main", 60)

"""llc.jsonl: what is written is what is read, and every changed byte, foreign line and missing step is found."""

import json
from dataclasses import replace
from typing import get_args, get_type_hints

import pytest
from measured_runs import AUTO, FIXED, set_settings, write_sorter

from mechbp.errors import CheckpointError, InputError
from mechbp.methods.llc.sgld import Sampler
from mechbp.models.llc_config import LLCConfig
from mechbp.models.llc_records import (
    CurvatureRecord,
    LLCRecord,
    asked_steps,
    digest_of,
    key_of,
    read_llc,
    read_records,
    write_records,
)
from mechbp.models.run_folder import step_file
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.randomness import rng

SETTING = LLCConfig("main", n_beta=10.0, localization=100.0, steps=(0, 32))
CURVATURE = CurvatureRecord(SETTING, 32, "ab" * 32, 1 / 3, 0.1)
LLC = LLCRecord(
    setting=SETTING, step=32, digest="ab" * 32, step_size=1e-4, burn_in=200, curvature=1 / 3, estimate=2 / 3, standard_error=0.1,
    per_chain=(0.6, 2 / 3), early_draws=4, early_per_chain=(0.5, 0.7), plain_estimate=0.7, variance_ratio=None,
    effective_draws=(3.5, None), rhat=None, acceptance=(0.9, 0.95), negative_share=0.0, start_loss=0.01, n_parameters=495,
    vectorised=True, cautions=("burn_in is 3.",), torch="2.0", seconds=1.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A trained run, whose recipe tests may change."""
    folder = write_sorter(tmp_path_factory.mktemp("records") / "run", AUTO, FIXED)
    train(folder)
    return folder


@pytest.fixture
def run(shared):
    """A run whose file holds a record of every step that FIXED asks for, none of them measured."""
    set_settings(shared, FIXED)
    found = load(shared)
    records = [replace(LLC, setting=found.config.llc[0], step=step, digest=digest_of(found, step)) for step in (32, 60)]
    write_records(shared / "llc.jsonl", records)
    return found


def rewrite(run, *changed, keep=True):
    records = read_records(run.folder / "llc.jsonl") if keep else {}
    write_records(run.folder / "llc.jsonl", (records | {key_of(record): record for record in changed}).values())


def check_of(run):
    return next(check for check in verify_run(run) if check.what == "measurements bound to stored steps")


def test_records_come_back_as_they_were_in_order(tmp_path):
    path = tmp_path / "llc.jsonl"
    assert read_records(path) == {}
    other = replace(CURVATURE, setting=replace(SETTING, name="alone"))
    write_records(path, [LLC, other, CURVATURE])
    assert list(read_records(path).values()) == [other, CURVATURE, LLC]
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["curvature", "curvature", "llc"]
    write_records(path, [])
    assert path.read_bytes() == b"" and read_records(path) == {}


def test_every_changed_byte_is_found(tmp_path):
    path = tmp_path / "llc.jsonl"
    write_records(path, [CURVATURE, LLC])
    whole = path.read_bytes()
    draw = rng(0, "damage")
    for place in [0, len(whole) - 1, *draw.integers(len(whole), size=200)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"llc.jsonl is damaged: line {1 + whole[:place].count(10)}: ") as refused:
            read_records(path)
        assert str(refused.value).count("\n") == 1
    for end in range(1, len(whole), 37):
        path.write_bytes(whole[:end])
        if whole[:end].endswith(b"\n"):
            continue
        with pytest.raises(CheckpointError, match="damaged"):
            read_records(path)
        assert list(read_records(path, torn=True)) == [key_of(CURVATURE)][: whole[:end].count(10)]


def test_a_line_twice_and_a_line_of_another_version_are_refused(tmp_path, unchecked):
    path = tmp_path / "llc.jsonl"
    cases = {
        "line 2: it is about the same setting and step as an earlier line": [LLC, LLC],
        "record.version must be one of 1, got 2": [replace(LLC, version=2)],  # type: ignore[arg-type]
        "kind must be one of 'curvature', 'llc', got 'ridge'": [replace(LLC, kind="ridge")],  # type: ignore[arg-type]
    }
    for message, records in cases.items():
        write_records(path, records)
        with pytest.raises(CheckpointError, match=message):
            read_records(path)


def test_verify_reads_and_passes_what_is_bound(run):
    assert check_of(run).verdict == "pass" and check_of(run).measured == "llc.jsonl: 2 records, 1 setting"
    assert list(read_llc(run)["fixed"]) == [32, 60]


def test_verify_says_nothing_where_nothing_was_measured(run):
    (run.folder / "llc.jsonl").unlink()
    assert not [check for check in verify_run(run) if "measurements" in check.what] and read_llc(run) == {"fixed": {}}


def test_what_is_not_bound_fails(run):
    record = read_llc(run)["fixed"][32]
    cases = {
        "at weights with SHA-256 cdcd": replace(record, digest="cd" * 32),
        "at other settings": replace(record, setting=replace(record.setting, seed=4)),
        "do not compare": replace(record, step_size=2e-4),
        "and 200, 0.0001 and 201": replace(record, burn_in=201),
    }
    for message, changed in cases.items():
        rewrite(run, changed)
        assert check_of(run).verdict == "FAIL" and message in check_of(run).measured
        with pytest.raises(CheckpointError, match=message):
            read_llc(run)
    rewrite(run, record)
    assert check_of(run).verdict == "pass"


def test_lines_that_the_recipe_does_not_ask_for(run):
    record = read_llc(run)["fixed"][32]
    rewrite(run, replace(record, step=0, digest=digest_of(run, 0)))
    assert check_of(run).verdict == "pass" and list(read_llc(run)["fixed"]) == [32, 60], "a step more than asked for"
    rewrite(run, replace(record, step=0))
    assert check_of(run).verdict == "FAIL", "it, too, is of other weights"
    for changed, message in (
        (replace(record, step=7), "fixed, step 7: step 7 is not stored"),
        (replace(record, setting=replace(record.setting, name="gone")), "gone, step 32: run.toml has no such setting"),
    ):
        rewrite(run, changed, keep=False)
        assert check_of(run).verdict == "FAIL" and message in check_of(run).measured
        assert read_llc(run) == {"fixed": {}}


def test_what_is_still_to_be_measured_is_short(run):
    rewrite(run, read_llc(run)["fixed"][60], keep=False)
    assert check_of(run).verdict == "short" and check_of(run).measured.endswith(
        f"1 of 2 measured. Next: mechbp measure {run.folder}"
    )


def test_a_step_of_another_recipe_has_no_digest_here(run):
    text = (run.folder / "run.toml").read_text()
    (run.folder / "run.toml").write_text(text.replace("vocab_size = 6", "vocab_size = 7"))
    try:
        with pytest.raises(CheckpointError, match="another recipe"):
            read_llc(load(run.folder))
    finally:
        (run.folder / "run.toml").write_text(text)


def test_measurements_are_no_part_of_what_was_trained(shared):
    """Adding, changing and removing settings leaves a trained run what it was, to the byte."""
    before = {path: path.read_bytes() for path in shared.glob("step-*.safetensors")}
    trained = load(shared).config.trained_recipe()
    for settings in ((), (AUTO,), ({**FIXED, "n_beta": 5.0}, AUTO)):
        set_settings(shared, *settings)
        run = load(shared)
        assert run.config.trained_recipe() == trained and "llc" not in json.loads(trained)
        assert run.config.trained_by(trained) and run.at(60) is not None and run.complete
        train(shared)
        assert {path: path.read_bytes() for path in shared.glob("step-*.safetensors")} == before
    plain = write_sorter(shared.parent / "plain")
    train(plain)
    assert step_file(plain, 60).read_bytes() == before[step_file(shared, 60)]


def test_steps_that_are_asked_for(run):
    assert asked_steps(run, replace(SETTING, steps="all")) == (0, 32, 60)
    assert asked_steps(run, replace(SETTING, steps="last")) == (60,)
    assert asked_steps(run, SETTING) == (0, 32)
    with pytest.raises(InputError, match=r"llc.main.steps: step 5 of run run is not stored; stored steps: 0, 32, 60"):
        asked_steps(run, replace(SETTING, steps=(0, 5)))


def test_samplers_are_those_of_the_method():
    assert get_args(get_type_hints(LLCConfig)["sampler"]) == get_args(Sampler)

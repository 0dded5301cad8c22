"""mechbp measure: what is stored is what the method finds, however often it was interrupted, and never of other weights."""

import os
import shutil
import signal

import pytest
import torch
import torch.nn.functional as F
from measured_runs import AUTO, FIXED, lines, repeatable, set_settings, write_sorter
from small_runs import Child

import mechbp
from mechbp.errors import ChainDiverged, CheckpointError, InputError, MechbpError
from mechbp.measuring.measure import measure
from mechbp.measuring.plan import Measurer, Plan
from mechbp.methods.llc import calibration
from mechbp.models.checkpoint import load_checkpoint, save_checkpoint
from mechbp.models.lesson_loss import lesson_batches
from mechbp.models.llc_config import LLCConfig
from mechbp.models.llc_records import read_llc
from mechbp.models.run_folder import step_file
from mechbp.models.runs import load
from mechbp.models.training import Interrupted, train
from mechbp.models.verify import verify_run
from mechbp.randomness import rng
from mechbp.storage import InUse, exclusive


@pytest.fixture(scope="module", autouse=True)
def rough_curvatures():
    """Four Hessian-vector products instead of up to thirty: the time of most tests here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibration, "PRODUCTS", 4)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_sorter(tmp_path_factory.mktemp("sorter") / "run", AUTO, FIXED)
    train(folder)
    return folder


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "run")
    measure(folder)
    return folder


@pytest.fixture
def copy(measured, tmp_path):
    return shutil.copytree(measured, tmp_path / "run")


def heard(folder):
    """Measure, and return what was said."""
    said = []
    measure(folder, say=lambda done, total, text: said.append((done, total, text)))
    return said


def move_weights(folder, step):
    """Replace a stored step by one of the same recipe with slightly larger weights."""
    path = step_file(folder, step)
    stored = load_checkpoint(path)
    save_checkpoint(path, {name: 1.01 * tensor for name, tensor in stored.tensors.items()}, step, stored.recipe)


def bound(folder):
    return next(check for check in verify_run(load(folder)) if check.what == "measurements bound to stored steps")


def test_every_setting_and_step_is_measured_in_a_fixed_order(measured):
    found = [(line["setting"]["name"], line["kind"], line["step"]) for line in lines(measured)]
    steps = {"auto": (0, 32, 60), "fixed": (32, 60)}
    assert found == [(name, kind, step) for name in ("auto", "fixed") for kind in ("curvature", "llc") for step in steps[name]]
    assert {name: tuple(records) for name, records in read_llc(load(measured)).items()} == steps


def whole_model_loss(run, step):
    """The training loss by the model's own forward, all positions: not the code that was measured with."""
    model = run.at(step)
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(p, batch):
        logits = torch.func.functional_call(model, p, (batch.inputs,))[:, 3:6]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), batch.inputs[:, :3].sort(dim=1).values.reshape(-1))

    return loss, parameters


@pytest.mark.parametrize(
    ("name", "n_beta", "seed", "l2", "others"),
    [("auto", 20.0, 0, 0.0, {}), ("fixed", 10.0, 3, 0.01, {"sampler": "averaged noise", "centre_gradients": True})],
)
def test_a_stored_number_is_what_llc_finds_for_the_loss_of_the_whole_model(name, n_beta, seed, l2, others, measured):
    run = load(measured)
    record = read_llc(run)[name][60]
    batches = lesson_batches(run.config, run.process, 3, 8, seed)
    plain, parameters = whole_model_loss(run, 60)

    def loss(p, batch):
        return plain(p, batch) + l2 * sum(weights.square().sum() for weights in p.values())

    found = mechbp.llc(
        loss, parameters, batches, n_beta=n_beta, localization=50.0, step_size=record.step_size, chains=2, burn_in=3, draws=6,
        rng=rng(seed, "chains"), **others,
    )  # fmt: skip
    assert record.per_chain == pytest.approx(found.per_chain, rel=1e-3)
    assert record.estimate == pytest.approx(found.estimate, rel=1e-3) and record.start_loss == pytest.approx(found.start_loss)
    assert record.standard_error == pytest.approx(found.standard_error, rel=1e-2)
    assert record.early_per_chain == pytest.approx(found.terms[:4].mean(axis=0), rel=1e-3) and record.early_draws == 4
    assert record.digest == run.digest and record.n_parameters == found.n_parameters


def test_curvatures_are_those_of_the_whole_hessian(measured, monkeypatch):
    monkeypatch.setattr(calibration, "PRODUCTS", 30)
    run = load(measured)
    loss, parameters = whole_model_loss(run, 60)
    shapes = {name: value.shape for name, value in parameters.items()}
    batches = lesson_batches(run.config, run.process, 2, 8, 0)

    def at(point):
        parts = point.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return sum(loss(named, batch) for batch in batches) / 2

    flat = torch.cat([value.reshape(-1) for value in parameters.values()])
    largest = float(torch.linalg.eigvalsh(torch.func.hessian(at)(flat)).max())
    found = Measurer(run, run.config.llc[0]).curvature(60, run.digest).curvature
    assert found == pytest.approx(largest, rel=0.01) and found <= largest * (1 + 1e-4)


def test_one_step_size_for_all_steps_as_the_steepest_allows(measured):
    """eps A = 0.1 at the largest curvature of any step."""
    run = load(measured)
    curvatures = [record.curvature for record in read_llc(run)["auto"].values()]
    assert curvatures == [line["curvature"] for line in lines(measured)[:3]] and len(set(curvatures)) == 3
    (size,) = {record.step_size for record in read_llc(run)["auto"].values()}
    assert size == pytest.approx(0.1 / (20 * max(curvatures) + 50), rel=1e-12)
    assert {record.step_size for record in read_llc(run)["fixed"].values()} == {1e-4}


def test_plans(unchecked):
    curvatures = {0: 1.0, 7: 30.0}
    setting = LLCConfig("a", n_beta=10.0, localization=100.0)
    plan = Plan.of(setting, curvatures)
    assert plan.step_size == pytest.approx(0.1 / 400) and plan.burn_in == 80  # 2 / (eps gamma)
    assert Plan.of(LLCConfig("a", 10.0, 100.0, sampler="averaged noise"), curvatures).step_size == pytest.approx(1 / 400)
    with pytest.raises(InputError, match=r"at step 7, where chains diverge from a step size of 0.01 on, got 0.02"):
        Plan.of(LLCConfig("a", 10.0, 100.0, step_size=0.02), curvatures)
    with pytest.raises(InputError, match="flat directions need"):
        Plan.of(LLCConfig("a", 10.0, 1e-6), curvatures)


def test_what_is_measured_is_not_measured_again(copy):
    before = (copy / "llc.jsonl").read_bytes()
    assert [text for _, _, text in heard(copy) if text.startswith("step")] == []
    assert (copy / "llc.jsonl").read_bytes() == before


def test_what_is_said_of_a_measurement(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    set_settings(folder, FIXED)
    said = heard(folder)
    assert [(done, total) for done, total, _ in said] == [(0, 2), (1, 2), (2, 2)]
    record = read_llc(load(folder))["fixed"][32]
    assert said[1][2].startswith(f"step 32  fixed  llc {record.estimate:.1f} ± ") and said[1][2].endswith(" s")
    assert "(2 chains)  " in said[1][2] and "step size 0.0001" in said[0][2] and "3 + 6 steps of 2 chains" in said[0][2]


@pytest.mark.parametrize("call", [pytest.param(1, marks=pytest.mark.slow), 15, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_ends_with_the_same_file(call, trained, measured, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    set_settings(folder, FIXED)
    calls = []

    def die():
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)

    assert Child(lambda: measure(folder, die), tmp_path / "log").wait() == -signal.SIGKILL
    whole = lines(folder) if (folder / "llc.jsonl").exists() else []
    (folder / f"llc.jsonl.tmp-{2**22 + 1}").write_bytes(b"half")  # of a writer that is no more
    measure(folder)
    assert repeatable(folder) == repeatable(measured)[6:] and not list(folder.glob("*.tmp-*"))
    assert [line for line in whole if line in lines(folder)] == whole, "a stored line was measured twice"


def test_sigterm_ends_it_at_the_next_evaluation(trained, measured, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    set_settings(folder, FIXED)
    calls = []

    def terminate():
        calls.append(1)
        if len(calls) == 45:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped in run; the same command"):
        measure(folder, terminate)
    assert len(calls) == 45 and 0 < len(lines(folder)) < 4
    measure(folder)
    assert repeatable(folder) == repeatable(measured)[6:]


def test_a_changed_step_is_measured_anew_and_no_other(copy, measured):
    move_weights(copy, 32)
    set_settings(copy, FIXED)
    with pytest.raises(CheckpointError, match=r"fixed, step 32: measured at weights with SHA-256 [0-9a-f]{16}…, stored are"):
        read_llc(load(copy))
    assert bound(copy).verdict == "FAIL"
    said = [text for _, _, text in heard(copy) if text.startswith("step")]
    assert "measured at weights" in said[0] and said[0].endswith("measured anew.") and said[1].startswith("step 32  fixed  llc")
    assert len(said) == 2
    assert read_llc(load(copy))["fixed"][32].digest == load_checkpoint(step_file(copy, 32)).digest
    old, new = ({(r["setting"]["name"], r["kind"], r["step"]): r for r in lines(f)} for f in (measured, copy))
    assert {key for key in old if old[key] != new[key]} == {("fixed", "curvature", 32), ("fixed", "llc", 32)}


def test_a_steeper_step_changes_the_step_size_of_all(copy):
    path = step_file(copy, 60)
    stored = load_checkpoint(path)
    tensors = {name: 3 * tensor if name.endswith("W_U") else tensor for name, tensor in stored.tensors.items()}
    save_checkpoint(path, tensors, 60, stored.recipe)
    before = lines(copy)
    said = [text for _, _, text in heard(copy) if "auto" in text and "measured anew" in text]
    assert len(said) == 3 and sum("with step size" in text for text in said) == 2
    sizes = {record.step_size for record in read_llc(load(copy))["auto"].values()}
    assert len(sizes) == 1 and sizes != {line["step_size"] for line in before if line["kind"] == "llc"}
    assert bound(copy).verdict == "pass"


def test_a_changed_setting_is_measured_anew_and_no_other(copy, measured):
    set_settings(copy, AUTO, {**FIXED, "n_beta": 11.0})
    with pytest.raises(CheckpointError, match="fixed, step 32: measured at other settings"):
        read_llc(load(copy))
    measure(copy)
    assert [line for line in lines(copy) if line["setting"]["name"] == "auto"] == lines(measured)[:6]
    assert {line["setting"]["n_beta"] for line in lines(copy)[6:]} == {11.0} and bound(copy).verdict == "pass"


def test_more_steps_of_a_setting_leave_those_that_there_are(copy, measured):
    set_settings(copy, AUTO, {**FIXED, "steps": [0, 32, 60]})
    assert bound(copy).verdict == "short" and "5 of 6 measured" in bound(copy).measured
    measure(copy)
    kept = [line for line in lines(copy) if line in lines(measured)]
    assert kept == lines(measured) and len(lines(copy)) == len(kept) + 2 and bound(copy).verdict == "pass"


def test_a_line_cut_short_is_dropped_and_measured_anew(copy, measured):
    path = copy / "llc.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="line 10: .* cut short"):
        read_llc(load(copy))
    assert bound(copy).verdict == "FAIL"
    said = [text for _, _, text in heard(copy)]
    assert said[0].startswith("llc.jsonl ended in half a line") and sum(text.startswith("step") for text in said) == 1
    assert repeatable(copy) == repeatable(measured) and lines(copy)[:-1] == lines(measured)[:-1]


def test_half_a_line_too_many_is_dropped_even_where_nothing_is_left_to_measure(copy):
    path = copy / "llc.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    measure(copy)
    assert path.read_bytes() == whole


def test_a_damaged_line_is_refused_and_left_as_it_is(copy):
    path = copy / "llc.jsonl"
    damaged = path.read_bytes().replace(b'"estimate": ', b'"estimate": 1', 1)
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="line 4: it is not what was stored"):
        measure(copy)
    assert path.read_bytes() == damaged and bound(copy).verdict == "FAIL" and "line 4" in bound(copy).measured


def test_a_chain_that_diverges_is_said_and_the_other_steps_are_measured(trained, tmp_path, monkeypatch):
    folder = shutil.copytree(trained, tmp_path / "run")
    set_settings(folder, FIXED)
    whole = Measurer.record

    def diverging(self, plan, step, digest):
        if step == 32:
            raise ChainDiverged("llc: chain 1, draw 2: the loss is nan.\nLower it.", 1, 2)
        return whole(self, plan, step, digest)

    monkeypatch.setattr(Measurer, "record", diverging)
    said = []
    with pytest.raises(MechbpError, match="not averaged: fixed at step 32"):
        measure(folder, say=lambda done, total, text: said.append(text))
    assert "step 32  fixed  llc: chain 1, draw 2: the loss is nan. Lower it." in said
    assert list(read_llc(load(folder))["fixed"]) == [60] and bound(folder).verdict == "short"


def test_a_run_that_cannot_be_measured_is_refused_and_nothing_is_written(trained, tmp_path):
    untrained = write_sorter(tmp_path / "untrained", AUTO)
    without = shutil.copytree(trained, tmp_path / "without")
    set_settings(without)
    absent = shutil.copytree(trained, tmp_path / "absent")
    set_settings(absent, {**AUTO, "steps": [0, 33]})
    foreign = shutil.copytree(trained, tmp_path / "foreign")
    (foreign / "run.toml").write_text((foreign / "run.toml").read_text().replace("length = 3", "length = 2"))
    cases = {
        untrained: "not trained",
        without: r"no table \[llc\]",
        absent: "step 33 of run absent is not stored",
        foreign: "recipe",
    }
    for folder, message in cases.items():
        with pytest.raises(MechbpError, match=message):
            measure(folder)
        assert not (folder / "llc.jsonl").exists()


def test_two_measurements_of_one_run_exclude_each_other_and_training(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    with exclusive(folder, "train"), pytest.raises(InUse, match="measure: .* is in use by process"):
        measure(folder)
    assert "llc.jsonl" not in os.listdir(folder)

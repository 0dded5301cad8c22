"""The registry: a family from outside the package gets recipes, training, probes, verification and a page."""

import re

import numpy as np
import pytest
from coin import BiasedCoin
from coin_family import COIN
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip
from small_runs import toml

import mechbp
from mechbp import study
from mechbp.errors import InputError
from mechbp.models import families
from mechbp.models.config import read_recipe
from mechbp.models.runs import load
from mechbp.models.tasks.task import Task, own_oracle
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.randomness import rng

RECIPE = {
    "process": {"kind": "coin", "length": 8},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "d_mlp": 32, "attention": "causal"},
    "objective": {"task": "next-token", "targets": "posteriors"},
    "training": {
        "steps": 400,
        "batch_size": 64,
        "learning_rate": 1e-2,
        "warmup_steps": 20,
        "stored_steps": 2,
        "measured_steps": 4,
    },
    "requirement": {"kl_bp_to_model_nats": 0.01},
}


@pytest.fixture(scope="module")
def registered():
    families.register(COIN)
    yield
    families._registered.remove(COIN)


@pytest.fixture(scope="module")
def run(registered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "coin"
    folder.mkdir()
    (folder / "run.toml").write_text(toml(RECIPE))
    train(folder)
    return load(folder)


def test_its_predictive_is_laplaces_rule():
    found = BiasedCoin(length=3).beliefs(np.array([[1, 1, 0]]))[0, :, 1]
    np.testing.assert_allclose(found, [1 / 2, 2 / 3, 3 / 4, 3 / 5], rtol=0, atol=1e-15)


def test_it_keeps_the_contract(unchecked):
    mechbp.check_process(BiasedCoin(length=6), rng(0, "contract"))


def test_a_model_of_it_is_trained_measured_and_verified(run):
    assert run.family == "coin" and isinstance(run.process, BiasedCoin) and isinstance(run.task, Task)
    assert own_oracle(run.task, run.process) == "laplace"
    last = run.metrics[-1]
    assert last["kl_laplace_to_model_nats"] < 0.01 < last["kl_certain_to_model_nats"]
    checks = list(verify_run(run))
    assert {check.verdict for check in checks} == {"pass"}, checks
    assert any(check.what == "KL(exact || model) <= 0.01 nats" for check in checks)


def test_it_is_probed_as_any_other(run):
    tokens = run.task.draw(run.process, 600, rng(0, "probe")).tokens[:, :-1]
    exact = run.task.exact(run.process, tokens)
    grid = mechbp.probe(run.model, tokens, {"predictive": exact}, hooks=["blocks.0.hook_resid_post"], rng=rng(0, "probe"))
    own = np.arange(run.process.length)
    assert grid.r2["predictive"][0, own, own].min() > 0.9


def test_it_gets_the_page_that_knows_no_setting(run):
    assert study.chosen_pages([], [str(run.folder)]) == ["exact_answers"]
    document = study.analyse("exact_answers", study.Study((run,), True, lambda text: None))
    survives_the_round_trip(document)
    claims_have_evidence(document)
    figures_can_be_drawn(document)
    exact, _ = document.claims
    assert (exact.id, exact.verdict) == ("coin-exact", "holds")
    assert "certain" in exact.control and "laplace" not in exact.control
    assert document.provenance.runs["coin"]["process"] == "coin, Beta(1, 1), length 8"


def test_without_registration_its_recipe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(families, "_registered", [])
    path = tmp_path / "run.toml"
    path.write_text(toml(RECIPE))
    with pytest.raises(InputError, match=re.escape("process.kind must be one of 'tree'")):
        read_recipe(path)
    with pytest.raises(InputError, match="no family has the recipe object.*\n.*families.register"):
        families.family_of(object())


def test_a_taken_name_is_refused(registered):
    with pytest.raises(InputError, match="a process of kind 'coin' already"):
        families.register(COIN)
    with pytest.raises(InputError, match="a family named 'tree' already"):
        families.register(families.Family("tree", (), {}))


def test_a_task_that_the_family_does_not_have_is_refused(registered, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(toml(RECIPE | {"objective": {"task": "masked"}}))
    with pytest.raises(InputError, match=re.escape("objective.task must be one of 'next-token', got 'masked'.")):
        read_recipe(path)

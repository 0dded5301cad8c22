"""The tutorial about a process of one's own runs from top to bottom, and what it says comes out."""

import runpy

import pytest

from mechbp import study

SCRIPT = study.analyses_root() / "tutorials" / "own_process.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("tutorial"))
        yield runpy.run_path(str(SCRIPT))


@pytest.mark.slow
def test_it_trains_a_model_reads_the_posterior_and_writes_a_page(found):
    untrained = found["run"].untrained(seed=1)
    assert found["score"].kl_bp_to_model_nats.mean < 0.02 and untrained is not None
    grid = found["grid"]
    assert grid.own_mean("r2", "kind").mean[-1] > grid.own_mean("r2", "kind", "random_init").mean[-1] + 0.1
    assert found["page"].is_file() and found["page"].name == "exact_answers.html"

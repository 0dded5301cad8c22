"""A wheel is all that is needed: installed far from any checkout it trains, verifies and reports a run of every wing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import toml

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 2, "stored_steps": 2, "measured_steps": 2}
SMALL = {"n_layers": 1, "n_heads": 1, "d_model": 8, "d_mlp": 8}
CAUSAL = {**SMALL, "attention": "causal"}
TREE = {"vocab_size": 3, "depth": 2}
CHAIN = {"kind": "mess3", "length": 5, "x": 0.15, "alpha": 0.6}
TOPICS = {"kind": "topics", "n_topics": 3, "words_per_topic": 2, "alpha": 0.3, "length_low": 6, "length_high": 6}
LISTS = {"kind": "sorting", "vocab_size": 6, "length": 3}
WINGS = {
    "own-tree": {"process": TREE, "model": SMALL, "objective": {"task": "masked", "mask": "rate"}},
    "own-chain": {"process": CHAIN, "model": CAUSAL, "objective": {"task": "next-token"}},
    "own-topics": {"process": TOPICS, "model": SMALL, "objective": {"task": "masked"}},
    "own-lists": {"process": LISTS, "model": CAUSAL, "objective": {"task": "sort"}},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            str(folder / "site"),
            str(wheel),
        ]
    )
    return folder / "site"


def run(command, cwd=None, **environment):
    found = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_it_holds_the_pages_and_nothing_of_a_checkout(installed):
    held = {path.parent.name for path in installed.glob("mechbp/analyses/*/page.py")}
    assert held == {path.parent.name for path in ROOT.glob("analyses/*/page.py")}
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"mechbp", "bin"}
    criteria = {path.parent.name for path in installed.glob("mechbp/analyses/*/criteria.toml")}
    assert criteria == {path.parent.name for path in ROOT.glob("analyses/*/criteria.toml")}


@pytest.mark.slow
def test_a_run_of_every_wing_is_trained_verified_and_reported_far_from_any_checkout(installed, tmp_path):
    for name, tables in WINGS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.toml").write_text(toml({**tables, "training": TRAINING}))
    mechbp = [str(installed / "bin" / "mechbp")]
    environment = {"PYTHONPATH": str(installed), "MECHBP_RUNS": str(tmp_path)}
    run([*mechbp, "train", *WINGS], cwd=tmp_path, **environment)
    listed = json.loads(run([*mechbp, "list", "--json"], cwd=tmp_path, **environment))
    assert {entry["name"]: entry["complete"] for entry in listed["runs"]} == dict.fromkeys(WINGS, True)
    verified = json.loads(run([*mechbp, "verify", "own-tree", "--json"], cwd=tmp_path, **environment))
    assert {line["of"] for line in verified} == {"own-tree"} and not any(line["failed"] for line in verified)
    runs = [part for name in WINGS for part in ("--run", f"./{name}")]
    out = run([*mechbp, "report", "exact_answers", *runs, "--quick", "--out", "pages"], cwd=tmp_path, **environment)
    assert "pages/exact_answers.html" in out
    page = json.loads((tmp_path / "pages" / "exact_answers.json").read_text())
    assert set(page["provenance"]["runs"]) == set(WINGS) and page["provenance"]["git_commit"] == "unknown"

"""Tutorials are notebooks in the percent format, no pages; and what each shows at its end comes out."""

import runpy

import pytest

import mechbp
from mechbp import study
from mechbp.report.document import load

SCRIPTS = sorted((study.analyses_root() / "tutorials").glob("*.py"))


def run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    return runpy.run_path(str(study.analyses_root() / "tutorials" / name))


def test_they_are_no_pages():
    assert len(SCRIPTS) == 3 and "tutorials" not in study.page_names()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_format(script):
    lines = script.read_text().splitlines()
    cells = [index for index, line in enumerate(lines) if line.startswith("# %%")]
    assert cells[0] == 0 and len(cells) > 8
    for start, end in zip(cells, [*cells[1:], len(lines)], strict=True):
        if lines[start] == "# %% [markdown]":
            assert all(line.startswith("#") or not line for line in lines[start:end])


@pytest.mark.usefixtures("unchecked")
def test_a_message_is_read_written_and_erased(tmp_path, monkeypatch):
    found = run("probe_and_write.py", tmp_path, monkeypatch)
    page = load(tmp_path / "read-and-write.json")
    assert page.claims[0].verdict == "holds" and len(page.figures) == 3
    written, erased = found["written"], found["erased"]
    again = mechbp.rng(0, "test")
    assert written.explained("means", again).low > written.explained("means, placebo", again).high
    assert erased.explained("leace", again).low > erased.explained("leace, placebo", again).high


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_guide_that_knows_the_change_beats_one_that_does_not(tmp_path, monkeypatch):
    found = run("judge_a_method.py", tmp_path, monkeypatch)["found"]
    assert found["gradient x change"].auroc.low > found["gradient norm"].auroc.high
    assert [claim.verdict for claim in load(tmp_path / "judge-a-method.json").claims][1] == "holds"

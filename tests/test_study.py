"""Studies: a tiny analysis becomes a document with provenance, a page, and the same bytes when rendered again."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from small_runs import write_run
from tiny_pages import write_page

from mechbp import study
from mechbp.errors import InputError
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report import folder as report_folder


@pytest.fixture
def analyses(tmp_path, monkeypatch):
    folder = tmp_path / "analyses"
    write_page(folder, "tiny", runs=("tiny",))
    (folder / "shared").mkdir()
    monkeypatch.setattr(study, "analyses_root", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("study") / "own", training__steps=2)
    train(folder)
    return load(folder)


def studied(run, *, quick=True):
    return study.analyse("tiny", study.Study((run,), quick, lambda text: None))


def test_analyses_are_found_by_name(analyses):
    assert study.page_names() == ["tiny"]
    assert study.load_page("tiny").runs == ("tiny",)
    with pytest.raises(InputError, match=re.escape("no page 'nope'; there are: tiny.")):
        study.load_page("nope")
    for name in ("../tiny", "tiny.py\0", "", "/etc/passwd"):
        with pytest.raises(InputError, match="is not a valid name"):
            study.load_page(name)


def test_pages_are_left_out_for_the_first_thing_that_they_lack(analyses, tmp_path, monkeypatch):
    for slug, runs in (("none", ()), ("second", ("here", "gone")), ("both", ("gone", "lost"))):
        write_page(analyses, slug, runs=runs)
    for slug in ("unrecorded", "recorded"):
        write_page(analyses, slug, runs=())
        with (analyses / slug / "page.py").open("a") as file:
            file.write("from dataclasses import replace\nPAGE = replace(PAGE, needs=('no-such-package',), extra='text')\n")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "recorded.json").touch()
    write_run(tmp_path / "runs" / "here")
    monkeypatch.setenv("MECHBP_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    assert study.left_out(["none", "second", "both", "unrecorded", "recorded"]) == {
        "second": f"its runs (gone) are not in {tmp_path / 'runs'}",
        "both": f"its runs (gone, …) are not in {tmp_path / 'runs'}",
        "unrecorded": "it needs pip install 'mechbp[text]'",
    }


def test_a_script_that_registers_no_page_is_refused(analyses):
    (analyses / "tiny" / "page.py").write_text("PAGE = {'title': 'Tiny'}\n")
    with pytest.raises(InputError, match="registers no page, got PAGE = {'title': 'Tiny'}"):
        study.load_page("tiny")


def test_a_page_of_several_runs_is_that_of_each_run_side_by_side(analyses, run):
    other = replace(run, name="other")
    whole = study.analyse("tiny", study.Study((run, other), True, lambda text: None))
    parts = [study.analyse("tiny", study.Study((one,), True, lambda text: None)) for one in (run, other)]
    parts[1] = replace(parts[1], sections=tuple(replace(section, id="two") for section in parts[1].sections))
    merged = study.merged("tiny", [*parts, parts[0]])
    assert merged.provenance.runs == whole.provenance.runs and (merged.slug, merged.lead) == (whole.slug, whole.lead)
    assert merged.sections == (*parts[0].sections, *parts[1].sections), "what several parts bring alike is kept once"
    assert merged.provenance.wall_s == pytest.approx(sum(part.provenance.wall_s for part in (*parts, parts[0])), rel=1e-4)


def test_pages_show_which_of_their_runs_were_replaced(analyses, run, tmp_path, monkeypatch):
    log = """[[replaced]]
run = "{0}"
date = 2026-01-3{1}
commit = "{1}"
changed = "more steps"
why = "it had not settled"
measured = "KL 1.0 nats"
"""
    shipped = tmp_path / "checkpoints"
    shipped.mkdir()
    (shipped / "replaced.toml").write_text(log.format("own", 1) + log.format("elsewhere", 0) + log.format("own", 0))
    monkeypatch.setenv("MECHBP_RUNS", str(shipped))
    assert studied(run).replaced == (), "a run of one's own may share the name of a shipped one"
    document = studied(replace(run, folder=shutil.copytree(run.folder, shipped / "own")))
    assert [(entry["run"], entry["date"]) for entry in document.replaced] == [("own", "2026-01-30"), ("own", "2026-01-31")]
    assert study.merged("tiny", [document, document]).replaced == document.replaced


def test_provenance_names_run_versions_and_seed(analyses, run):
    document = studied(run)
    provenance = document.provenance
    assert provenance.runs["own"]["checkpoint_sha256"] == run.digest and provenance.runs["own"]["step"] == 2
    assert provenance.runs["own"]["trained_on"] == "tokens" and provenance.runs["own"]["sequences"] == 16
    assert provenance.seeds == {"study": 0} and set(study.PACKAGES) < set(provenance.versions)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", provenance.utc)
    assert re.fullmatch("[0-9a-f]{12}|unknown", provenance.git_commit)


def test_equal_seeds_give_equal_content_and_quick_changes_sizes_only(analyses, run):
    first, again, full = studied(run), studied(run), studied(run, quick=False)
    assert first.sections == again.sections
    assert first.sections[0].text[0].replace(" 2", " 10") == full.sections[0].text[0]


def test_pages_are_rebuilt_byte_for_byte_from_the_json(analyses, run, tmp_path):
    folder = tmp_path / "out" / "deep"
    pages = report_folder.write_documents([studied(run)], folder)
    assert {page.name for page in pages} == {"tiny.html", "index.html"}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"tiny.html", "index.html", "tiny.json"}
    (folder / "tiny.html").unlink()
    report_folder.render_folder(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert json.loads(before["tiny.json"])["slug"] == "tiny"


def test_a_new_page_leaves_the_others_as_they_are_but_restores_what_is_missing(analyses, run, tmp_path):
    first = studied(run)
    report_folder.write_documents([first, replace(first, slug="other"), replace(first, slug="lost")], tmp_path)
    (tmp_path / "other.html").write_text("untouched")
    (tmp_path / "lost.html").unlink()
    pages = report_folder.write_documents([replace(first, title="A new title")], tmp_path)
    assert {page.name for page in pages} == {"tiny.html", "other.html", "lost.html", "index.html"}
    assert (tmp_path / "other.html").read_text() == "untouched" and (tmp_path / "lost.html").is_file()
    assert all("A new title" in (tmp_path / name).read_text() for name in ("tiny.html", "index.html"))


def test_a_folder_that_cannot_take_the_pages_is_refused_before_computing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for bad in ("file", "file/below", "loop", "x" * 300, "a\0b"):
        with pytest.raises(InputError, match="--out: cannot write to"):
            report_folder.check_folder(tmp_path / bad)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "package.json").write_text("{}")
    with pytest.raises(InputError, match="package.json"):
        report_folder.check_folder(tmp_path / "theirs")
    report_folder.check_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="holds no .*json to render"):
        report_folder.render_folder(tmp_path)


def test_reports_do_not_make_the_source_dirty(tmp_path, monkeypatch):
    tree = tmp_path / "tree"
    for name in ("pyproject.toml", "mechbp/study.py", "reports/page.json"):
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_text("1")
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "x")):
        subprocess.run(["git", "-C", tree, *command], check=True)
    monkeypatch.setattr(study, "__file__", str(tree / "mechbp/study.py"))
    (tree / "reports/page.json").write_text("2")
    assert study._git_state()[1] is False
    (tree / "mechbp/study.py").write_text("2")
    assert study._git_state()[1] is True
    (tree / "pyproject.toml").unlink()  # as in an environment that lies in somebody's repository
    assert study._git_state() == ("unknown", True)

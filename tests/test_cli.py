"""The command line: exit codes, short errors that name the argument, and nothing written when refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import write_run
from tiny_pages import write_page

import mechbp
from mechbp import cli, jobs, study, terminal
from mechbp.commands.pages import default_folder
from mechbp.errors import InputError
from mechbp.models.training import train
from mechbp.randomness import rng

pytestmark = pytest.mark.early

NASTY = [
    "",
    "..",
    "../..",
    "/",
    "/dev/null",
    "/proc/self/mem",
    "~",
    "a b",
    "-",
    "--",
    "a\nb\nc\nd\ne\nf",
    "\x1b[31m",
    "x" * 300,
    "x" * 5000,
]
NASTY += [
    "é",
    "\u202e",
    "{7*7}",
    "$(id)",
    "; ls",
    "%s%n",
    "checkpoints",
    "run.toml",
    "nope",
    "tree",
    "0",
    "-1",
    "1e9",
    "NaN",
    "true",
]
COMMANDS = ["report", "train", "measure", "verify", "list", "repport", ""]
OPTIONS = [
    "--run",
    "--quick",
    "--render",
    "--out",
    "--threads",
    "--thread",
    "--help",
    "-h",
    "--out=",
    "--run=",
    "--threads=0",
    "--quick=1",
    "--jobs",
    "--jobs=2",
    "--jobs=-1",
    "--jobs=x",
    "--backend=dask",
    "--backend",
    "--scheduler",
    "--scheduler=x",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("cli") / "own")
    train(folder)
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working directory with an empty checkpoints/ and no analyses."""
    (tmp_path / "here" / "checkpoints").mkdir(parents=True)
    (tmp_path / "analyses").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(study, "analyses_root", lambda: tmp_path / "analyses")
    monkeypatch.setattr(terminal, "set_threads", lambda count: None)
    return tmp_path / "here"


def call(capsys, monkeypatch, *arguments):
    """Run the command line in this process; return exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["mechbp", *arguments])
    capsys.readouterr()
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts)  # Python may write its own there


def argument_lists(count):
    draw = rng(0, "command lines")
    for _ in range(count):
        words = [COMMANDS[draw.integers(len(COMMANDS))]] if draw.random() < 0.95 else []
        for _ in range(draw.integers(4)):
            pool = OPTIONS if draw.random() < 0.5 else NASTY
            words.append(pool[draw.integers(len(pool))])
        yield words


def check_refusal(code, err, where):
    assert code in (0, 1, 2), where
    assert "Traceback" not in err and "\x1b" not in err, where
    if code == 2:
        assert err.strip() and len(err.splitlines()) <= 5, (where, err)


def check_argument_lists(count, workplace, capsys, monkeypatch):
    before, codes = listing(workplace.parent), []
    for words in argument_lists(count):
        code, _, err = call(capsys, monkeypatch, *words)
        check_refusal(code, err if words else "the help", words)
        assert listing(workplace.parent) == before, words
        codes.append(code)
    assert codes.count(2) > count / 4 and codes.count(0) > count / 20


def test_200_generated_argument_lists(workplace, capsys, monkeypatch):
    check_argument_lists(200, workplace, capsys, monkeypatch)


@pytest.mark.long
def test_5000_generated_argument_lists(workplace, capsys, monkeypatch):
    check_argument_lists(5000, workplace, capsys, monkeypatch)


def run_for_real(words, workplace):
    command = str(Path(sys.executable).with_name("mechbp"))
    return subprocess.run([command, *words], cwd=workplace, capture_output=True, text=True, timeout=300, check=False)


def test_real_processes_refuse_too(workplace):
    """Those that need no torch; `train` below pays for it once."""
    for words in (
        ["repport"],
        ["train"],
        ["report", "--threads", "0"],
        ["report", "../x"],
        ["list", "--nope"],
        ["report", "--out", "/dev/null"],
    ):
        done = run_for_real(words, workplace)
        assert done.returncode == 2, (words, done)
        check_refusal(done.returncode, done.stderr, words)
    done = run_for_real(["train", "\udcff/no"], workplace)
    assert done.returncode == 2
    check_refusal(2, done.stderr, "non-UTF-8")


@pytest.mark.long
def test_30_real_processes(workplace):
    for words in argument_lists(30):
        done = run_for_real([word for word in words if "\0" not in word], workplace)
        check_refusal(done.returncode, done.stderr, words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train"], "RUN"),
        (["train", "nope"], "'nope'"),
        (["train", "./nope"], "'./nope'"),
        (["train", "..\n\n\n\n\n\n"], r"'..\n\n"),
        (["measure"], "RUN"),
        (["measure", "nope"], "'nope'"),
        (["measure", "./nope"], "'./nope'"),
        (["verify", "nope"], "'nope'"),
        (["report", "nope"], "'nope'"),
        (["report", "--threads", "many"], "--threads"),
        (["report", "--out", "/dev/null"], "--out"),
        (["report", "--out", "/dev/null/deeper"], "--out"),
        (["report", "--out", "x" * 300], "--out"),
        (["report", "--out", "a\0b"], "--out"),
        (["report", "--render"], "reports holds no *.json"),
        (["report", "--qick"], "--qick"),
        (["report", "--backend", "joblib"], "--backend"),
        (["lst"], "lst"),
    ],
)
def test_the_offending_argument_is_named(words, named, workplace, capsys, monkeypatch):
    before = listing(workplace.parent)
    code, out, err = call(capsys, monkeypatch, *words)
    assert code == 2 and named in err and out == "", (out, err)
    check_refusal(code, err, words)
    assert listing(workplace.parent) == before


def test_train_list_and_verify_on_a_run_of_ones_own(workplace, capsys, monkeypatch):
    folder = write_run(workplace / "checkpoints" / "mine", training__steps=2)
    assert "not trained yet (incomplete)" in call(capsys, monkeypatch, "list")[1]
    code, out, err = call(capsys, monkeypatch, "verify", "mine")
    told = f"short  stored steps intact                    none: the run is not trained yet. Next: mechbp train {folder}\n"
    assert (code, err) == (1, "") and out.endswith(told) and len(out.splitlines()) == 1
    code, out, err = call(capsys, monkeypatch, "train", "mine")
    assert code == 0 and "mine trained to step 2, KL(exact || model)" in err and "Next: mechbp report --quick --run" in err
    assert "mine was trained already, to step 2" in call(capsys, monkeypatch, "train", "mine")[2]
    code, out, err = call(capsys, monkeypatch, "verify", "./checkpoints/mine")
    assert (code, err) == (0, "") and "stored steps intact" in out and "FAIL" not in out and "n = 2,048 sequences" in out
    few = call(capsys, monkeypatch, "verify", "mine", "--sequences", "64")[1]
    assert few.count("n = 64 sequences") == 3 and "n = 2,048 sequences" not in few
    assert "Leave --sequences out." in call(capsys, monkeypatch, "verify", "--claims", "--sequences", "64")[2]
    assert "2 stored steps, last 2" in call(capsys, monkeypatch, "list")[1]
    (folder / "run.toml").write_text("broken")
    code, out, err = call(capsys, monkeypatch, "list")
    assert code == 0 and "mine" in out and "unreadable" in out
    assert call(capsys, monkeypatch, "verify")[0] == 2


def test_verify_on_a_damaged_run_exits_1_and_says_which_file(trained, workplace, capsys, monkeypatch):
    folder = shutil.copytree(trained, workplace / "copy")
    path = folder / "step-0000032.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = call(capsys, monkeypatch, "verify", str(folder))
    assert code == 1 and "FAIL" in out and path.name in out and err == ""


def test_verify_on_an_incomplete_run_exits_1(trained, workplace, capsys, monkeypatch):
    folder = shutil.copytree(trained, workplace / "copy")
    (folder / "step-0000040.safetensors").unlink()
    code, out, _ = call(capsys, monkeypatch, "verify", str(folder))
    told = f"training complete                      no: stopped at step 36 of 40. Next: mechbp train {folder}\n"
    assert code == 1 and told in out and "FAIL" not in out


@pytest.mark.parametrize(
    "words", [["report", "first", "second", "--run"], ["report", "first", "second", "--jobs", "2", "--run"], ["export"]]
)
def test_what_is_made_of_an_unfinished_run_says_so(words, trained, workplace, capsys, monkeypatch):
    folder = shutil.copytree(trained, workplace / "copy")
    for name in ("first", "second"):
        write_page(workplace.parent / "analyses", name)
    monkeypatch.setattr(jobs, "analyse_all", lambda *args: [])
    target = ["out"] if words == ["export"] else ["--out", "out"]
    code, _, err = call(capsys, monkeypatch, *words, str(folder), *target)
    assert code == 0 and "not trained" not in err
    (folder / "step-0000040.safetensors").unlink()
    shutil.rmtree("out", ignore_errors=True)
    code, _, err = call(capsys, monkeypatch, *words, str(folder), *target)
    assert code == 0 and "mechbp: copy is not trained to its end: what follows is of step 36 of 40." in err.splitlines()


def test_what_is_said_of_an_export_can_be_shown_whatever_its_folder_is_called(trained, workplace, capsys, monkeypatch):
    code, _, err = call(capsys, monkeypatch, "export", str(trained), "\x1b[31mred")
    assert code == 0 and "with '\\x1b[31mred' on its path" in err and "\x1b" not in err


def test_two_runs_of_one_name_are_refused_before_anything_is_computed(trained, workplace, capsys, monkeypatch):
    write_page(workplace.parent / "analyses", "any", "raise AssertionError('computed')")
    other = shutil.copytree(trained, workplace / "b" / trained.name)
    before = listing(workplace.parent)
    for second in (other, trained):
        code, out, err = call(capsys, monkeypatch, "report", "--run", str(trained), "--run", str(second))
        assert code == 2 and f"two runs are named 'own', {trained} and {second}" in err and out == ""
        check_refusal(code, err, second)
    assert listing(workplace.parent) == before


def test_finished_analyses_outlast_one_that_is_refused(trained, workplace, capsys, monkeypatch):
    write_page(workplace.parent / "analyses", "first")
    write_page(workplace.parent / "analyses", "second", "raise InputError('no such thing')")
    code, out, err = call(capsys, monkeypatch, "report", "--run", str(trained), "--out", "pages")
    assert code == 2 and "no such thing" in err and out == ""
    assert {path.name for path in Path("pages").iterdir()} == {"first.json", "first.html", "index.html"}
    assert call(capsys, monkeypatch, "report", "first", "--out", "pages")[1].split() == ["pages/first.html", "pages/index.html"]


def test_an_analysis_that_studies_no_run_is_told_apart(trained, workplace, capsys, monkeypatch):
    write_page(workplace.parent / "analyses", "alone", family=None)
    write_page(workplace.parent / "analyses", "usual", runs=(str(trained),))
    code, out, err = call(capsys, monkeypatch, "report", "alone", "--run", str(trained), "--out", "pages")
    assert (code, out) == (2, "") and "report: alone studies no trained run, so --run does not apply to it." in err
    check_refusal(code, err, "alone")
    assert not Path("pages").exists()
    assert call(capsys, monkeypatch, "report", "--run", str(trained), "--out", "theirs")[0] == 0
    assert {path.name for path in Path("theirs").glob("*.json")} == {"usual.json"}
    assert call(capsys, monkeypatch, "report", "--out", "all")[0] == 0
    runs = {path.stem: list(json.loads(path.read_text())["provenance"]["runs"]) for path in Path("all").glob("*.json")}
    assert runs == {"alone": [], "usual": ["own"]}
    (workplace.parent / "analyses" / "usual" / "page.py").unlink()
    code, _, err = call(capsys, monkeypatch, "report", "--run", str(trained), "--out", "none")
    assert code == 2 and "no page here studies these runs" in err and not Path("none").exists()


def test_pages_that_a_run_gives_nothing_to_show_are_left_out_in_one_line(trained, workplace, capsys, monkeypatch):
    write_page(workplace.parent / "analyses", "usual")
    write_page(workplace.parent / "analyses", "other", family="chain")
    write_page(workplace.parent / "analyses", "many", "1 / 0", why_not="lambda runs: '' if len(runs) > 1 else 'compares runs'")
    write_page(workplace.parent / "analyses", "root", "1 / 0", why_not="lambda runs: 'follows ' + runs[0].config.process.kind")
    code, _, err = call(capsys, monkeypatch, "report", "--run", str(trained), "--quick", "--out", "pages")
    assert code == 0 and {path.stem for path in Path("pages").glob("*.json")} == {"usual"}
    kind = mechbp.load(trained).config.process.kind
    said = [line for line in err.splitlines() if "left out" in line]
    told = f"2 pages are left out, with nothing to show of the runs given: many compares runs; root follows {kind}."
    assert said == [f"mechbp: {told}"]
    code, out, err = call(capsys, monkeypatch, "report", "many", "--run", str(trained), "--quick", "--out", "none")
    assert (code, out) == (2, "") and "many has nothing to show of these runs: it compares runs." in err
    check_refusal(code, err, "many")
    mechbp.report(mechbp.load(trained), out="from-python", quick=True)
    assert {path.stem for path in Path("from-python").glob("*.json")} == {"usual"} and told in capsys.readouterr().err


def test_a_page_of_other_runs_is_never_replaced_in_silence(trained, workplace, capsys, monkeypatch):
    other = shutil.copytree(trained, workplace / "other")
    write_page(workplace.parent / "analyses", "usual", runs=(str(trained), str(other)))
    assert call(capsys, monkeypatch, "report", "--run", str(trained), "--out", "pages")[0] == 0
    before = {path.name: path.read_bytes() for path in Path("pages").iterdir()}
    for processes in ("1", "2"):
        code, out, err = call(capsys, monkeypatch, "report", "--run", "other", "--out", "pages", "--jobs", processes)
        assert (code, out) == (2, "") and "'pages' holds the page usual of run own, which that of run other would replace" in err
        check_refusal(code, err, "pages")
    with pytest.raises(InputError, match=r"of run own, which that of runs other, own would replace.\nWrite to another folder"):
        mechbp.report([trained, other], out="pages", quick=True)
    assert {path.name: path.read_bytes() for path in Path("pages").iterdir()} == before
    again = call(capsys, monkeypatch, "report", "--run", str(trained), "--out", "pages", "--quick")
    assert again[0] == 0 and "replace" not in again[2]
    assert mechbp.report(mechbp.load(trained), out="pages", quick=True)
    assert call(capsys, monkeypatch, "report", "--out", "pages")[0] == 0, "its own runs, of which one is there"
    (Path("pages") / "usual.json").unlink()
    assert call(capsys, monkeypatch, "report", "--run", "other", "--out", "pages")[0] == 0
    path = workplace.parent / "analyses" / "usual" / "page.py"
    path.write_text(path.read_text().replace(f", {str(other)!r}", ","))
    code, _, err = call(capsys, monkeypatch, "report", "--out", "pages")
    assert code == 2 and "usual of run other, which that of run own would replace" in err


@pytest.mark.parametrize(
    ("runs", "quick", "expected"),
    [
        ([], False, "reports"),
        ([], True, "reports/quick"),
        (["a", "./b/c"], False, "reports/a-c"),
        (["/"], False, "reports/run"),
        (["x y\n"], True, "reports/x-y-/quick"),
        (["a\0"], False, "reports/a"),
    ],
)
def test_default_folders(runs, quick, expected):
    assert default_folder(runs, quick) == Path(expected)


@pytest.mark.parametrize("run", ["..", ".", "../..", "a/..", "x" * 500])
def test_default_folders_stay_inside_reports(run):
    folder = default_folder([run], False)
    assert Path(os.path.normpath(folder)).parent == Path("reports") and len(folder.name) <= 100


def test_a_setting_of_a_training_that_fails_does_not_stay(workplace, capsys, monkeypatch):
    assert call(capsys, monkeypatch, "new", "fresh", "--like", "chain")[0] == 0
    before = Path("fresh/run.toml").read_text()
    code, _, err = call(capsys, monkeypatch, "train", "fresh", "--device", "nowhere", "--set", "training.steps=77")
    assert code == 2 and "nowhere" in err and Path("fresh/run.toml").read_text() == before


def test_pages_whose_runs_are_not_here_are_left_out_in_one_word(workplace, capsys, monkeypatch):
    write_page(workplace.parent / "analyses", "alone", family=None)
    write_page(workplace.parent / "analyses", "far", runs=("shipped-elsewhere",))
    code, _, err = call(capsys, monkeypatch, "report", "--out", "pages")
    assert code == 0 and {path.stem for path in Path("pages").glob("*.json")} == {"alone"}
    assert "1 of 2 pages are left out; far, for one: its runs (shipped-elsewhere) are not in" in err and "$MECHBP_RUNS" in err
    code, _, err = call(capsys, monkeypatch, "report", "alnoe", "--out", "pages")
    assert code == 2 and "did you mean 'alone'?" in err

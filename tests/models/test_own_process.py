"""A process whose code stands beside a run: trained, verified and reported for whoever trusts it, and executed for nobody else."""

import re
import sys
from pathlib import Path

import pytest
from small_runs import toml

import mechbp
from mechbp.cli import app
from mechbp.errors import CheckpointError, InputError
from mechbp.listing import listing
from mechbp.models.config import read_recipe
from mechbp.models.own_process import check_task
from mechbp.models.recipe_edits import Setting
from mechbp.models.runs import load
from mechbp.models.starting import TEMPLATES, new_run, sweep
from mechbp.models.training import train
from mechbp.models.verify import verify_run
from mechbp.study import Study

FEW = [
    Setting.of(text)
    for text in (
        *("process.length=6", "model.d_model=8", "model.d_mlp=8", "objective.targets=posteriors", "training.learning_rate=1e-2"),
        *("training.steps=60", "training.batch_size=32", "training.warmup_steps=5", "training.stored_steps=1"),
        "training.measured_steps=2",
    )
]
CODE = (TEMPLATES / "coins.py").read_text()
TRAP = "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"


def own(folder, code=CODE, **process):
    """A run folder of the template, with other code or another [process]."""
    recipe = new_run(folder, "own", FEW)
    (folder / "coins.py").write_text(code)
    if process:
        text = recipe.read_text()
        table = toml({"process": {"kind": "python:coins.py:make", "length": 6} | process})
        recipe.write_text(table + text[text.index("[model]") :])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = own(tmp_path_factory.mktemp("own") / "coins")
    train(folder, trust=True)
    return folder


def test_it_is_trained_verified_and_probed(trained):
    run = load(trained, trust=True)
    assert run.family == "own" and run.process.length == 6 and run.model.cfg.n_ctx == 5
    checks = {check.what: check for check in verify_run(run)}
    assert checks["own process keeps its laws"].verdict == "pass" and {check.verdict for check in checks.values()} == {"pass"}
    first, last = (run.metrics[at]["kl_exact_to_model_nats"] for at in (0, -1))
    assert last < first / 5
    assert mechbp.score(run.model, run.process, task=run.task, n=64, rng=mechbp.rng(0, "score")).accuracy.n == 64


def test_what_comes_next_says_that_its_code_must_be_trusted(tmp_path):
    folder = own(tmp_path / "coins")
    (files,) = verify_run(load(folder, trust=True))
    assert files.verdict == "short" and files.measured.endswith(f"Next: mechbp train {folder} --trust")


@pytest.mark.slow
def test_it_gets_the_page_that_knows_no_setting(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Study, "size", lambda self, full, quick: 32)
    with pytest.raises(SystemExit) as end:
        app(["report", "--run", str(trained), "--quick", "--out", str(tmp_path), "--trust"])
    pages = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert end.value.code == 0 and [page.name for page in pages] == ["exact_answers.html", "index.html"]
    assert "coins.py:make, length 6" in pages[0].read_text()


@pytest.mark.parametrize("use", [load, train, lambda f: mechbp.report(f, out=f / "out"), lambda f: read_recipe(f / "run.toml")])
def test_nothing_is_executed_for_who_does_not_trust_it(use, tmp_path):
    folder = own(tmp_path / "own", TRAP + CODE)
    with pytest.raises(
        InputError, match=r"its process is code: make of .*coins.py \(SHA-256 [0-9a-f]{16}….*\n.*--trust .*trust=True"
    ):
        use(folder)
    assert not (folder / "executed").exists()
    load(folder, trust=True)
    assert (folder / "executed").exists()


def test_list_new_and_sweep_never_execute_it(trained, tmp_path, monkeypatch):
    folder = own(tmp_path / "runs" / "mine", TRAP + CODE)
    monkeypatch.setenv("MECHBP_RUNS", str(folder.parent))
    (told,) = listing().runs
    assert str(told) == "next-flip, coins.py:make, length 6, trained on posteriors; not trained yet (incomplete)"
    copies = sweep(folder, [Setting.of("process.length=6,7")])
    copies.append(new_run(tmp_path / "other", "mine").parent)
    assert all((copy / "coins.py").read_bytes() == (folder / "coins.py").read_bytes() for copy in copies)
    assert not [path for path in tmp_path.rglob("executed")]
    assert load(copies[1], trust=True).process.length == 7
    (copies[0] / "run.toml").unlink()
    (copies[0] / "coins.py").write_text("# another\n")
    with pytest.raises(InputError, match="coins.py is there already"):
        new_run(copies[0], str(folder))


def test_verify_leaves_it_out_unless_it_is_named_or_trusted(trained, monkeypatch):
    from mechbp import promises

    monkeypatch.setenv("MECHBP_RUNS", str(trained.parent))
    monkeypatch.setattr(promises, "thresholds_measured", lambda *_: [])
    (line,) = promises.runs_verified(None)
    assert (line.verdict, line.failed) == ("-", False) and "--trust" in line.what
    with pytest.raises(InputError, match="would be executed"):
        list(promises.runs_verified(["coins"]))
    assert {line.verdict for line in promises.runs_verified(None, trust=True)} == {"pass"}


def test_code_that_changed_is_another_recipe(trained, tmp_path):
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load(tmp_path, trust=True).model is not None
    (tmp_path / "coins.py").write_text(CODE + "\n")
    with pytest.raises(CheckpointError, match=r"another recipe than .*run.toml with coins.py"):
        load(tmp_path, trust=True).at(60)
    with pytest.raises(CheckpointError, match="another recipe than the run.toml with coins.py beside it"):
        train(tmp_path, trust=True)


def test_a_recipe_may_say_the_digest(tmp_path):
    folder = own(tmp_path / "own", sha256="0" * 64)
    with pytest.raises(InputError, match=r"process.sha256: .*coins.py has SHA-256 .*, the recipe says '0000"):
        load(folder, trust=True)


LAWLESS = CODE.replace(
    "likelihood / likelihood.sum(axis=-1, keepdims=True)", "likelihood[..., ::-1] / likelihood.sum(-1, keepdims=True)"
)
SHIFTED = CODE.replace("ones = process.beliefs(tokens) @", "ones = process.beliefs(np.roll(tokens, 1, axis=1)) ** 3 @")
# ruff: noqa: E501
WRONG = {
    "no file": (None, {}, r"cannot read .*coins.py: No such file or directory. Put the file beside run.toml."),
    "a file elsewhere": (CODE, {"kind": "python:../coins.py:make"}, r'process.kind names code as "python:FILE.py:FUNCTION"'),
    "an absolute file": (CODE, {"kind": "python:/etc/coins.py:make"}, r'process.kind names code as "python:FILE.py:FUNCTION"'),
    "no function in the name": (CODE, {"kind": "python:coins.py"}, r'process.kind names code as "python:FILE.py:FUNCTION"'),
    "no Python": (CODE, {"kind": "python:coins.txt:make"}, r'process.kind names code as "python:FILE.py:FUNCTION"'),
    "no such function": (CODE, {"kind": "python:coins.py:made"}, r"coins.py has no function made. It must return \(process, "),
    "a syntax error": (CODE + "\ndef (", {}, r"coins.py fails at line \d+: SyntaxError"),
    "an import that fails": ("import nothing_of_this_name\n" + CODE, {}, r"coins.py fails at line 1: ModuleNotFoundError"),
    "a function that fails": (CODE.replace("    return Coins(length", "    1 / 0\n    return Coins(length"), {}, r"coins.py:make fails at line \d+: ZeroDivisionError: division by zero"),
    "an unknown argument": (CODE, {"lenght": 6}, r"\[process\] does not fit coins.py:make\(length=13\): got an unexpected keyword argument 'lenght'"),
    "an argument of another type": (CODE, {"length": "x"}, r"TypeError"),
    "a process alone": (CODE.replace(", {\"next-flip\": NextFlip()}", ""), {}, r"coins.py:make must return \(process, \{name: Task\}\)"),
    "a class as a task": (CODE.replace("NextFlip()}", "NextFlip}"), {}, r"as task 'next-flip' is no mechbp.Task"),
    "another task": (CODE.replace('{"next-flip"', '{"flip"'), {}, r"objective.task must be one of 'flip', got 'next-flip'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_said(kind, tmp_path):
    code, process, message = WRONG[kind]
    folder = own(tmp_path / "own", code or "", **process)
    if code is None:
        (folder / "coins.py").unlink()
    with pytest.raises(InputError, match=message) as caught:
        train(folder, trust=True)
    assert str(caught.value).count("\n") <= 2


UNLAWFUL = {
    "a wrong posterior": (LAWLESS, r"Coins breaks a law of mechbp.check_process: enumeration: "),
    "a wrong sampler": (CODE.replace("rng.integers(len(self.biases), size=n)", "np.zeros(n, int)"), r"breaks a law of mechbp.check_process: sampler: "),
    "no joint": (CODE.replace("def joint(self)", "def joined(self)"), r"breaks a law of mechbp.check_process: protocol: Coins lacks joint"),
    "a process that can be changed": (CODE.replace("@dataclass(frozen=True)\nclass Coins", "@dataclass\nclass Coins"), r"check_process: frozen: "),
    "no exact answer": (CODE.replace("def exact(", "def exactly("), r"NextFlip says no exact answer"),
    "answers of another shape": (CODE.replace("ones], axis=-1)", "ones], axis=1)"), r"exact returns an array of shape \[64, 2, 5\], expected"),
    "answers that are no distribution": (CODE.replace("[1 - ones, ones]", "[ones, ones]"), r"no distribution over symbols"),
    "answers that are not true": (SHIFTED, r"exact is not calibrated|no distribution"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNLAWFUL)
def test_a_process_that_is_not_what_it_says_is_not_trained_on(kind, tmp_path):
    code, message = UNLAWFUL[kind]
    assert code != CODE
    folder = own(tmp_path / "own", code)
    with pytest.raises(InputError, match=message):
        train(folder, trust=True)
    assert not list(folder.glob("*.safetensors"))


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    folder = own(tmp_path / "own")
    (tmp_path / "coins.py").write_text(CODE)
    (folder / "coins.py").unlink()
    (folder / "coins.py").symlink_to(tmp_path / "coins.py")
    with pytest.raises(InputError, match="leads outside"):
        load(folder, trust=True)


def test_what_is_executed_is_what_was_hashed(tmp_path):
    """No compiled copy is left or read, and a file that changes is executed anew."""
    folder = own(tmp_path / "own")
    assert load(folder, trust=True).process.biases == (0.1, 0.4, 0.8)
    (folder / "coins.py").write_text(CODE.replace("0.4", "0.5"))
    assert load(folder, trust=True).process.biases == (0.1, 0.5, 0.8)
    assert not list(folder.rglob("*.pyc"))
    assert [name for name in sys.modules if name.startswith("mechbp_own_")]


def test_the_answers_of_shipped_tasks_are_calibrated():
    from mechbp.models.families import FAMILIES

    processes = (
        mechbp.FilteredTree(mechbp.TreeGrammar.random(3, 1.0, 0), 2),
        mechbp.mess3(0.15, 0.6, length=5),
        mechbp.TopicModel.disjoint(3, 3, alpha=0.3, length=8),
        mechbp.SortedLists(6, 3),
    )
    for family, process in zip(FAMILIES, processes, strict=True):
        for name, task in family.tasks.items():
            check_task(task, process, f"{family.name}, {name}")


def test_arguments_may_be_lists_and_belong_to_the_recipe(tmp_path):
    code = CODE.replace("def make(length=13):", "def make(length=13, biases=(0.1, 0.4, 0.8)):").replace(
        "Coins(length", "Coins(biases, length"
    )
    folder = own(tmp_path / "own", code, biases=[0.3, 0.6])
    config = read_recipe(folder / "run.toml", "execute")
    assert config.process.build().biases == (0.3, 0.6) and hash(config.process)
    other = read_recipe(own(tmp_path / "other", code, biases=[0.3, 0.7]) / "run.toml", "execute")
    assert config.trained_by(config.trained_recipe()) and not config.trained_by(other.trained_recipe())
    assert re.search(r'"biases": \[0.3, 0.6\]', config.trained_recipe())

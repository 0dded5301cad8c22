"""Every public name exists and is listed once; what importing costs."""

import ast
import importlib
import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import mechbp

ROOT = Path(mechbp.__file__).resolve().parents[1]


@pytest.mark.parametrize("name", mechbp.__all__)
def test_public_name(name):
    value = getattr(mechbp, name)
    assert callable(value) and value.__doc__
    assert value is getattr(importlib.import_module(mechbp._HOMES[name]), name)
    assert value.__module__.startswith("mechbp.") and name in dir(mechbp)


def test_public_names_are_listed_once_and_typos_are_attribute_errors():
    assert set(mechbp.__all__) == set(mechbp._HOMES)
    tree = ast.parse((ROOT / "mechbp/__init__.py").read_text())
    typed = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(mechbp.__all__) <= typed
    with pytest.raises(AttributeError, match="module 'mechbp' has no attribute 'lod'"):
        mechbp.lod  # noqa: B018


def test_only_public_names_are_offered_whatever_is_imported():
    importlib.import_module("mechbp.study")
    offered = set(dir(mechbp))
    assert offered == {*mechbp.__all__, *mechbp._MODULES, "__version__"} and {"report", "hooks"} <= offered
    assert all(hasattr(mechbp, name) for name in offered)


def test_help_on_report_tells_how_it_is_called():
    told = pydoc.render_doc(mechbp.report, renderer=pydoc.plaintext)
    assert "mechbp.report - Study runs and write pages about them" in told
    assert "mechbp.report(run, pages=None, *, out, quick=False, trust=False) -> list[Path]" in told
    assert "quick: small samples, for a first look" in told and "\n    builder\n" in told
    assert list(inspect.signature(mechbp.report).parameters) == ["run", "pages", "out", "quick", "trust"]


@pytest.mark.parametrize(
    "use",
    [
        "mechbp.hooks.to_tokens",
        *(
            pytest.param(use, marks=pytest.mark.slow)
            for use in ("mechbp.errors.InputError", "mechbp.hooks is mechbp.hooks", "mechbp.metrics.log_prob(0, 1)")
        ),
    ],
)
def test_modules_that_scripts_use_need_no_import_of_their_own(use):
    code = f"import mechbp; assert {{'errors', 'hooks'}} <= set(dir(mechbp)); assert {use}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["-c", "import mechbp; mechbp.rng(0)"], ["-m", "mechbp.cli"]])
def test_importing_and_help_load_no_heavy_library(arguments):
    tell = "import atexit, json, sys; atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
    if arguments[0] == "-c":
        code = tell + arguments[1]
    else:
        code = tell + "from mechbp.cli import main; sys.argv = ['mechbp', '--help']; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & {
        "torch",
        "transformer_lens",
        "transformers",
        "pandas",
        "plotly",
        "scipy",
        "sklearn",
        "wandb",
        "joblib",
        "distributed",
    }
    assert done.stderr == ""

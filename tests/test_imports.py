"""The import contract and forbidden calls, read from the syntax tree; what importing costs; every public name exists."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mechbp

ROOT = Path(mechbp.__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "mechbp").rglob("*.py"))
SCRIPTS = sorted((ROOT / "analyses").glob("*.py"))

LAYERS = {
    "mechbp.errors": 0,
    "mechbp.randomness": 0,
    "mechbp.storage": 0,
    "mechbp.divergence": 0,
    "mechbp.fanout": 0,
    "mechbp.processes": 1,
    "mechbp.models": 2,
    "mechbp.hooks": 3,
    "mechbp.methods": 4,
    "mechbp.report": 5,
    "mechbp.study": 6,
    "mechbp.jobs": 7,
    "mechbp.cli": 8,
}
SAME_LAYER_ALLOWED = {0}
ONLY_IN = {
    "transformer_lens": ("mechbp.models.architectures",),
    "plotly": ("mechbp.report",),
    "jinja2": ("mechbp.report",),
    "playwright": ("mechbp.report",),
    "typer": ("mechbp.cli",),
    "rich": ("mechbp.cli",),
    "joblib": ("mechbp.fanout",),
    "dask": ("mechbp.fanout",),
    "distributed": ("mechbp.fanout",),
}
NEVER_IN = {
    "mechbp.processes": ("torch", "transformer_lens", "safetensors"),
    "mechbp.report": ("torch", "mechbp.models", "mechbp.processes", "mechbp.hooks", "mechbp.methods"),
    "mechbp.errors": ("torch", "numpy"),
    "mechbp.storage": ("torch",),
    "mechbp.randomness": ("torch",),
}
BANNED_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "wandb", "requests", "urllib", "httpx"}
BANNED_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "joblib.load",
    "joblib.dump",
    "torch.manual_seed",
    "torch.seed",
    "os.system",
    "os.popen",
}
ALLOWED_RANDOM = {"Generator", "PCG64", "SeedSequence", "RandomState", "BitGenerator"}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module):
    return max(((name, layer) for name, layer in LAYERS.items() if within(module, name)), default=(None, None))[1]


def within(module, package):
    return module == package or module.startswith(package + ".")


def imports(tree, *, types_too=False):
    """Every module imported anywhere in the file, inside functions too; those for type checkers only on request."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types_too:
            skipped.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if within(str(node.module), "mechbp"))


def offences(module, tree):
    """Everything in one source file that breaks the contract."""
    mine = layer_of(module)
    for name in imports(tree):
        theirs = layer_of(name)
        if mine is not None and theirs is not None and theirs > mine:
            yield f"{module} imports {name} from above"
        package = ".".join(module.split(".")[:2])
        if theirs is not None and theirs == mine and not within(name, package) and mine not in SAME_LAYER_ALLOWED:
            yield f"{module} imports {name} from beside"
        for library, homes in ONLY_IN.items():
            if within(name, library) and not any(within(module, home) for home in homes):
                yield f"{module} imports {name}; only {', '.join(homes)} may"
        for package, barred in NEVER_IN.items():
            if within(module, package) and any(within(name, bar) for bar in barred):
                yield f"{module} imports {name}"
        if name.split(".")[0] in BANNED_MODULES:
            yield f"{module} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in BANNED_CALLS or (called.startswith("random.") and "random" in set(imports(tree))):
                yield f"{module}:{node.lineno} calls {called}"
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                    yield f"{module}:{node.lineno} passes {keyword.arg}"
        in_random = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random")
        if isinstance(node, ast.Attribute) and in_random and node.attr not in ALLOWED_RANDOM:
            yield f"{module}:{node.lineno} uses the global generator: np.random.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module in ("numpy.random", "torch.random"):
            yield f"{module}:{node.lineno} imports from {node.module}"


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_contract(path):
    assert list(offences(module_of(path), ast.parse(path.read_text()))) == []


def test_every_module_has_a_layer():
    unplaced = [m for m in map(module_of, SOURCES) if m != "mechbp" and layer_of(m) is None]
    assert unplaced == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mechbp.processes.tree.filtered_tree", "from mechbp.models.architectures import build_model"),
        ("mechbp.processes.tree.filtered_tree", "def f():\n    import torch"),
        ("mechbp.errors", "from mechbp import hooks"),
        ("mechbp.methods.probing.probe", "import transformer_lens"),
        ("mechbp.methods.probing.probe", "from plotly import graph_objects"),
        ("mechbp.report.page", "from mechbp.methods.results import Grid"),
        ("mechbp.models.runs", "import pickle"),
        ("mechbp.jobs", "from joblib import Parallel"),
        ("mechbp.fanout", "joblib.load(path)"),
        ("mechbp.models.runs", "x = torch.load(path)"),
        ("mechbp.models.runs", "np.load(path, allow_pickle=True)"),
        ("mechbp.models.runs", "subprocess.run(line, shell=True)"),
        ("mechbp.models.runs", "np.random.seed(0)"),
        ("mechbp.models.runs", "rng = numpy.random.default_rng()"),
        ("mechbp.models.runs", "from numpy.random import default_rng"),
        ("mechbp.models.runs", "torch.manual_seed(0)"),
        ("mechbp.models.runs", "import random\nrandom.shuffle(x)"),
        ("mechbp.cli", "eval(text)"),
    ],
)
def test_the_contract_can_be_broken(module, text):
    assert list(offences(module, ast.parse(text)))


@pytest.mark.parametrize("name", mechbp.__all__)
def test_public_name(name):
    value = getattr(mechbp, name)
    assert callable(value) and value.__doc__
    assert value is getattr(importlib.import_module(mechbp._HOMES[name]), name)
    assert value.__module__.startswith("mechbp.") and name in dir(mechbp)


def test_public_names_are_listed_once_and_typos_are_attribute_errors():
    assert set(mechbp.__all__) == set(mechbp._HOMES)
    tree = ast.parse((ROOT / "mechbp/__init__.py").read_text())
    typed = {name.rpartition(".")[2] for name in imports(tree, types_too=True)}
    assert set(mechbp.__all__) <= typed
    with pytest.raises(AttributeError, match="module 'mechbp' has no attribute 'lod'"):
        mechbp.lod  # noqa: B018


@pytest.mark.parametrize("use", ["mechbp.hooks.to_tokens", "mechbp.errors.InputError", "mechbp.hooks is mechbp.hooks"])
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

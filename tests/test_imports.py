"""The import contract and forbidden calls, read from the syntax tree of every file of mechbp/ and analyses/."""

import ast
from pathlib import Path

import pytest

import mechbp

ROOT = Path(mechbp.__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "mechbp").rglob("*.py"), *(ROOT / "analyses").rglob("*.py")])

LAYERS = {
    "mechbp.errors": 0,
    "mechbp.arguments": 0,
    "mechbp.brief": 0,
    "mechbp.randomness": 0,
    "mechbp.storage": 0,
    "mechbp.divergence": 0,
    "mechbp.figures": 0,
    "mechbp.processes": 1,
    "mechbp.models": 2,
    "mechbp.finite": 3,
    "mechbp.hooks": 3,
    "mechbp.metrics": 3,
    "mechbp.hook_check": 3,
    "mechbp.hook_listing": 3,
    "mechbp.methods": 4,
    "mechbp.theory": 5,
    "mechbp.report": 6,
    "analyses": 7,
    "mechbp.fanout": 8,
    "mechbp.study": 8,
    "mechbp.reporting": 8,
    "mechbp.measuring": 8,
    "mechbp.scoring": 8,
    "mechbp.interchanging": 8,
    "mechbp.message_questions": 8,
    "mechbp.judging": 8,
    "mechbp.listing": 8,
    "mechbp.promises": 8,
    "mechbp.extras": 8,
    "mechbp.jobs": 8,
    "mechbp.terminal": 8,
    "mechbp.cli": 8,
    "mechbp.commands": 8,
    "mechbp.__main__": 8,
}
FOUNDATION = ("mechbp.errors", "mechbp.arguments", "mechbp.randomness", "mechbp.divergence", "mechbp.brief", "mechbp.storage")
MAY_IMPORT = {
    "mechbp.errors": (),
    "mechbp.arguments": ("mechbp.errors",),
    "mechbp.brief": (),
    "mechbp.randomness": ("mechbp.errors", "mechbp.arguments"),
    "mechbp.storage": ("mechbp.errors",),
    "mechbp.divergence": ("mechbp.errors",),
    "mechbp.figures": ("mechbp.errors",),
    "mechbp.processes": FOUNDATION[:5],
    "mechbp.models": (*FOUNDATION, "mechbp.processes"),
    "mechbp.finite": ("mechbp.errors",),
    "mechbp.hooks": ("mechbp.errors", "mechbp.arguments", "mechbp.finite"),
    "mechbp.hook_check": ("mechbp.errors", "mechbp.hooks", "mechbp.finite"),
    "mechbp.metrics": ("mechbp.errors", "mechbp.arguments"),
    "mechbp.methods": (*FOUNDATION[:5], "mechbp.figures", "mechbp.finite", "mechbp.hooks", "mechbp.hook_check"),
    "mechbp.theory": (*FOUNDATION[:5], "mechbp.figures", "mechbp.finite", "mechbp.hooks", "mechbp.methods", "mechbp.processes"),
    "mechbp.report": ("mechbp.errors", "mechbp.arguments", "mechbp.storage", "mechbp.figures"),
}
"""Of mechbp, beside the package itself; what is not named here may import every layer below its own."""
WINGS = ("mechbp.processes", "mechbp.models.tasks", "mechbp.theory")
"""Packages whose folders or files are wings: no wing imports another."""
WING_NAMES = ("tree", "chain", "topics", "sorting")
SIDEWAYS = {("mechbp.processes.chain", "mechbp.processes.tree.belief_propagation")}
"""A chain is a comb: its messages are those of a tree."""
FOR_ANALYSES = ("mechbp.study", "mechbp.measuring.recheck", "mechbp.measuring.changed", "mechbp.judging")
"""What a page needs of the layer above it: the Study that it is given, the Page that it registers, stored numbers taken anew,
controls measured as they were, and methods judged."""
ONLY_IN = {
    "transformer_lens": ("mechbp.models.architectures", "mechbp.models.own_transformer", "mechbp.judging.peers"),
    "pyvene": ("mechbp.judging.peers",),
    "plotly": ("mechbp.report", "mechbp.figures"),
    "jinja2": ("mechbp.report",),
    "playwright": ("mechbp.report",),
    "typer": ("mechbp.cli", "mechbp.commands"),
    "rich": ("mechbp.terminal",),
    "joblib": ("mechbp.fanout",),
    "dask": ("mechbp.fanout",),
    "distributed": ("mechbp.fanout",),
    "gensim": ("analyses.topic_text",),
    "transformers": ("analyses.topic_text",),
    "tokenizers": ("analyses.topic_text",),
}
NEVER_IN = {
    "mechbp.processes": ("torch", "transformer_lens", "safetensors"),
    "mechbp.models.tasks": ("torch", "transformer_lens", "safetensors"),
    "mechbp.figures": ("torch", "numpy", "pandas"),
    "mechbp.report": ("torch",),
    "mechbp.errors": ("torch", "numpy"),
    "mechbp.storage": ("torch",),
    "mechbp.randomness": ("torch",),
}
PROCESS_TYPES = ("FilteredTree", "HiddenMarkovModel", "TopicModel", "SupportMixture", "SortedLists")
TASK_NAMES = ("masked", "root", "root-all", "next-token", "mask-a", "mask-b", "sort")
INSIDE_A_WING = (
    *(f"{package}.{wing}" for package in WINGS for wing in WING_NAMES),
    *("mechbp.models.compiled", "analyses.compiled_bp"),
    *("analyses.tree_", "analyses.shared.tree_"),
    *("analyses.belief_geometry", "analyses.constrained_updates"),
    "analyses.topic_",
)
"""Where a process may be known by its type and a task by its name."""
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
ALLOWED_RANDOM = {"Generator", "PCG64", "SeedSequence", "RandomState", "BitGenerator", "get_state"}
"""No name that draws from the global generator or moves it; `get_state` shows that nobody else did."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module):
    return max(((name, layer) for name, layer in LAYERS.items() if within(module, name)), default=(None, None))[1]


def within(module, package):
    return module == package or module.startswith(package + ".")


def wing_of(module):
    """The wing in whose room a module stands; None outside."""
    return next((wing for package in WINGS for wing in WING_NAMES if within(module, f"{package}.{wing}")), None)


def page_of(module):
    """The page that a module of analyses/ belongs to; None for what is shared."""
    parts = module.split(".")
    return parts[1] if parts[0] == "analyses" and len(parts) > 1 and parts[1] != "shared" else None


def imports(tree):
    """(line, module) of every import anywhere in the file, inside functions too, but for those for type checkers alone."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.lineno, str(node.module)
            if str(node.module).split(".")[0] in ("mechbp", "analyses"):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def offences(module, tree):
    """Everything in one source file that breaks the contract, each with its line."""
    imported = list(imports(tree))
    for line, name in imported:
        if why := why_barred(module, name):
            yield f"{module}:{line} imports {name}: {why}"
    for node in ast.walk(tree):
        if why := why_forbidden(node, {name for _, name in imported}):
            yield f"{module}:{node.lineno} {why}"
        if not module.startswith(INSIDE_A_WING) and (why := dispatches(node)):
            yield f"{module}:{node.lineno} {why}"


def why_barred(module, name):
    """Why a module may not import another; empty where it may."""
    for library, homes in ONLY_IN.items():
        if within(name, library) and not any(within(module, home) for home in homes):
            return f"only {', '.join(homes)} may"
    for package, barred in NEVER_IN.items():
        if within(module, package) and any(within(name, bar) for bar in barred):
            return f"{package} never does"
    if name.split(".")[0] in BANNED_MODULES:
        return "nobody may"
    mine = layer_of(module)
    theirs = layer_of(name)
    if mine is None or theirs is None:
        return ""
    if theirs > mine and not (within(module, "analyses") and any(within(name, home) for home in FOR_ANALYSES)):
        return "it stands above"
    if within(module, "analyses") and page_of(name) not in (None, page_of(module)):
        return "a page never imports another, and what is shared imports no page"
    package = next((package for package in MAY_IMPORT if within(module, package)), None)
    if package and not any(within(name, allowed) for allowed in (package, *MAY_IMPORT[package])):
        return f"{package} may import only {', '.join(MAY_IMPORT[package]) or 'nothing of mechbp'}"
    sideways = any(within(module, one) and within(name, other) for one, other in SIDEWAYS)
    if wing_of(module) and wing_of(name) and wing_of(module) != wing_of(name) and not sideways:
        return f"the wing {wing_of(module)!r} never imports {wing_of(name)!r}"
    return ""


def why_forbidden(node, imported):
    """Why a statement is forbidden everywhere; empty where it is not."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called in BANNED_CALLS or (called.startswith("random.") and "random" in imported):
            return f"calls {called}"
        for keyword in node.keywords:
            if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False":
                return f"passes {keyword.arg}"
    in_random = isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random")
    if isinstance(node, ast.Attribute) and in_random and node.attr not in ALLOWED_RANDOM:
        return f"uses the global generator: np.random.{node.attr}"
    if isinstance(node, ast.ImportFrom) and node.module in ("numpy.random", "torch.random"):
        return f"imports from {node.module}"
    return ""


def dispatches(node):
    """Why a statement asks for the type of a process or the name of a task; empty where it does not."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and len(node.args) == 2:
        named = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
        if found := sorted(named & set(PROCESS_TYPES)):
            return f"asks whether a process is a {found[0]}"
    if isinstance(node, ast.Compare):
        for side in (node.left, *node.comparators):
            if isinstance(side, ast.Constant) and side.value in TASK_NAMES:
                return f"compares the name of a task with {side.value!r}"
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_contract(path):
    assert list(offences(module_of(path), ast.parse(path.read_text()))) == []


def test_every_wing_is_known_here():
    rooms = {path.name for path in (ROOT / "mechbp/processes").iterdir() if (path / "__init__.py").exists()} - {"laws"}
    files = {path.stem for path in (ROOT / "mechbp/models/tasks").glob("*.py")} - {"__init__", "task", "objective"}
    assert rooms == files <= set(WING_NAMES)


def test_every_module_has_a_layer():
    unplaced = [m for m in map(module_of, SOURCES) if m != "mechbp" and layer_of(m) is None]
    assert unplaced == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mechbp.processes.tree.grammar", "from mechbp.models.architectures import build_model"),
        ("mechbp.processes.tree.grammar", "def f():\n    import torch"),
        ("mechbp.errors", "from mechbp import hooks"),
        ("mechbp.methods.probing.probe", "import transformer_lens"),
        ("mechbp.models.training", "from transformer_lens import HookedTransformer"),
        ("mechbp.methods.probing.probe", "from plotly import graph_objects"),
        ("mechbp.report.page", "from mechbp.methods.results import Grid"),
        ("mechbp.methods.probing.grid", "from mechbp.theory.tree.leaves import own_nodes"),
        ("mechbp.methods.probing.grid", "from mechbp.processes.tree.grammar import TreeGrammar"),
        ("mechbp.methods.probing.grid", "from mechbp.models.runs import Run"),
        ("mechbp.theory.chain.prefix_probe", "from mechbp.theory.tree.leaves import lca_level"),
        ("mechbp.theory.tree.leaves", "from mechbp.processes.chain.hmm import HiddenMarkovModel"),
        ("mechbp.theory.tree.leaves", "from mechbp.models.runs import Run"),
        ("mechbp.processes.chain.messages", "from mechbp.processes.tree.grammar import TreeGrammar"),
        ("mechbp.models.tasks.chain", "from mechbp.models.tasks.tree import TREE"),
        ("mechbp.models.tasks.chain", "import torch"),
        ("analyses.tree_levels.page", "from analyses.tree_mechanism.attention import study_attention"),
        ("analyses.tree_levels.page", "from mechbp.cli import app"),
        ("analyses.shared.tree_attention", "def f():\n    from analyses.tree_levels import page"),
        ("mechbp.methods.probing.grid", "from analyses.shared import baselines"),
        ("mechbp.models.verify", "if isinstance(process, FilteredTree): pass"),
        ("mechbp.models.verify", "if isinstance(process, (int, HiddenMarkovModel)): pass"),
        ("mechbp.models.training", "if task == 'masked': pass"),
        ("mechbp.study", "x = 1 if run.config.objective.task != 'next-token' else 2"),
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
    found = list(offences(module, ast.parse(text)))
    line = len(text.splitlines())
    assert found and all(offence.startswith(f"{module}:{line} ") for offence in found), "an offence names its line"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("mechbp.processes.chain.messages", "from mechbp.processes.tree.belief_propagation import run_passes"),
        ("analyses.tree_levels.answers", "from analyses.tree_levels.groups import Group"),
        ("analyses.tree_levels.answers", "if task == 'masked': pass"),
        ("analyses.tree_levels.page", "from mechbp.study import Page"),
        ("mechbp.models.tasks.tree", "from mechbp.processes.tree.grammar import TreeGrammar"),
        ("mechbp.theory.tree.message_pairs", "if isinstance(tree, FilteredTree): pass"),
    ],
)
def test_what_the_contract_allows(module, text):
    assert list(offences(module, ast.parse(text))) == []

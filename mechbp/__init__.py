"""Mechanistic interpretability of transformers trained on data whose exact Bayesian answer is known.

The public names below are imported on first use, so that `import mechbp` stays fast and loads no torch.
"""

import time
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mechbp import errors as errors
    from mechbp import hooks as hooks
    from mechbp import metrics as metrics
    from mechbp import reporting as reporting
    from mechbp.errors import ContractError
    from mechbp.hook_check import check_model
    from mechbp.hook_listing import hook_table
    from mechbp.hooks import capture, edit
    from mechbp.interchanging import erase, interchange
    from mechbp.judging.judge import judge
    from mechbp.methods.circuits.circuit import circuits
    from mechbp.methods.llc.estimate import llc
    from mechbp.methods.patching.patch import patch
    from mechbp.methods.probing.probe import probe
    from mechbp.models.compiled.bp import compile_bp
    from mechbp.models.families import register
    from mechbp.models.runs import Run, load
    from mechbp.models.tasks.task import Family, Task
    from mechbp.processes.chain.hmm import HiddenMarkovModel
    from mechbp.processes.chain.library import mess3, rrxor
    from mechbp.processes.check import check_process
    from mechbp.processes.process import Process
    from mechbp.processes.sorting.sorted_lists import SortedLists
    from mechbp.processes.topics.topic_model import TopicModel
    from mechbp.processes.tree.filtered_tree import FilteredTree
    from mechbp.processes.tree.grammar import TreeGrammar
    from mechbp.randomness import rng
    from mechbp.report.builder import Report
    from mechbp.reporting import write_pages as report  # noqa: F401
    from mechbp.scoring import score
    from mechbp.theory.tree.attention import compare_attention

__version__ = "0.1.0"
IMPORTED = time.monotonic()
"""When a script began, as its page tells: nothing of mechbp was computed before."""

_HOMES = {
    "ContractError": "mechbp.errors",
    "Family": "mechbp.models.tasks.task",
    "FilteredTree": "mechbp.processes.tree.filtered_tree",
    "HiddenMarkovModel": "mechbp.processes.chain.hmm",
    "Process": "mechbp.processes.process",
    "Report": "mechbp.report.builder",
    "Run": "mechbp.models.runs",
    "SortedLists": "mechbp.processes.sorting.sorted_lists",
    "Task": "mechbp.models.tasks.task",
    "TopicModel": "mechbp.processes.topics.topic_model",
    "TreeGrammar": "mechbp.processes.tree.grammar",
    "capture": "mechbp.hooks",
    "check_model": "mechbp.hook_check",
    "check_process": "mechbp.processes.check",
    "circuits": "mechbp.methods.circuits.circuit",
    "compare_attention": "mechbp.theory.tree.attention",
    "compile_bp": "mechbp.models.compiled.bp",
    "edit": "mechbp.hooks",
    "erase": "mechbp.interchanging",
    "hook_table": "mechbp.hook_listing",
    "interchange": "mechbp.interchanging",
    "judge": "mechbp.judging.judge",
    "llc": "mechbp.methods.llc.estimate",
    "load": "mechbp.models.runs",
    "mess3": "mechbp.processes.chain.library",
    "patch": "mechbp.methods.patching.patch",
    "probe": "mechbp.methods.probing.probe",
    "register": "mechbp.models.families",
    "rng": "mechbp.randomness",
    "rrxor": "mechbp.processes.chain.library",
    "score": "mechbp.scoring",
}

_MODULES = ("errors", "hooks", "metrics", "report", "reporting")
"""Modules that scripts use by name, `mechbp.hooks.to_tokens`; `mechbp.report(run, …)` is one that can be called."""

__all__ = [
    "ContractError",
    "Family",
    "FilteredTree",
    "HiddenMarkovModel",
    "Process",
    "Report",
    "Run",
    "SortedLists",
    "Task",
    "TopicModel",
    "TreeGrammar",
    "capture",
    "check_model",
    "check_process",
    "circuits",
    "compare_attention",
    "compile_bp",
    "edit",
    "erase",
    "hook_table",
    "interchange",
    "judge",
    "llc",
    "load",
    "mess3",
    "patch",
    "probe",
    "register",
    "rng",
    "rrxor",
    "score",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"mechbp.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'mechbp' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What is public; modules that happen to be imported are not offered."""
    return sorted({*__all__, *_MODULES, "__version__"})

"""Which faults can be planted in a file, found by cosmic-ray's operators; the choice among them is a seeded draw."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.plugins import get_operator, operator_names

SKIPPED_OPERATORS = ("core/RemoveDecorator", "core/ExceptionReplacer", "core/VariableInserter", "core/VariableReplacer")
"""Decorators and handlers are declarations more than steps; variables are exchanged at random by the last two."""


@dataclass(frozen=True)
class Fault:
    """One change of one file."""

    area: str
    path: str
    operator: str
    occurrence: int
    line: int

    @property
    def key(self) -> str:
        """A name that stays as long as the file does."""
        return f"{self.path}:{self.line} {self.operator.removeprefix('core/')} #{self.occurrence}"

    def planted(self, source: str) -> str:
        """Return the source with the fault in it."""
        found = MutationVisitor.mutate_code(source, get_operator(self.operator)(), self.occurrence)
        assert found is not None, self.key
        return found

    def to_dict(self) -> dict[str, str | int]:
        """Return the fault for JSON."""
        return asdict(self)


class _Places(Visitor):
    """Collects where each operator would change a file, in one walk."""

    def __init__(self, operators: dict[str, Any]) -> None:
        self.operators = operators
        self.starts: dict[str, list[tuple[int, int]]] = {name: [] for name in operators}

    def visit(self, node: Any) -> Any:
        for name, operator in self.operators.items():
            self.starts[name] += [start for start, _ in operator.mutation_positions(node)]
        return node


def faults_of(area: str, root: Path, path: str) -> list[Fault]:
    """Return every fault that the operators can plant in a file, but in what is not executed as a step.

    Left out: annotations, which only tests evaluate; what `raise` says, since a message's wording is no behaviour that a test
    should pin down; __repr__, and code for type checkers.
    """
    source = (root / path).read_text(encoding="utf-8")
    left_out = list(_left_out(ast.parse(source)))
    places = _Places({name: get_operator(name)() for name in sorted(operator_names()) if name not in SKIPPED_OPERATORS})
    places.walk(get_ast(source))
    return [
        Fault(area, path, name, occurrence, line)
        for name, starts in places.starts.items()
        for occurrence, (line, column) in enumerate(starts)
        if not any(start <= (line, column) < end for start, end in left_out)
    ]


def _left_out(tree: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns, node if node.name == "__repr__" else None]
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            parts = [node]
        for part in parts:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)  # type: ignore[attr-defined]


def drawn(faults: dict[str, list[Fault]], n: int, seed: int) -> list[Fault]:
    """Return n faults, as many of each area as of any other while there are any; within an area line by line at random.

    A line gives at most one fault, so that a long expression, which gives dozens, does not fill the sample.
    """
    generator = np.random.default_rng(seed)
    queues = {}
    for area, known in faults.items():
        by_line: dict[tuple[str, int], list[Fault]] = {}
        for fault in known:
            by_line.setdefault((fault.path, fault.line), []).append(fault)
        lines = [by_line[place] for place in sorted(by_line)]
        queues[area] = [lines[i][generator.integers(len(lines[i]))] for i in generator.permutation(len(lines))]
    chosen: list[Fault] = []
    while len(chosen) < n and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < n:
                chosen.append(queue.pop(0))
    return chosen

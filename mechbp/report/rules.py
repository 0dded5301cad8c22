"""One-line rules over named numbers, such as `kl_high_nats <= close_nats and share(margins > 0) >= 0.5`.

A rule is parsed, never run as Python: numbers, names, arithmetic, comparisons, and/or/not, entries of lists, and the functions
of FUNCTIONS; everything else is refused. Lists are compared entry by entry. A missing number (null) is NaN, every comparison
with NaN is False, and so are `all` and `rising` of a list too short to say anything: nothing holds because it was not measured.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mechbp.errors import InputError, asked_back, near
from mechbp.report.rule_functions import FUNCTIONS, Function, Value, as_value

ARITHMETIC: dict[type, Any] = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide}
COMPARISONS: dict[type, Any] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
LONGEST = 500
"""Characters of a rule."""
DEEPEST = 40


@dataclass(frozen=True)
class Rule:
    """A parsed rule; `name` says where it stands, for messages."""

    name: str
    text: str
    tree: ast.expr

    @classmethod
    def parse(cls, text: str, name: str = "rule") -> Rule:
        """Parse a rule. Raises InputError that names the rule and the position of what it cannot hold."""
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST or not text.isascii() or not text.isprintable():
            raise InputError(f"{name}: a rule is one line of 1..{LONGEST} ASCII characters, got {text!r:.60}.")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            rule = cls(name, text.strip(), tree)
            rule._check(tree)
        except SyntaxError as error:
            raise InputError(f"{name}: {text!r:.120} is no rule: {error.msg} at position {error.offset or 1}.") from None
        except (RecursionError, MemoryError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: {text!r:.60} is nested too deeply or holds a number too long.") from None
        return rule

    @property
    def names(self) -> frozenset[str]:
        """The names of numbers that the rule asks for."""
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        return frozenset(node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name) and id(node) not in called)

    def decide(self, numbers: Mapping[str, Any]) -> bool:
        """Return whether the rule is true of the numbers: floats, booleans, None, or flat lists of them.

        Raises InputError for an unknown name, lists of different lengths, and a rule that gives no single truth value.
        """
        result = self.value(numbers)
        if result.ndim or result.dtype != bool:
            found = f"a list of {len(result)}" if result.ndim else "a number"
            raise self._error(self.tree, f"a rule must be true or false, this gives {found}; compare it, or take all or any")
        return bool(result)

    def value(self, numbers: Mapping[str, Any]) -> Value:
        """Return what the rule gives on the numbers: for `used_low > 0.5` about a list, a truth value per entry."""
        values = {name: as_value(number, f"{self.name}: {name}") for name, number in numbers.items()}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and node.id in self.names and node.id not in values:
                raise self._error(node, f"unknown number {node.id!r:.60}" + _near(node.id, values))
        with np.errstate(all="ignore"):
            return self._value(self.tree, values)

    def parts(self) -> list[Rule]:
        """Return the rules that this one joins by `and`, those within `all(… and …)` too; itself where it joins none."""
        match self.tree:
            case ast.BoolOp(op=ast.And(), values=nodes):
                return [part for node in nodes for part in self._of(node).parts()]
            case ast.Call(func=ast.Name(id="all"), args=[ast.BoolOp(op=ast.And())]):
                inside = self.inside_all()
                assert inside is not None
                return [Rule.parse(f"all({part.text})", self.name) for part in inside.parts()]
        return [self]

    def inside_all(self) -> Rule | None:
        """Return what an `all(…)` asks of every entry; None where the rule is another."""
        match self.tree:
            case ast.Call(func=ast.Name(id="all"), args=[node]):
                return self._of(node)
        return None

    def _of(self, node: ast.expr) -> Rule:
        """Return a part of the rule as a rule."""
        return Rule.parse(self.text[node.col_offset : node.end_col_offset], self.name)

    def shown(self, bounds: Mapping[str, Any]) -> str:
        """Return the rule with the values of `bounds` in place of their names, as a reader is shown it."""
        text = self.text
        places = [node for node in ast.walk(self.tree) if isinstance(node, ast.Name) and node.id in bounds]
        for node in sorted(places, key=lambda node: -node.col_offset):
            text = text[: node.col_offset] + _written(bounds[node.id]) + text[node.end_col_offset :]
        return text

    def _check(self, node: ast.expr, depth: int = 0) -> None:
        """Refuse what the language does not have, before any number is known."""
        if depth > DEEPEST:
            raise self._error(node, f"more than {DEEPEST} operations stand within each other")
        parts: Sequence[ast.expr]
        match node:
            case ast.Constant(value=bool()) | ast.Name():
                parts = ()
            case ast.Constant(value=int() | float() as number):
                if not abs(number) < 1e300:
                    raise self._error(node, "a number must be finite")
                parts = ()
            case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
                parts = (operand,)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                parts = (left, right)
            case ast.BoolOp(values=values):
                parts = values
            case ast.Compare(left=left, ops=ops, comparators=right) if all(type(op) in COMPARISONS for op in ops):
                parts = (left, *right)
            case ast.Subscript(value=value, slice=index):
                self._index(index)
                parts = (value,)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FUNCTIONS:
                    raise self._error(node, f"unknown function {name!r:.40}" + _near(name, FUNCTIONS))
                least, most = FUNCTIONS[name].arguments
                if not least <= len(arguments) <= most:
                    raise self._error(node, f"{name} takes {least if least == most else f'{least} to {most}'} argument(s)")
                parts = arguments
            case _:
                raise self._error(node, f"{type(node).__name__} is not part of a rule")
        for part in parts:
            self._check(part, depth + 1)

    def _value(self, node: ast.expr, values: Mapping[str, Value]) -> Value:
        match node:
            case ast.Constant(value=value):
                return as_value(value, self.name)
            case ast.Name(id=name):
                return values[name]
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return np.asarray(~self._truth(operand, values))
            case ast.UnaryOp(operand=operand):
                return np.asarray(-self._number(operand, values))
            case ast.BinOp(left=left, op=op, right=right):
                pair = self._pair(node, self._number(left, values), self._number(right, values))
                result = np.asarray(ARITHMETIC[type(op)](*pair))
                return np.asarray(np.where(np.isfinite(result), result, np.nan))  # x / 0 is as unknown as a missing number
            case ast.BoolOp(op=op, values=parts):
                result = self._truth(parts[0], values)
                for part in parts[1:]:
                    if not result.ndim and bool(result) == isinstance(op, ast.Or):
                        return result  # decided: `len(x) > 3 and x[3] > 1` asks for no entry that is not there
                    pair = self._pair(node, result, self._truth(part, values))
                    result = np.asarray(np.logical_and(*pair) if isinstance(op, ast.And) else np.logical_or(*pair))
                return np.asarray(result)
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._comparison(node, [left, *others], ops, values)
            case ast.Subscript(value=value, slice=index):
                return self._entry(node, self._value(value, values), self._index(index))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(node, FUNCTIONS[name], name, arguments, values)
        raise self._error(node, f"{type(node).__name__} is not part of a rule")

    def _comparison(self, node: ast.expr, parts: list[ast.expr], ops: list[ast.cmpop], values: Mapping[str, Value]) -> Value:
        numbers = [self._number(part, values) for part in parts]
        result = np.asarray(True)
        for op, left, right in zip(ops, numbers, numbers[1:], strict=False):
            left, right = self._pair(node, left, right)
            known = ~(np.isnan(left) | np.isnan(right))
            met = np.asarray(known & COMPARISONS[type(op)](left, right))
            result = np.asarray(np.logical_and(*self._pair(node, result, met)))
        return result

    def _call(
        self, node: ast.expr, function: Function, name: str, arguments: Sequence[ast.expr], values: Mapping[str, Value]
    ) -> Value:
        read = {"truth": self._truth, "number": self._number, "any": self._value}[function.takes]
        given = [read(argument, values) for argument in arguments]
        if function.needs_list and not given[0].ndim:
            raise self._error(node, f"{name} needs a list, got a single number")
        for one, other in combinations(given, 2):
            self._pair(node, one, other)
        return np.asarray(function.compute(*given))

    def _entry(self, node: ast.expr, value: Value, index: int | slice) -> Value:
        if not value.ndim:
            raise self._error(node, "a single number has no entries")
        if isinstance(index, int) and not -len(value) <= index < len(value):
            raise self._error(node, f"entry {index} of a list of {len(value)}")
        return np.asarray(value[index])

    def _index(self, node: ast.expr) -> int | slice:
        match node:
            case ast.Slice(lower=lower, upper=upper, step=None):
                return slice(*(None if end is None else self._whole(end) for end in (lower, upper)))
            case _:
                return self._whole(node)

    def _whole(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int() as value) if type(value) is int and value < 10**6:
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)) if type(value) is int and value < 10**6:
                return -value
        raise self._error(node, "an entry is named by a whole number")

    def _truth(self, node: ast.expr, values: Mapping[str, Value]) -> Value:
        value = self._value(node, values)
        if value.shape == (0,):
            return value.astype(bool)  # an empty list has no kind
        if value.dtype != bool:
            raise self._error(node, "expected true or false, got a number; compare it with something")
        return value

    def _number(self, node: ast.expr, values: Mapping[str, Value]) -> Value:
        value = self._value(node, values)
        if value.dtype == bool:
            raise self._error(node, "expected a number, got true or false; count or share make one of it")
        return value

    def _pair(self, node: ast.expr, left: Value, right: Value) -> tuple[Value, Value]:
        if left.ndim and right.ndim and len(left) != len(right):
            raise self._error(node, f"lists of {len(left)} and {len(right)} entries meet")
        return left, right

    def _error(self, node: ast.expr, message: str) -> InputError:
        return InputError(f"{self.name}: {self.text!r:.200}, position {node.col_offset + 1}: {message}.")


def _near(name: str, known: Mapping[str, Any]) -> str:
    meant = asked_back(near(name, known, 1)).rstrip("?")
    return f"; {meant}{'; ' if meant else ''}known: {', '.join(known) or 'none'}"


def _written(bound: Any) -> str:
    if isinstance(bound, (list, tuple)):
        return f"({', '.join(map(_written, bound))})"
    text = f"{bound:g}" if isinstance(bound, float) else str(bound)
    return f"({text})" if text.startswith("-") else text

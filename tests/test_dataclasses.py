"""Dataclasses stay as they were made, and those that hold arrays are not compared field by field, which arrays cannot be."""

import ast
import re
from pathlib import Path

import mechbp

ROOT = Path(mechbp.__file__).parent
MUTABLE = {"models/own_transformer.py: HookedTransformerConfig", "processes/laws/findings.py: Findings"}
"""As that of TransformerLens is; and what gathers broken laws one by one."""
ARRAYS = re.compile(r"\b(ndarray|Tensor|RealArray|HookedModel|Module)\b")


def declared(path):
    """Yield name, keywords of the decorator and source of the fields' annotations for every dataclass of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for decorator in getattr(node, "decorator_list", []):
            call = decorator if isinstance(decorator, ast.Call) else None
            if ast.unparse(call.func if call else decorator) in ("dataclass", "dataclasses.dataclass"):
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords} if call else {}
                fields = [ast.unparse(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)]
                yield node.name, keywords, " ".join(fields)


FOUND = {
    f"{path.relative_to(ROOT)}: {name}": (name, keywords, fields)
    for path in sorted(ROOT.rglob("*.py"))
    for name, keywords, fields in declared(path)
}


def holding_arrays():
    """Return the places of dataclasses that hold arrays, themselves or in a dataclass that does."""
    held = {place for place, (_, _, fields) in FOUND.items() if ARRAYS.search(fields)}
    while True:
        names = re.compile(r"\b(" + "|".join(FOUND[place][0] for place in held) + r")\b")
        more = {place for place, (_, _, fields) in FOUND.items() if names.search(fields)} - held
        if not more:
            return held
        held |= more


def test_they_are_found():
    assert len(FOUND) > 150 and "processes/tree/grammar.py: TreeGrammar" in FOUND and len(holding_arrays()) > 60


def test_nothing_is_assigned_to_them_later():
    thawed = {place for place, (name, keywords, _) in FOUND.items() if keywords.get("frozen") != "True" and name[0] != "_"}
    assert thawed == MUTABLE


def test_those_that_are_told_in_brief_are_not_written_out_field_by_field():
    """A repr that a dataclass makes would stand in the place of the brief one, with every number of its arrays."""
    made, brief = [], 0
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and {ast.unparse(base) for base in node.bases} & {"Brief", "Shown"}:
                brief += 1
                own = any(isinstance(part, ast.FunctionDef) and part.name == "__repr__" for part in node.body)
                told = [ast.unparse(decorator) for decorator in node.decorator_list if "dataclass" in ast.unparse(decorator)]
                made += [node.name for text in told if "repr=False" not in text and not own]
    assert brief > 100 and made == []


def test_those_that_hold_arrays_are_compared_by_identity():
    assert [place for place in sorted(holding_arrays()) if FOUND[place][1].get("eq") != "False"] == []

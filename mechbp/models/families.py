"""The registry of families: which processes recipes can name, and what models of them can be asked.

A family of one's own needs no change here: `register(family)` adds it for this Python process.
"""

from __future__ import annotations

from typing import Any

from mechbp.errors import InputError
from mechbp.models.recipe_tables import kinds_of
from mechbp.models.tasks.chain import CHAIN
from mechbp.models.tasks.sorting import SORTING
from mechbp.models.tasks.task import Family, Task
from mechbp.models.tasks.topics import TOPICS
from mechbp.models.tasks.tree import TREE

FAMILIES: tuple[Family, ...] = (TREE, CHAIN, TOPICS, SORTING)

_registered: list[Family] = []


def families() -> tuple[Family, ...]:
    """Return all families, those of mechbp first."""
    return (*FAMILIES, *_registered)


def register(family: Family) -> None:
    """Let recipes of this Python process name a family of one's own. Raises InputError where its name or a recipe is taken.

    A process of a single run needs none: its recipe names the code beside it, kind = "python:FILE:FUNCTION".

    >>> import mechbp
    >>> try:
    ...     mechbp.register(mechbp.Family("tree", (), {}))
    ... except mechbp.errors.InputError as error:
    ...     print(str(error)[:40])
    register: there is a family named 'tree'
    """
    if not isinstance(family, Family):
        raise InputError(f"register: family must be a mechbp.Family, got a {type(family).__name__}.")
    taken = {kind for other in families() for recipe in other.recipes for kind in kinds_of(recipe)}
    clashes = sorted(taken & {kind for recipe in family.recipes for kind in kinds_of(recipe)})
    if clashes or family.name in {other.name for other in families()}:
        what = f"a process of kind {clashes[0]!r}" if clashes else f"a family named {family.name!r}"
        raise InputError(f"register: there is {what} already. Give yours another name.")
    _registered.append(family)


def family_of(recipe: Any) -> Family:
    """Return the family that a [process] table belongs to; a recipe for one run alone brings its own."""
    if (own := getattr(recipe, "own_family", None)) is not None:
        return own
    for family in families():
        if type(recipe) in family.recipes:
            return family
    raise InputError(
        f"no family has the recipe {type(recipe).__name__}; there are {', '.join(family.name for family in families())}.\n"
        f"Register yours first: mechbp.models.families.register(family)."
    )


def task_of(recipe: Any, name: str) -> Task:
    """Return what a model of this process is asked under the name of a recipe's objective.task."""
    tasks = family_of(recipe).tasks
    if name not in tasks:
        raise InputError(f"objective.task must be one of {', '.join(map(repr, tasks))}, got {name!r:.60}.")
    return tasks[name]

"""Mutations of nested values, and of the bytes that they are written as; all drawn from a given generator."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        3,
        1.5,
        -0.0,
        1e-320,
        1e150,
        1e151,
        1e308,
        -1e308,
        float("nan"),
        float("inf"),
        float("-inf"),
    ),
    *(2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400, -(10**400)),
    *("", " ", "a", "\n\n\n\n", "\0", "\x1b[31m", "\u202e", "\ud800", "é" * 100, "x" * 5000, "../..", "/etc/passwd", "-1", "nan"),
    *("<script>alert(1)</script>", "</script>", "{{7*7}}", "__import__('os').system('touch HACKED')", "python:evil.py:make"),
    *([], {}, [[]], [{}], [None], [float("nan")], ["a", "a"], {"": 1}, {"kind": []}, [1, [2, [3]]], [1, "a"], list(range(300))),
)


def pick(draw: np.random.Generator, options: Any) -> Any:
    """One of several, unlike `choice` without making an array of them."""
    return options[int(draw.integers(len(options)))]


def mutated(tree: Any, draw: np.random.Generator, extra: tuple[Any, ...] = ()) -> Any:
    """A copy of nested dicts and lists with one to three places changed, removed, doubled, renamed, exchanged or nested."""
    tree = copy.deepcopy(tree)
    for _ in range(int(draw.integers(1, 4))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = pick(draw, places)
        how = int(draw.integers(8))
        if how <= 3:
            holder[key] = copy.deepcopy(pick(draw, (*NASTY, *extra)))
        elif how == 4:
            del holder[key]
        elif how == 5:
            other, its = pick(draw, places)
            if not (isinstance(holder, list) and len(holder) > 3000):
                holder[key] = copy.deepcopy(_get(other, its))
        elif how == 6 and isinstance(holder, dict):
            holder[pick(draw, ("", "x", f"{key}s", str(key)[:-1], "__class__", "é", "\x1b", "kind"))] = holder.pop(key)
        elif how == 6:
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            for _ in range(int(pick(draw, (1, 2, 30, 120)))):
                holder[key] = [holder[key]]
    return tree


def scrambled(data: bytes, draw: np.random.Generator) -> bytes:
    """Bytes with a few flipped, overwritten, cut off, repeated, or taken out."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 4))):
        if not changed:
            break
        at, size = int(draw.integers(len(changed))), int(draw.integers(1, 17))
        how = int(draw.integers(5))
        if how == 0:
            changed[at] ^= 1 << int(draw.integers(8))
        elif how == 1:
            changed[at : at + size] = draw.bytes(size)
        elif how == 2:
            del changed[at:]
        elif how == 3:
            changed[at:at] = changed[at : at + size] * int(pick(draw, (1, 2, 100)))
        else:
            del changed[at : at + size]
    return bytes(changed)


def _places(tree: Any):
    stack = [tree]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                stack.append(holder[key])


def _get(holder: Any, key: Any) -> Any:
    """What is there now; nothing where another change has taken it away."""
    try:
        return holder[key]
    except (KeyError, IndexError):
        return None

"""Say of similar JSON values only in what they differ: panels of one figure, and its two layouts, repeat most of each other.

The language is JSON merge patch (RFC 7386): an object's members are replaced one by one, null takes one away, and anything that
is no object, a list too, is replaced as a whole. The page's script merges again.
"""

from __future__ import annotations

import re
from typing import Any

NUMBERED = re.compile(r"([a-z]+axis)\d+")


def changes(base: Any, target: Any) -> Any:
    """Return what turns `base` into `target`; objects must hold no null of their own, which says "absent" here."""
    if not isinstance(base, dict) or not isinstance(target, dict):
        return target
    differing = {key: changes(base.get(key), value) for key, value in target.items() if key not in base or base[key] != value}
    return differing | {key: None for key in base if key not in target}


def packed_axes(layout: dict[str, Any]) -> dict[str, Any]:
    """Return a layout whose numbered axes, xaxis2 and so on, say only how they differ from the first of their letter."""
    packed = dict(layout)
    for key, value in layout.items():
        numbered = NUMBERED.fullmatch(key)
        if numbered and numbered[1] in layout:
            packed[key] = changes(layout[numbered[1]], value)
    return packed

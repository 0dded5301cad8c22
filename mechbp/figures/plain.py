"""Values as JSON can hold them: arrays as lists, numbers rounded to 6 significant digits, clean text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from mechbp.errors import InputError

LARGEST = 1e150
"""What a number may be at most: axes take differences and squares, which must not overflow."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""Characters that no HTML page can hold: control characters but tab and line feed, and lone surrogates."""


def plain(value: Any, where: str) -> Any:
    """Return `value` as JSON values: arrays become lists, floats keep 6 significant digits, NaN becomes None.

    Raises InputError for infinities (a page could not tell them from missing values), for numbers beyond LARGEST, and for
    anything JSON cannot hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError(f"{where}: infinite value; report it as text, or bound it and say so.")
        if abs(value) > LARGEST:
            raise InputError(f"{where}: {value:.6g} is beyond {LARGEST:g}, the most that a picture takes; report it as text.")
        return None if math.isnan(value) else float(f"{value:.6g}") + 0.0  # + 0.0 turns -0.0 into 0.0
    if isinstance(value, int):
        if abs(value) > LARGEST:
            bits = value.bit_length()
            raise InputError(f"{where}: an integer of {bits} bits is beyond {LARGEST:g}, the most that a picture takes.")
        return value
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key!s:.60}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "tolist"):  # arrays and their scalars
        return plain(value.tolist(), where)
    raise InputError(f"{where}: {type(value).__name__} cannot be written as JSON; give numbers, text, lists or dicts.")


def clean(value: str) -> str:
    """Return text without the characters that no page can hold."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"{where}: keys must be text, got {key!r:.60}.")
    return clean(key)

"""Packing loses nothing: what is unpacked as the page's script does it is what was packed (see also test_browser)."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechbp.report.packing import NUMBERED, changes, packed_axes

KEYS = st.sampled_from(["a", "b", "xaxis", "xaxis2", "yaxis", "yaxis12"])
LEAVES = st.integers() | st.text(max_size=3) | st.lists(st.none() | st.integers(), max_size=3)
OBJECTS = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)
LAYOUTS = st.dictionaries(KEYS, OBJECTS, max_size=6)


def merged(base, change):
    """Return `base` with a change made."""
    if not isinstance(change, dict):
        return change
    result = dict(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def unpacked_axes(packed):
    """Return the layout that `packed_axes` was given."""
    layout = dict(packed)
    for key, value in packed.items():
        numbered = NUMBERED.fullmatch(key)
        if numbered and numbered[1] in packed:
            layout[key] = merged(packed[numbered[1]], value)
    return layout


@given(OBJECTS, OBJECTS)
def test_merging_undoes_taking_changes(base, target):
    before = copy.deepcopy((base, target))
    assert merged(base, changes(base, target)) == target
    assert (base, target) == before
    assert changes(target, target) in ({}, target)


@given(LAYOUTS)
def test_axes_come_back_as_they_were(layout):
    assert unpacked_axes(packed_axes(layout)) == layout


def test_only_differences_are_kept():
    axis = {"domain": [0, 1], "type": "category", "title": {"text": "depth"}}
    layout = {"xaxis": axis, "xaxis2": {"domain": [1, 2], "type": "category"}, "height": 3}
    packed = packed_axes(layout)
    assert packed["xaxis2"] == {"domain": [1, 2], "title": None} and packed["xaxis"] == axis
    assert len(json.dumps(packed)) < len(json.dumps(layout))


@pytest.mark.parametrize(
    ("base", "target", "change"), [(1, {"a": 2}, {"a": 2}), ({"a": 1}, [2], [2]), ({"a": 1}, {}, {"a": None})]
)
def test_kinds_that_differ_are_replaced(base, target, change):
    assert changes(base, target) == change and merged(base, change) == target

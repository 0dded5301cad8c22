"""Documents: round trip, rounding, and refusals that name what is wrong."""

import dataclasses
import json

import numpy as np
import pytest
from demo import demo, provenance

from mechbp.errors import InputError
from mechbp.figures.plain import plain
from mechbp.report.claim import MOVED, Claim, by_kind
from mechbp.report.document import Document, FigureData, Section, dumps, load, loads

LINE = {"name": "a", "x": [1, 2], "y": [0.1, 0.2]}
LINES = {"x_title": "x", "y_title": "y", "series": [LINE]}


def figure(**changes):
    return FigureData(**{"id": "fig-a", "kind": "lines", "title": "t", "caption": "c", "alt": "a", "data": LINES, **changes})


def test_claims_are_counted_once_each_under_their_kind():
    claims = [
        Claim(id, "S", "", "m", "-", verdict, kind=kind, fixed=fixed)
        for id, verdict, kind, fixed in (
            ("a", "holds", "new", "after"),
            ("b", "fails", "new", "before"),
            ("c", "short", "method", ""),
            ("d", "partly", "", ""),
        )
    ]
    assert by_kind(tuple(claims)) == [("method", [0, 0, 0, 0, 1], 0), ("new", [1, 0, 1, 0, 0], 1), ("", [0, 1, 0, 0, 0], 0)]


def test_round_trip(tmp_path):
    document, path = demo(), tmp_path / "demo.json"
    path.write_text(dumps(document), encoding="utf-8")
    assert load(path) == document
    assert dumps(load(path)) == dumps(document)
    assert json.loads(dumps(document)) == document.to_dict()


def test_numbers_become_short_and_missing_ones_null():
    value = {"a": np.array([1 / 3, np.nan, -0.0]), "b": np.float64(123456789.0), "c": np.int64(3), "d": (True, None)}
    assert plain(value, "v") == {"a": [0.333333, None, 0.0], "b": 123457000.0, "c": 3, "d": [True, None]}
    assert str(plain(-0.0, "v")) == "0.0"


def test_text_that_html_cannot_hold_is_replaced():
    assert plain("a\x00b\ud800c\td\n", "v") == "a\ufffdb\ufffdc\td\n"


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: figure(data={**LINES, "serie": []}), "unknown key 'serie'; did you mean 'series'?"),
        (lambda: figure(data={"x_title": "x", "y_title": "y"}), "key 'series' is missing"),
        (lambda: figure(data={**LINES, "series": [{**LINE, "y": [1.0]}]}), "series[0].y: expected 2 entries, got 1"),
        (lambda: figure(data={**LINES, "series": [{**LINE, "y": [1.0, "2"]}]}), "expected a number or null, got '2'"),
        (lambda: figure(data={**LINES, "series": [{**LINE, "low": [0, 0]}]}), "low and high come together"),
        (lambda: figure(data={**LINES, "x_log": True, "series": [{**LINE, "x": [0, 1]}]}), "needs positive values"),
        (lambda: figure(data={**LINES, "y_range": [1, 1]}), "expected [low, high] with low < high"),
        (lambda: figure(data={**LINES, "series": [{**LINE, "y": [np.inf, 1]}]}), "infinite value"),
        (lambda: figure(kind="pie"), "unknown kind 'pie'"),
        (lambda: figure(id="Fig-A"), "must match fig-"),
        (lambda: figure(status="failed"), "needs a reason"),
        (lambda: figure(data={"rows": ["a"], "columns": ["b"], "value_title": "v", "panels": []}, kind="heatmap"), "at least 1"),
        (
            lambda: figure(
                data={"rows": ["a", "a"], "columns": ["b"], "value_title": "v", "panels": [{"title": "", "values": [[1], [2]]}]},
                kind="heatmap",
            ),
            "'a' occurs twice",
        ),
        (lambda: Claim("a", "s", "r", "m", "c", "maybe"), "unknown verdict 'maybe'"),
        (lambda: Document("a/b", "t", "l", (), (), provenance()), "must match"),
        (
            lambda: Document("a", "t", "l", (Claim("a", "s", "r", "m", "c", "holds", "fig-b"),), (), provenance()),
            "is not on the page",
        ),
        (
            lambda: Document("a", "t", "l", (), (Section("s", "t", (), (figure(), figure())),), provenance()),
            "used more than once",
        ),
        (lambda: Document("a", "t", "l", (), (), provenance(), schema=2), "schema 2 is unknown"),
        (lambda: loads('{"slug": NaN}'), "NaN is no JSON number"),
        (lambda: loads("{"), "not valid JSON"),
        (lambda: loads("[]"), "expected an object with the key 'provenance'"),
        (lambda: loads(dumps(demo()).replace('"lead"', '"leed"')), "unknown key 'leed'; did you mean 'lead'?"),
        (lambda: load("/nonexistent.json"), "cannot be read as a document"),
    ],
)
def test_refusals_name_what_is_wrong(build, message):
    with pytest.raises(InputError) as caught:
        build()
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_missing_part_needs_no_data():
    part = figure(status="skipped", reason="too long", data={})
    assert dataclasses.asdict(part)["data"] == {}


def test_json_of_before_criteria_loads_and_stays_as_it_was():
    claim = Claim("a", "s", "r", "m", "c", "holds")
    text = dumps(Document("a", "t", "l", (claim,), (), provenance()))
    assert set(json.loads(text)["claims"][0]) == {"id", "statement", "reference", "measured", "control", "verdict", "figure"}
    assert "replaced" not in json.loads(text) and dumps(loads(text)) == text
    assert loads(text).claims == (claim,) and not claim.criterion and not claim.moved


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "news"}, "unknown kind 'news'"),
        ({"fixed": "later"}, "fixed must be one of before, after"),
        ({"numbers": [1]}, "numbers must be a dict"),
        ({"numbers": {"kl": float("inf")}}, "infinite value"),
        ({"moved": ({"what": "kl"},)}, "key 'commit' is missing"),
        ({"moved": ({**dict.fromkeys(MOVED, ""), "why": 3},)}, "why must be text"),
        ({"moved": ({**dict.fromkeys(MOVED, ""), "verdicts": ["held", "holds"]},)}, "verdicts must be [old, new]"),
    ],
)
def test_claims_refuse_what_no_criterion_gives(changes, message):
    record = {**dict(id="a", statement="s", reference="r", measured="m", control="c", verdict="holds"), **changes}
    document = {**json.loads(dumps(Document("a", "t", "l", (), (), provenance())))}
    with pytest.raises(InputError) as caught:
        loads(json.dumps({**document, "claims": [record]}))
    assert message in str(caught.value) or "Infinity is no JSON number" in str(caught.value)


def test_records_of_replaced_runs_have_all_their_keys():
    with pytest.raises(InputError, match="document a: replaced: key 'changed' is missing"):
        Document("a", "t", "l", (), (), provenance(), replaced=({"run": "b"},))

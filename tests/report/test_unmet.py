"""The parts of a criterion: taken apart without a change of meaning, each met or not by the recorded numbers, shown by word."""

import re
from dataclasses import replace

import numpy as np
import pytest
from demo import demo

from mechbp import rng
from mechbp.report.claim import Claim
from mechbp.report.document import load
from mechbp.report.page import render
from mechbp.report.rules import Rule
from mechbp.report.unmet import parts_of
from mechbp.study import analyses_root

RECORDED = sorted((analyses_root().parent / "reports").glob("*.json"))


def claim(rule, verdict="fails", **numbers):
    return Claim("c", "S", "", "m", "-", verdict, rule=f"`{rule}`\npartly if `never > 1`", numbers=numbers)


def found(*args, **numbers):
    return [(part.text, part.met, part.entries) for part in parts_of(claim(*args, **numbers))]


def test_parts_say_which_of_them_is_not_met_and_by_which_numbers():
    parts = parts_of(claim("a > 0.9 and b < 0.1", a=0.95, b=0.3))
    assert [(part.text, part.met, part.numbers) for part in parts] == [
        ("a > 0.9", True, {"a": 0.95}),
        ("b < 0.1", False, {"b": 0.3}),
    ]
    rule = "all(a > 0.5 and b < 1) and (c or not c) and n == 3"
    assert found(rule, "partly", a=[1, 0.2, 0.7], b=[0, 0, 0], c=True, n=2) == [
        ("all(a > 0.5)", False, (2, 3)),
        ("all(b < 1)", True, (3, 3)),
        ("c or not c", True, None),
        ("n == 3", False, None),
    ]


def test_a_rule_of_one_part_is_one_part_and_what_was_not_measured_is_not_met():
    assert found("all(x > 0)", x=[1.0, None]) == [("all(x > 0)", False, (1, 2))]
    assert found("a > 0 or b > 0", a=-1, b=None) == [("a > 0 or b > 0", False, None)]
    assert found("len(x) > 3 and x[3] > 1", x=[1.0]) == [("len(x) > 3", False, None), ("x[3] > 1", False, None)]


def test_thresholds_that_are_lists_are_read_and_shown_as_they_stand():
    assert found("all(x >= (0.5, (-2)) and y > 0)", x=[0.4, 0], y=1) == [
        ("all(x >= (0.5, (-2)))", False, (1, 2)),
        ("all(y > 0)", True, None),
    ]


@pytest.mark.parametrize(
    "given",
    [
        claim("a > 1", "holds", a=2),
        claim("a > 1 and b > 1", "fails", a=2, b=2),
        claim("a > 1", "short", a=0),
        claim("what ever", a=0),
        Claim("c", "S", "", "m", "-", "fails"),
    ],
    ids=["supported", "numbers that do not fit the verdict", "too few", "no rule", "no criterion"],
)
def test_nothing_is_said_of_other_claims(given):
    assert parts_of(given) == ()


def test_parts_together_mean_what_the_rule_means():
    """On a thousand rules with random numbers, some of them missing."""
    draw = rng(0, "parts")
    texts = (
        "a > 0",
        "all(x > 0)",
        "all(x > 0 and y < 1)",
        "all(x > -1 and (y > 0 or x > 1))",
        "(a > 0 or b > 0)",
        "not b > 1",
        "any(y > 0)",
    )
    said = set()
    for _ in range(1000):
        rule = Rule.parse(" and ".join(draw.choice(texts, size=draw.integers(1, 4))))
        numbers = {name: None if draw.random() < 0.1 else float(draw.normal()) for name in "ab"}
        n = int(draw.integers(0, 4))
        numbers |= {name: [None if draw.random() < 0.1 else float(v) for v in draw.normal(1, 1, n)] for name in "xy"}
        whole = rule.decide(numbers)
        said.add(whole)
        assert all(part.decide(numbers) for part in rule.parts()) == whole, (rule.text, numbers)
    assert said == {True, False}


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (i % 4 > 0)) for i, path in enumerate(RECORDED)]
)
def test_every_recorded_claim_that_is_not_supported_shows_what_was_not_met(path):
    for one in load(path).claims:
        if one.verdict in ("fails", "partly"):
            assert any(not part.met for part in parts_of(one)), one.id


def test_a_page_tells_unmet_parts_by_word_in_the_row_and_where_it_unfolds():
    document = demo()
    changed = replace(
        document.claims[2], rule="`all(r2_low >= 0.9) and n > 3`", numbers={"r2_low": [0.95, 0.29], "n": 4}, verdict="fails"
    )
    html = render(replace(document, claims=(*document.claims[:2], changed, *document.claims[3:])))
    row = html[: html.index(f'id="claim-{changed.id}"')].rsplit("<summary>", 1)[1]
    assert "1 of 2 parts unmet" in row
    whole = re.sub(r"<[^>]+>", "", html[html.index(f'id="claim-{changed.id}"') :].split("</ul>")[0])
    assert "not met all(r2_low &gt;= 0.9), true of 1 of 2 entries: r2_low 0.95, 0.29" in whole and "met n &gt; 3" in whole
    single = html[: html.index('id="claim-order"')].rsplit("<summary>", 1)[1]
    assert "unmet" not in single, "one part is the criterion itself"


@pytest.mark.parametrize(("verdict", "words"), [("partly", "by the weaker rule"), ("fails", "2 of 2 parts unmet")])
def test_in_part_and_all_parts_unmet_do_not_stand_side_by_side(verdict, words):
    document = demo()
    numbers = {"x": [0.1, 0.2], "y": [0.95, 0.2]}
    changed = replace(document.claims[2], rule="`all(x >= 0.9) and all(y >= 0.9)`", numbers=numbers, verdict=verdict)
    html = render(replace(document, claims=(*document.claims[:2], changed, *document.claims[3:])))
    row = html[: html.index(f'id="claim-{changed.id}"')].rsplit("<summary>", 1)[1]
    assert f'<span class="unmet">{words}</span>' in row and row.count("unmet") == 1 + words.count("unmet")


def test_only_few_numbers_are_written_out():
    assert [part.numbers for part in parts_of(claim("all(x > 0)", x=list(np.zeros(7))))] == [{}]

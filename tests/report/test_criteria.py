"""Criteria: read strictly, graded by rule, and a recorded verdict that was changed by hand is found."""

import dataclasses
import json

import pytest
from demo import provenance

from mechbp.errors import InputError
from mechbp.report.claim import Claim
from mechbp.report.criteria import Criteria, regrade
from mechbp.report.document import Document, dumps, loads

TEXT = """
[exact]
kind = "reproduction"
holds = "kl_high_nats <= close_nats and accuracy_gap <= gap"
partly = "kl_high_nats <= close_nats or accuracy_gap <= gap"
short = "n < least"
bounds = { close_nats = 0.03, gap = 0.01, least = 100 }
fixed = "after"
commit = "0123456789ab"
date = 2026-01-31
recorded = "ba9876543210"

[[exact.moved]]
date = 2026-01-31
commit = "0123456789ab"
what = "close_nats"
old = 0.02
new = 0.03
verdicts = { "run-exact" = ["partly", "holds"] }
why = "wider"

[order]
kind = "new"
holds = "rising(blocks)"
fixed = "before"
"""
WORDS = dict(statement="s", reference="r", measured="m", control="c")
NUMBERS = {"kl_high_nats": 0.025, "accuracy_gap": 0.001, "n": 500}


def criteria() -> Criteria:
    return Criteria.parse(TEXT, "page/criteria.toml")


def exact(**numbers) -> Claim:
    return criteria().claim("exact", id="run-exact", **WORDS, numbers={**NUMBERS, **numbers})


def document(*claims: Claim) -> Document:
    return Document("page", "t", "l", claims, (), provenance())


def test_a_claim_is_graded_by_its_rules():
    assert exact().verdict == "holds"
    assert exact(kl_high_nats=0.04).verdict == "partly"
    assert exact(kl_high_nats=0.04, accuracy_gap=0.02).verdict == "fails"
    assert exact(n=10).verdict == "short"
    assert exact(kl_high_nats=None).verdict == "partly"
    assert exact(kl_high_nats=float("nan"), accuracy_gap=None).verdict == "fails"
    assert criteria().grade("order", {"blocks": [1, 2, 4]}) == "holds"
    assert criteria().grade("order", {"blocks": [1, 4, 4]}) == "fails"


def test_a_claim_carries_its_criterion():
    claim = exact()
    assert (claim.criterion, claim.kind, claim.fixed) == ("exact", "reproduction", "after")
    assert (claim.fixed_commit, claim.fixed_date) == ("0123456789ab", "2026-01-31")
    assert claim.rule.splitlines() == [
        "`kl_high_nats <= 0.03 and accuracy_gap <= 0.01`",
        "partly if `kl_high_nats <= 0.03 or accuracy_gap <= 0.01`",
        "short if `n < 100`",
    ]
    (move,) = claim.moved
    assert (move["what"], move["old"], move["new"], move["verdicts"]) == ("close_nats", 0.02, 0.03, ["partly", "holds"])
    assert criteria().claim("exact", id="other", **WORDS, numbers=NUMBERS).moved[0]["verdicts"] == []
    assert criteria()["exact"].bounds["close_nats"] == 0.03


def test_numbers_are_graded_as_they_are_kept():
    claim = exact(kl_high_nats=0.03 + 1e-9)
    assert claim.numbers["kl_high_nats"] == 0.03 and claim.verdict == "holds"
    assert exact(kl_high_nats=0.030001).verdict == "partly"


def test_what_was_not_measured_is_not_run():
    claim = criteria().claim("order", id="run-order", **WORDS, numbers=None)
    assert claim.verdict == "not run" and claim.rule and not regrade(document(claim), criteria())


def test_claims_survive_json():
    claims = (exact(), criteria().claim("order", id="o", **WORDS, numbers={"blocks": [1.0, None]}))
    assert loads(dumps(document(*claims))).claims == claims


@pytest.mark.parametrize(
    "field, value",
    [
        ("verdict", "holds"),
        ("rule", "`kl_high_nats <= 0.5`"),
        ("kind", "new"),
        ("fixed", "before"),
        ("fixed_commit", "000000000000"),
        ("fixed_date", "2020-01-01"),
        ("moved", ()),
        ("criterion", "order2"),
    ],
)
def test_regrading_finds_what_was_changed_by_hand(field, value):
    honest = exact(kl_high_nats=0.04)
    assert regrade(document(honest), criteria()) == []
    (found,) = regrade(loads(dumps(document(dataclasses.replace(honest, **{field: value})))), criteria())
    assert (found.claim, found.field) == ("run-exact", field)
    assert "run-exact: " + field in str(found)


def test_regrading_finds_numbers_without_what_the_rule_asks_for():
    tree = json.loads(dumps(document(exact())))
    del tree["claims"][0]["numbers"]["accuracy_gap"]
    (found,) = regrade(loads(json.dumps(tree)), criteria())
    assert found.field == "verdict" and "unknown number 'accuracy_gap'" in found.now
    tree["claims"][0]["numbers"] = {}
    assert [found.now for found in regrade(loads(json.dumps(tree)), criteria())] == ["not run"]


def test_regrading_finds_a_criterion_that_moved_and_a_claim_without_one():
    stricter = Criteria.parse(TEXT.replace("close_nats = 0.03", "close_nats = 0.02"))
    assert {found.field for found in regrade(document(exact()), stricter)} == {"verdict", "rule"}
    bare = Claim("bare", "s", "r", "m", "c", "holds")
    assert [found.field for found in regrade(document(bare), criteria())] == ["criterion"]
    changed = dataclasses.replace(exact(), verdict="fails")  # what stands behind one that cannot be graded is graded too
    assert [(found.claim, found.field) for found in regrade(document(bare, changed), criteria())] == [
        ("bare", "criterion"),
        ("run-exact", "verdict"),
    ]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("[order]", "[order]\nhold = 'a'", "[order]: unknown key 'hold'; did you mean 'holds'?"),
        ('holds = "rising(blocks)"', "", "[order]: key 'holds' is missing"),
        ('kind = "new"', 'kind = "news"', "[order].kind must be one of"),
        ('kind = "new"', "kind = ['new']", "[order].kind must be one of"),
        ('fixed = "before"', 'fixed = "later"', "[order].fixed must be one of 'before', 'after'"),
        ("rising(blocks)", "rise(blocks)", "[order].holds: 'rise(blocks)', position 1: unknown function"),
        ("gap = 0.01", "gap = '0.01'", "[exact].bounds.gap"),
        ("gap = 0.01", "gap = true", "[exact].bounds.gap must be a finite number"),
        ("gap = 0.01", "gap = nan", "[exact].bounds.gap must be a finite number"),
        ("gap = 0.01", "gap = [0.1, inf]", "[exact].bounds.gap must be a finite number"),
        ("gap = 0.01", "all = 0.01", "'all' cannot be named in a rule"),
        ("gap = 0.01", "not = 0.01", "'not' cannot be named in a rule"),
        ("date = 2026-01-31\nrecorded", 'date = "2026-01-31"\nrecorded', "[exact].date must be a day"),
        ("date = 2026-01-31\nrecorded", "date = 2026-01-31T00:00:00\nrecorded", "[exact].date must be a day"),
        ('recorded = "ba9876543210"', "", "names its commit, its date and the recording"),
        ("old = 0.02", "", "[exact].moved[0]: key 'old' is missing"),
        ("why =", "wy =", "[exact].moved[0]: unknown key 'wy'; did you mean 'why'?"),
        ('["partly", "holds"]', '["partly"]', "verdicts: expected"),
        ('["partly", "holds"]', '["partly", "held"]', "verdicts: expected"),
        ("[exact]", "[exact", "not valid TOML"),
    ],
)
def test_refusals_name_what_is_wrong(old, new, message):
    assert TEXT.count(old) >= 1
    with pytest.raises(InputError) as caught:
        Criteria.parse(TEXT.replace(old, new), "page/criteria.toml")
    assert message in str(caught.value) and "page/criteria.toml" in str(caught.value)


def test_a_key_that_is_no_table_and_an_unknown_criterion_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\[order\]: expected an object"):
        Criteria.parse("order = 3")
    with pytest.raises(InputError, match="no criterion 'exakt'; did you mean 'exact'?"):
        criteria()["exakt"]
    with pytest.raises(InputError, match="cannot be read as criteria"):
        Criteria.read(tmp_path / "criteria.toml")
    (tmp_path / "criteria.toml").write_text(TEXT, encoding="utf-8")
    assert list(Criteria.read(tmp_path / "criteria.toml")) == ["exact", "order"]


def test_a_number_named_like_a_bound_is_refused():
    with pytest.raises(InputError, match="criterion exact: gap named both"):
        exact(gap=9.0)


GONE = """
[gone]
kind = "new"
holds = "r2 > 0"
fixed = "before"

[gone.withdrawn]
date = 2026-02-01
why = "True by construction."
verdicts = { "run-gone" = "holds" }
"""


def test_a_withdrawn_criterion_is_told_and_grades_no_claim():
    criteria = Criteria.parse(GONE)
    assert criteria.withdrawn() == ("`run-gone`, supported until 2026-02-01. True by construction.",)
    with pytest.raises(InputError, match=r"\[gone\] is withdrawn; claim run-gone needs another criterion"):
        criteria.claim("gone", id="run-gone", statement="S", reference="", measured="", control="", numbers={"r2": 1.0})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"holds" }', '"perhaps" }', "withdrawn.verdicts: expected"),
        ('{ "run-gone" = "holds" }', "{}", "withdrawn.verdicts: expected"),
        ("date = 2026-02-01\n", "", "withdrawn"),
        ('why = "True', 'because = "True', "withdrawn"),
    ],
)
def test_a_withdrawal_says_when_why_and_what_was_claimed(old, new, message):
    with pytest.raises(InputError, match=message):
        Criteria.parse(GONE.replace(old, new))

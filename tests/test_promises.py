"""verify --claims: recorded pages are graded anew, and whatever page and criteria disagree on is found."""

import json

import pytest
from demo import provenance
from test_cli import call, check_refusal
from tiny_pages import write_page

from mechbp import study
from mechbp.promises import claims_regraded
from mechbp.report.criteria import Criteria
from mechbp.report.document import Document, dumps

CRITERIA = """[exact]
kind = "new"
holds = "kl_nats <= close_nats"
bounds = { close_nats = 0.03 }
fixed = "before"
"""

MOVED = """
[[exact.moved]]
date = 2026-02-01
what = "close_nats"
old = 0.01
new = 0.03
why = "A wider bound."
verdicts = { "own-exact" = ["fails", "holds"] }
"""


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The JSON of a recorded page with one claim that holds, beside the criterion that decides it."""
    root = tmp_path / "analyses"
    criteria = write_page(root, "tiny").with_name("criteria.toml")
    criteria.write_text(CRITERIA)
    write_page(root, "unrecorded").with_name("criteria.toml").write_text(CRITERIA)
    claim = Criteria.read(criteria).claim(
        "exact", id="own-exact", statement="S", reference="R", measured="M", control="C", numbers={"kl_nats": 0.02}
    )
    path = tmp_path / "reports" / "tiny.json"
    path.parent.mkdir()
    path.write_text(dumps(Document("tiny", "Tiny", "Lead.", (claim,), (), provenance())))
    monkeypatch.setattr(study, "analyses_root", lambda: root)
    return path


def tampered_verdict(record):
    tree = json.loads(record.read_text())
    tree["claims"][0]["verdict"] = "partly"
    record.write_text(json.dumps(tree))


def tampered_number(record):
    tree = json.loads(record.read_text())
    tree["claims"][0]["numbers"]["kl_nats"] = 0.04
    record.write_text(json.dumps(tree))


def widened_bound(record):
    criteria = record.parents[1] / "analyses" / "tiny" / "criteria.toml"
    criteria.write_text(CRITERIA.replace("0.03", "0.05"))


def test_an_honest_page_passes_and_one_without_a_record_is_named(record, capsys, monkeypatch):
    (tiny, verdict, text, _), (absent, unchecked, why, _) = claims_regraded()
    assert (tiny, verdict, text) == ("tiny", "pass", "graded as recorded, 1 of 1")
    assert (absent, unchecked) == ("unrecorded", "-") and "unrecorded.json is not there" in why
    assert call(capsys, monkeypatch, "verify", "--claims")[0] == 0


@pytest.mark.parametrize("fault", [tampered_verdict, tampered_number, widened_bound])
def test_a_page_that_its_criteria_do_not_give_fails(record, fault, capsys, monkeypatch):
    fault(record)
    code, out, err = call(capsys, monkeypatch, "verify", "--claims")
    assert code == 1 and err == ""
    assert out.splitlines()[0].split()[:3] == ["tiny", "FAIL", "own-exact:"]


def test_single_runs_have_no_page_of_their_own(record, capsys, monkeypatch):
    code, out, err = call(capsys, monkeypatch, "verify", "--claims", "tree-mlm-k0")
    assert code == 2 and out == "" and "--claims grades recorded pages" in err
    check_refusal(code, err, "tree-mlm-k0")


def test_verdicts_that_a_later_criterion_changed_and_withdrawn_claims_are_told(record, capsys, monkeypatch):
    criteria = record.parents[1] / "analyses" / "tiny" / "criteria.toml"
    gone = '\n[gone]\nkind = "new"\nholds = "r2 > 0"\nfixed = "before"\n'
    gone += 'withdrawn = { date = 2026-02-01, why = "Cannot fail.", verdicts = { "own-gone" = "holds" } }\n'
    criteria.write_text(CRITERIA + MOVED + gone)
    claim = Criteria.read(criteria).claim(
        "exact", id="own-exact", statement="S", reference="R", measured="M", control="C", numbers={"kl_nats": 0.02}
    )
    record.write_text(dumps(Document("tiny", "Tiny", "Lead.", (claim,), (), provenance())))
    code, out, _ = call(capsys, monkeypatch, "verify", "--claims")
    assert code == 0
    told = [line.split(maxsplit=2)[1:] for line in out.splitlines() if line.startswith("tiny")]
    assert told == [
        ["pass", "graded as recorded, 1 of 1"],
        ["moved", "own-exact: not supported before, supported now"],
        ["moved", "`own-gone`, supported until 2026-02-01. Cannot fail."],
    ]

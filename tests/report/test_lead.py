"""Counts above a page: kind by kind, in the words that readers are shown, and taken off leads that were recorded with them."""

from mechbp.report.claim import Claim
from mechbp.report.lead import lead_counts, without_counts


def claims(kind, *verdicts):
    return [Claim(f"c{index}", "s", "r", "m", "c", verdict, kind=kind) for index, verdict in enumerate(verdicts)]


def test_kinds_are_counted_apart():
    mixed = [
        *claims("new", "holds", "fails", "short"),
        *claims("expected to fail", "fails", "partly"),
        *claims("reproduction", "holds", "holds", "partly"),
        *claims("method", "holds"),
    ]
    assert lead_counts(mixed) == (
        "Reproductions: 2 of 3 supported. Method checks: 1 of 1. New claims: 1 of 3 (1 without a verdict). "
        "Known to be false: 1 of 2 not supported."
    )
    assert lead_counts(claims("", "holds", "fails")) == "Claims: 1 of 2 supported."
    assert lead_counts(()) == ""


def test_counts_are_taken_off_recorded_leads_and_nothing_else_is():
    earlier = "Reproductions: 7 of 8 hold. New findings: 6 of 10 (1 without a verdict). Expected to fail: 1 of 1 does. "
    for counts in (earlier, "New findings: 1 of 24 holds. ", f"{lead_counts(claims('new', 'holds'))} "):
        assert without_counts(counts + "Models of 2 of 3 kinds. Claims: none.") == "Models of 2 of 3 kinds. Claims: none."
    assert without_counts("Claims: are made.") == "Claims: are made."

"""The page of judged methods: a document that validates, and verdicts that can fail."""

from dataclasses import replace

import numpy as np
import pytest
from document_checks import claims_have_evidence, figures_can_be_drawn, survives_the_round_trip

from analyses.judge import claims
from analyses.judge.criteria import CRITERIA
from mechbp import study
from mechbp.judging.table import Table, judge_all
from mechbp.judging.truth import TRUTHS
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.criteria import regrade


@pytest.mark.long
def test_the_document_is_sound():
    document = study.analyse("judge", study.Study((), True, lambda text: None))
    survives_the_round_trip(document)
    claims_have_evidence(document)
    figures_can_be_drawn(document)
    assert regrade(document, CRITERIA) == [] and {claim.criterion for claim in document.claims} == set(CRITERIA)
    assert document.provenance.runs == {} and study.load_page("judge").family is None


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("causal", {"hits": [0.9, 1.0], "alarms": [0.1, 0.0]}, "holds"),
        ("causal", {"hits": [0.89, 1.0], "alarms": [0.1, 0.0]}, "partly"),
        ("causal", {"hits": [0.89, 1.0], "alarms": [0.11, 0.0]}, "fails"),
        ("unread", {"probe_low": [0.51, 0.9], "causal": [0.1]}, "holds"),
        ("unread", {"probe_low": [0.51, 0.9], "causal": [0.11]}, "partly"),
        ("unread", {"probe_low": [0.5, 0.9], "causal": [0.0]}, "fails"),
        ("unread", {"probe_low": [None, 0.9], "causal": [0.0]}, "fails"),
        ("probe", {"hits": [0.9], "alarms": [0.1]}, "holds"),
        ("probe", {"hits": [0.8], "alarms": [0.2]}, "fails"),
        ("ablation", {"other": [0.11, 0.5], "patched_other": [0.1]}, "holds"),
        ("ablation", {"other": [0.1, 0.5], "patched_other": [0.1]}, "partly"),
        ("ablation", {"other": [0.5, 0.5], "patched_other": [0.2]}, "fails"),
        ("copies", {"zero_hits": 0.1, "other_hits": [0.9]}, "holds"),
        ("copies", {"zero_hits": 0.1, "other_hits": [0.8]}, "partly"),
        ("copies", {"zero_hits": 0.11, "other_hits": [1.0]}, "fails"),
        ("written", {"auroc": [0.95, 1.0], "alarms": [0.1]}, "holds"),
        ("written", {"auroc": [0.94, 1.0], "alarms": [0.1]}, "partly"),
        ("written", {"auroc": [0.94, 0.9], "alarms": [0.1]}, "fails"),
        ("cheap", {"share_of_passes": [0.24, 0.1], "auroc_lost": [0.02, -0.1]}, "holds"),
        ("cheap", {"share_of_passes": [0.25, 0.1], "auroc_lost": [0.02, -0.1]}, "partly"),
        ("cheap", {"share_of_passes": [0.24, 0.1], "auroc_lost": [0.021, -0.1]}, "fails"),
        ("chance", {"pooled_auroc": 0.56}, "holds"),
        ("chance", {"pooled_auroc": 0.58}, "fails"),
        ("chance", {"pooled_auroc": 0.42}, "fails"),
    ],
)
def test_verdicts_follow_the_numbers(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict


@pytest.fixture(scope="module")
def table():
    return judge_all(["attribution", "probe-as-localisation", "probe"], grammars=1)


def test_claims_follow_the_table(table):
    """What a method says of one truth is changed by hand, and the claim about it falls."""
    assert claims._causal(table).verdict == "holds" and claims._unread(sure(table)).verdict == "holds"
    deaf = Table(tuple(said(found, "read", 0.0) if found.method == "attribution" else found for found in table))
    assert claims._causal(deaf).verdict == "partly" and claims._unread(sure(deaf)).verdict == "holds"
    assert claims._unread(sure(table, 0.2)).verdict == claims._unread(table).verdict == "fails"  # one grammar has no interval
    loose = Table(tuple(said(found, "other", 1.0) if found.method == "probe" else found for found in table))
    assert claims._probe(table).verdict == "holds" and claims._probe(loose).verdict == "partly"


def sure(table, share=0.9):
    """The table with another share of false alarms by the method that is wrong, and an interval of no width."""
    return Table(tuple(said(found, "unread", share) if found.method == "probe-as-localisation" else found for found in table))


def said(found, truth, share):
    """A judgement that says yes of one truth with another share."""
    at = np.array([what == truth for what in TRUTHS])
    mean, low, high = (np.where(at, share, end) for end in (found.said.mean, found.said.low, found.said.high))
    return replace(found, said=Interval(mean, low, high, found.said.n))

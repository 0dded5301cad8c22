"""Words of verdicts: one for each, no two alike, and none that documents keep is shown."""

import re

from demo import demo

from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.report.verdicts import KINDS, SHOWN, SHOWN_KINDS, VERDICTS, shown_rule, shown_verdict


def test_every_verdict_and_every_kind_has_words_of_its_own():
    assert list(SHOWN) == list(VERDICTS) and len(set(SHOWN.values())) == len(VERDICTS)
    assert list(SHOWN_KINDS) == list(KINDS) and len(set(SHOWN_KINDS.values())) == len(KINDS)
    assert (shown_verdict("fails"), shown_verdict("a bound")) == ("not supported", "a bound")


def test_rules_are_shown_in_the_words_of_verdicts():
    recorded = "`all(gain > 0)`\npartly if `any(gain > 0)`\nshort if `n < 3`"
    assert shown_rule(recorded) == "`all(gain > 0)`\nin part if `any(gain > 0)`\ntoo few if `n < 3`"
    assert shown_rule("`x > 0`") == "`x > 0`" and shown_rule("only if x") == "only if x"


def test_badges_say_the_words_and_never_the_keys():
    for html in (render(demo()), render_index([demo()])):
        html = html.split("<script")[0]
        words = re.findall(r'<span class="badge [^>]*><svg.*?</svg>([^<]*)</span>', html, re.DOTALL)
        assert {claim.verdict for claim in demo().claims} == set(VERDICTS)
        assert set(words) == set(SHOWN.values())

"""How pages open: sentences only where the verdicts they rest on are there; a telling figure above all others, drawn once."""

from dataclasses import replace

import pytest
from demo import demo

from mechbp import study
from mechbp.errors import InputError
from mechbp.report.document import dumps, load, loads
from mechbp.report.opening import Opening, Said, opened, result_of, telling_figure
from mechbp.report.page import render

SAID = (Said("Accurate.", {"holds": ("accuracy",)}), Said("Attention is not.", {"holds": ("accuracy",), "fails": ("attention",)}))


def test_a_sentence_is_said_only_where_its_verdicts_are_found():
    opening = Opening("fig-ablation", SAID, "trees", ("A 2025",))
    assert opened(demo(), opening).result == "Accurate. Attention is not."
    changed = replace(demo(), claims=tuple(replace(c, verdict="partly") if c.id == "attention" else c for c in demo().claims))
    assert opened(changed, opening).result == "Accurate."
    other = opened(replace(demo(), claims=demo().claims[1:2]), opening)
    assert other.result == "" and result_of(other).startswith("New claims: 0 of 1 supported. A four-layer encoder")


def test_the_opening_survives_json_and_leaves_none_where_there_is_none():
    document = opened(demo(), Opening("fig-ablation", SAID, "trees", ("A 2025", "B 2024")))
    assert loads(dumps(document)) == document and '"telling": "fig-ablation"' in dumps(document)
    assert '"telling"' not in dumps(demo()) and '"papers"' not in dumps(demo())


def test_the_telling_figure_is_named_else_that_of_a_claim_and_must_be_there():
    assert telling_figure(demo()).id == "fig-accuracy"
    assert telling_figure(replace(demo(), telling="fig-ablation")).id == "fig-ablation"
    assert opened(demo(), Opening("fig-llc")).telling == ""  # it was skipped
    with pytest.raises(InputError, match="telling figure 'fig-nowhere' is not on the page"):
        replace(demo(), telling="fig-nowhere")


def test_a_page_opens_with_its_figure_before_the_claims_and_draws_it_once():
    html = render(replace(demo(), telling="fig-ablation"))
    assert html.count('id="plot-fig-ablation"') == 1
    assert html.index('id="plot-fig-ablation"') < html.index('id="claims"') < html.index('id="plot-fig-trajectory"')
    assert 'Figure 1, <a href="#fig-ablation">' in html and "stands at the top" in html


@pytest.mark.parametrize("name", study.page_names())
def test_recorded_pages_open_as_their_scripts_say(name):
    """After a change to an opening: load the record, `opened` it with the page's opening, and `dumps` it again."""
    record, opening = load(study.record_of(name)), study.load_page(name).opening
    assert opened(record, opening) == record
    assert opening.telling == record.telling and all(said.true_of(record) for said in opening.result)
    assert record.result.count(".") <= 3 and record.result

"""Forest plots: units kept apart, places in order on each axis, far estimates as arrows, every claim on a line once."""

from demo import demo

from mechbp.report.claim import Claim
from mechbp.report.forest import forest
from mechbp.report.page import render


def claims(*texts, control=""):
    return [Claim(f"c{index}", "s", "r", text, control, "holds") for index, text in enumerate(texts)]


def test_claims_of_one_unit_share_an_axis_and_every_claim_has_one_line():
    given = claims("0.2 [0.1, 0.3] nats", "R² 0.5 [0.4, 0.6]", "nothing", "0.4 [0.1, 0.5] nats")
    groups = forest(given)
    assert [group.title for group in groups] == ["nats", "R²", "no single estimate with an interval"]
    assert [[line.row.claim.id for line in group.lines] for group in groups] == [["c0", "c3"], ["c1"], ["c2"]]
    assert not groups[-1].ticks and not groups[-1].lines[0].effect


def test_places_keep_the_order_of_numbers_and_ticks_stand_where_they_say():
    (group,) = forest(claims("-1.0 [-2.0, 0.0] nats", "3.0 [2.0, 4.0] nats", control="x: 1.0 nats"))
    first, second = (line.effect for line in group.lines)
    assert 0 < first.low < first.at < group.zero == first.high < second.low < second.at < second.high < 100
    assert first.at < group.lines[0].control.at < second.low
    ticks = {float(text.replace("−", "-")): place for place, text in group.ticks}
    assert ticks[0.0] == group.zero and ticks[2.0] == second.low and not group.cut


def test_a_far_estimate_is_an_arrow_and_leaves_room_for_the_others():
    near = [f"0.{index} [0.0, 0.9] nats" for index in range(1, 8)]
    (group,) = forest(claims(*near, "-90.0 [-99.0, -80.0] nats"))
    assert group.cut and [line.effect.beyond for line in group.lines] == [0] * 7 + [-1]
    places = [line.effect.at for line in group.lines[:7]]
    assert places == sorted(places) and places[-1] - places[0] > 20
    assert not forest(claims(*near))[0].cut


def test_a_page_draws_effect_and_control_of_a_claim():
    html = render(demo())
    shown = html[: html.index('id="claim-order"')].rsplit("<summary>", 1)[1]
    assert shown.count('<circle class="effect"') == 1 and "0.9 [0.6, 1.0]" in shown
    plain = html[: html.index('id="claim-llc"')].rsplit("<summary>", 1)[1]
    assert "circle" not in plain.replace('<circle cx="8"', "")

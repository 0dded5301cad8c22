"""Parts of sorting_development on numbers made up for them: which steps are compared, and what is paired with what."""

import numpy as np
import pytest
from developing_sorters import made_up, record
from scipy import stats

from analyses.sorting_development.boundaries import boundaries
from analyses.sorting_development.comparisons import matched_claim, matched_runs, within_claim, within_runs
from analyses.sorting_development.falls import falls
from mechbp.study import Study

T3 = stats.t.ppf(0.975, 2)
"""Of three chains."""
STUDY = Study((), True, lambda text: None)


def test_the_fall_is_from_the_largest_inside_to_the_last():
    one = made_up(
        "run", dict.fromkeys((10, 20, 40, 80), "overlap"),
        record(10, (99.0, 99.0, 99.0), 2.0),  # larger, but the first
        record(20, (10.0, 12.0, 14.0), 0.5),
        record(40, (8.0, 8.0, 8.0), 0.4),
        record(80, (5.0, 6.0, 7.0), 0.52),
    )  # fmt: skip
    (found,) = falls([one], ("units", "absolute"))
    assert (found.peak.step, found.last.step) == (20, 80)
    # Chains share their noise: 5/10 = 6/12 = 7/14, so that the ratio has no spread.
    assert [float(end) for end in (found.fall.mean, found.fall.low, found.fall.high)] == pytest.approx([0.5] * 3)
    assert found.loss_change == pytest.approx(0.04)


def test_a_rise_to_the_end_is_a_negative_fall():
    chains = [record(step, (level, level + 1, level), 0.1) for step, level in ((10, 1.0), (20, 2.0), (40, 3.0))]
    (found,) = falls([made_up("run", dict.fromkeys((10, 20, 40), "none"), *chains)], ("units",))
    assert found.peak.step == 20 and found.fall.low < found.fall.mean < found.fall.high < 0


def test_untrained_steps_and_too_few_are_no_curve():
    records = [record(step, (1.0, 2.0, 3.0), 0.1) for step in (0, 10, 20)]
    assert falls([made_up("run", dict.fromkeys((0, 10, 20), "none"), *records)], ("units",)) == []


SPLIT = made_up(
    "split", {10: "overlap", 20: "overlap", 30: "none", 40: "splitting"},
    record(10, (9.0, 9.5, 10.0), 0.3), record(20, (7.0, 8.0, 9.0), 0.2), record(30, (6.0, 6.0, 6.0), 0.1),
    record(40, (4.0, 5.5, 5.5), 0.05),
)  # fmt: skip
OVERLAPPING = made_up(
    "overlapping", {10: "overlap", 20: "overlap", 40: "overlap"},
    record(10, (9.0, 9.0, 9.0), 0.4), record(20, (8.0, 8.0, 8.0), 0.1), record(40, (6.0, 4.0, 5.0), 0.025),
)  # fmt: skip


def test_within_a_run_the_last_overlap_counts_chain_by_chain():
    (found,) = within_runs([SPLIT])
    assert (found.overlap.step, found.last.step) == (20, 40)
    differences = np.array([-3.0, -2.5, -3.5])
    assert float(found.difference.high) == pytest.approx(-3 + T3 * differences.std(ddof=1) / np.sqrt(3))
    claim = within_claim([SPLIT], [found])
    assert claim.numbers["difference_high"] == [pytest.approx(float(found.difference.high), rel=1e-5)]
    assert claim.verdict == "holds" and "overlap" not in claim.control


def test_runs_that_do_not_end_specialised_are_shown_and_do_not_count():
    other = made_up("other", {10: "overlap", 20: "none"}, record(10, (9.0, 9.1, 9.2), 0.3), record(20, (1.0, 1.1, 1.3), 0.2))
    compared = within_runs([other, OVERLAPPING])
    assert [one.one.name for one in compared] == ["other"]  # the second run is in overlap to the end
    claim = within_claim([other, OVERLAPPING], compared)
    assert claim.verdict == "not run" and "other 'none'" in claim.measured and "other (none)" in claim.control


def test_overlap_at_the_last_step_is_no_comparison_with_itself():
    alone = made_up("alone", {10: "none", 20: "overlap"}, record(10, (1.0, 2.0, 3.0), 0.3), record(20, (1.0, 2.0, 3.0), 0.2))
    assert within_runs([alone]) == []


def test_matched_loss_is_interpolated_in_its_logarithm():
    found = [one for one in matched_runs([SPLIT, OVERLAPPING]) if one.one is SPLIT]
    (matched,) = found
    assert [one.step for one in matched.between] == [20, 40]
    # 0.05 is half way from 0.1 to 0.025 in the logarithm.
    assert matched.interpolated == pytest.approx([7.0, 6.0, 6.5])
    expected = stats.ttest_ind((4.0, 5.5, 5.5), (7.0, 6.0, 6.5), equal_var=False).confidence_interval(0.95)
    assert float(matched.difference.high) == pytest.approx(expected.high)
    claim = matched_claim([SPLIT, OVERLAPPING], found)
    assert claim.numbers["difference_high"] == [pytest.approx(expected.high, rel=1e-5)]
    assert claim.verdict == ("holds" if expected.high < 0 else "fails")


def test_of_several_crossings_the_last_counts():
    losses = {10: 0.1, 20: 0.04, 30: 0.08, 40: 0.03}
    wavy = made_up("wavy", dict.fromkeys(losses, "overlap"), *(record(s, (1.0, 2.0, 3.0), loss) for s, loss in losses.items()))
    (found,) = [one for one in matched_runs([SPLIT, wavy]) if one.one is SPLIT]
    assert [one.step for one in found.between] == [30, 40]


def test_no_step_outside_the_state_of_overlap_stands_for_it():
    parted = made_up("parted", {20: "overlap", 40: "none"}, record(20, (8.0, 8.0, 8.0), 0.1), record(40, (5.0, 5.0, 5.0), 0.02))
    below = made_up("below", {20: "overlap", 40: "overlap"}, record(20, (8.0, 8.0, 8.0), 0.04), record(40, (5.0, 5.0, 5.0), 0.02))
    assert [one for one in matched_runs([SPLIT, parted, below]) if one.one is SPLIT] == []


def test_a_maximum_at_an_end_is_no_boundary():
    steps = (10, 20, 40, 80, 160, 320)
    rising = [record(step, (float(i), i + 0.1, i - 0.1), 0.1) for i, step in enumerate(steps)]
    hump = [record(step, (level, level + 0.1, level - 0.1), 0.1) for step, level in zip(steps, (1, 4, 6, 5, 2, 0), strict=True)]
    labels = dict.fromkeys(steps, "none")
    first, second = boundaries(STUDY, [made_up("rising", labels, *rising), made_up("hump", labels, *hump)])
    assert first.spread is None
    assert second.spread is not None and 1 <= second.spread < 2
    assert boundaries(STUDY, [made_up("short", dict.fromkeys(steps[:4], "none"), *rising[:4])]) == []

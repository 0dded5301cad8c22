"""What the parts on suppressors, owners, gaps and other designs measure, on compiled sorters whose heads are known."""

from dataclasses import replace

import numpy as np
import pytest

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.designs import LEAST_GAPS, VALUES, WINDOWS, is_variant, sweep
from analyses.sorting_circuits.gaps import balance, gaps
from analyses.sorting_circuits.gaps_section import gap_claims, gap_section
from analyses.sorting_circuits.known import known_sorter, known_splitter, known_suppressors
from analyses.sorting_circuits.robustness import robustness, robustness_claims, robustness_section
from analyses.sorting_circuits.splitting import splitting, splitting_claim, splitting_section
from analyses.sorting_circuits.suppression import AS_IT_IS, QUICK_LISTS, suppression
from analyses.sorting_circuits.suppression_claims import suppression_claims
from analyses.sorting_circuits.suppression_section import suppression_section
from mechbp.figures import KINDS
from mechbp.methods.patching.ablate import Mean
from mechbp.models.runs import Run
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.study import Study
from mechbp.theory.sorting.answer_scores import answer_measures
from mechbp.theory.sorting.head_ablation import ablated_forward
from mechbp.theory.sorting.rollout import asked_logits

LISTS = SortedLists(10, 3)
STUDY = Study((), quick=True, stage=lambda _: None)


def changed(sorter, name="", **fields):
    """The same model with another recipe: fields of any of its tables."""
    config = sorter.run.config
    for table in ("process", "model", "training"):
        part = getattr(config, table)
        config = replace(config, **{table: replace(part, **{k: v for k, v in fields.items() if hasattr(part, k)})})
    return Sorter(Run(name or sorter.name, sorter.run.folder, config), sorter.model)


def mean(interval):
    return float(interval.mean)


@pytest.fixture(scope="module")
def suppressors():
    both = known_sorter("both ways", LISTS, "both", owned=range(4))
    return [suppression(STUDY, one) for one in (*known_suppressors(LISTS), both)]


def test_a_suppressor_changes_confidence_and_nothing_else(suppressors):
    reads_list, reads_answer, _ = suppressors
    for one in (reads_list, reads_answer):
        assert one.heads == {"suppressor": 1, "copier": 0} and one.whole
        for edit in ("zero", "mean", "sign flip"):
            assert mean(one.changes[f"suppressor, {edit}"]["accuracy"]) == 0
        assert mean(one.table["copier, zero"]["accuracy"]) == 0
        assert mean(one.table[AS_IT_IS]["rolled_out"]) == mean(one.table["suppressor, zero"]["rolled_out"]) == 1
        assert mean(one.table["copier, mean"]["list_accuracy"]) < 0.3
    # The suppressor of the copied value takes confidence off, that of named values adds some.
    assert reads_list.changes["suppressor, mean"]["entropy_nats"].high < 0 < reads_answer.changes["suppressor, mean"][
        "entropy_nats"
    ].low  # fmt: skip
    assert reads_list.gain.high < 0 < reads_answer.gain.low
    for one in (reads_list, reads_answer):
        with_it, without = (one.calibration[edit] for edit in (AS_IT_IS, "suppressor, mean"))
        # All answers are right, so that the error is what confidence lacks.
        assert mean(with_it.error) == pytest.approx(1 - mean(one.table[AS_IT_IS]["confidence"]), abs=1e-9)
        assert mean(one.gain) == pytest.approx(mean(without.error) - mean(with_it.error), abs=1e-12)


def test_only_suppression_of_named_values_is_preserved(suppressors):
    reads_list, reads_answer, _ = suppressors
    assert mean(reads_list.kept["answer"]) == pytest.approx(0, abs=1e-9)
    assert mean(reads_answer.kept["answer"]) == pytest.approx(1, abs=0.01)


def test_diagonals_are_all_that_compiled_heads_have(suppressors):
    for one in suppressors[:2]:
        for role in ("suppressor", "copier"):
            for scale in ("frozen", "recomputed"):
                for measure in ("entropy_nats", "cross_entropy_nats"):
                    parts = [mean(one.table[f"{role}, {kept}, {scale}"][measure]) for kept in ("diagonal", "rest")]
                    whole = [mean(one.table[edit][measure]) for edit in (AS_IT_IS, f"{role}, zero")]
                    assert parts == pytest.approx(whole, abs=1e-9)


def test_effects_are_laid_out_by_value_and_by_gap(suppressors):
    one = suppressors[0]
    tokens, reference = (one.sorter.lists(STUDY, name, QUICK_LISTS) for name in ("suppression", "suppression means"))
    truth = tokens[:, LISTS.length + 1 :]
    entropy = []
    for heads in ((), (1,)):
        run = ablated_forward(one.sorter.model, LISTS, heads, Mean(reference))
        logits = asked_logits(run, one.sorter.model, LISTS, tokens)
        entropy.append(answer_measures(logits, truth)["entropy_nats"])
    change = entropy[1] - entropy[0]
    for gap in np.unique(np.diff(truth, axis=1)):  # the first answer of a list has none
        inside = np.diff(truth, axis=1) == gap
        assert one.by_gap.mean[gap] == pytest.approx(change[:, 1:][inside].mean(), abs=1e-12)
    for value in range(10):
        assert one.by_value.mean[value] == pytest.approx(change[truth == value].mean(), abs=1e-12)
    assert np.isnan(one.by_gap.mean[0])


def test_of_runs_with_both_modes_only_opposed_values_count(suppressors):
    both = suppressors[2]
    assert both.sorter.label == "both" and both.counted.tolist() == [True] * 4 + [False] * 6
    assert "list_accuracy" not in both.table[AS_IT_IS]
    # Head 1 copies all other values: without it they would be wrong, but they do not count.
    assert mean(both.changes["suppressor, zero"]["accuracy"]) == 0
    assert mean(both.table["copier, zero"]["accuracy"]) == 0
    assert both.changes["suppressor, zero"]["entropy_nats"].high < 0


def test_claims_are_about_runs_of_the_label(suppressors):
    claims = suppression_claims(suppressors, suppressors[:1])
    assert [claim.id for claim in claims] == ["suppressor", "calibrates", "suppression-preserved"]
    assert all(len(values) == 2 for claim in claims for values in claim.numbers.values())
    assert [claim.verdict for claim in claims] == ["holds", "partly", "partly"]
    assert all("beside, 1 run labelled both, at the values that are opposed" in claim.measured for claim in claims)
    beside = suppression_claims(suppressors[2:])
    assert all(claim.verdict == "not run" and claim.measured.startswith("no run is labelled") for claim in beside)
    section = suppression_section(suppressors[1:], suppressors[:1])
    drawn(section, "fig-suppression-ablations", "fig-suppression-calibration", "fig-suppression-values", "fig-suppression-parts")
    assert {claim.figure for claim in claims} <= {figure.id for figure in section.figures}


def test_without_its_owner_a_value_is_wrong():
    one = splitting(STUDY, known_sorter("split", LISTS, "splitting", owned=range(3)))
    np.testing.assert_allclose(one.expected, [0.7, 0.3], rtol=0, atol=1e-12)
    owned = 1 - one.accuracy["zero"].mean  # nothing is left of a compiled head: a tie among its values is no answer
    assert owned.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(one.accuracy["zero"].mean, one.expected, rtol=0, atol=0.04)
    # A mean leaves what is often the answer at a position; all other answers stay.
    np.testing.assert_allclose(one.accuracy["mean"].mean, 1 - owned + one.guesses, rtol=0, atol=1e-12)
    assert one.guesses.max() > 0
    np.testing.assert_allclose(one.deviation, np.abs(one.accuracy["mean"].mean - one.expected), rtol=0, atol=1e-15)
    assert (one.by_value.mean[0, 3:] == 1).all() and (one.by_value.mean[1, :3] == 1).all()
    assert one.by_value.mean[0, :3].min() == one.by_value.mean[1, 3:].min() == 0
    known = splitting(STUDY, known_splitter(LISTS))
    claim = splitting_claim([one, one], [known])
    assert claim.numbers["deviation"] == pytest.approx([*one.deviation, *one.deviation], abs=1e-6)
    drawn(splitting_section([one], [known]), "fig-splitting", "fig-splitting-values")


def test_heads_that_overlap_own_nothing():
    one = splitting(STUDY, known_sorter("alike", LISTS, "overlap"))
    assert (one.accuracy["mean"].mean == 1).all() and one.deviation.max() > 0.9


def windows(kinds):
    """Compiled sorters of the kinds given, per window."""
    return [
        known_sorter(f"w{window}-{kind}-{i}", SortedLists(10, 3, window=window), kind)
        for window, found in kinds.items()
        for i, kind in enumerate(found)
    ]


def test_modes_that_follow_the_gap_are_found_and_others_not():
    split, suppress = ["splitting"] * 5, ["suppression"] * 5
    found = gaps(STUDY, windows({4: suppress, 6: ["suppression", "splitting", "overlap"], 0: split}))
    one = found.sweeps[WINDOWS]
    assert one.decided == (6, 6) and one.labels.count("overlap") == 1
    np.testing.assert_allclose(np.unique(one.mean_gaps), [5 / 4, 7 / 4, 11 / 4], rtol=0, atol=1e-12)
    assert one.slope is not None and one.slope.slope > 0 and one.slope.low > 0 and one.slope.p < 0.01
    assert one.correlations["CS"].rho < -0.5 and one.correlations["OL"].p > 0.05
    adjusted = [found.adjusted[WINDOWS, score] for score in one.scores]
    assert all(a >= one.correlations[score].p for a, score in zip(adjusted, one.scores, strict=True) if np.isfinite(a))
    claim = gap_claims(found)[0]
    assert claim.numbers["p_windows"] < 0.01 < claim.numbers["slope_windows"]
    assert claim.numbers["p_values"] is None and claim.verdict == "partly"
    drawn(gap_section(found), "fig-gap-labels", "fig-gap-cs", "fig-gap-vs", "fig-gap-frequency")
    mixed = gaps(STUDY, windows({4: [*split[:2], *suppress[:2]], 0: [*split[:2], *suppress[:2]]})).sweeps[WINDOWS]
    assert mixed.slope is not None and mixed.slope.p > 0.5 and abs(mixed.slope.slope) < 1e-3


def test_one_mode_everywhere_has_no_slope():
    found = gaps(STUDY, windows({4: ["splitting"] * 2, 0: ["splitting"] * 2}))
    assert found.sweeps[WINDOWS].slope is None
    claim = gap_claims(found)[0]
    assert claim.verdict == "fails" and "no slope" in claim.measured


def test_balance_says_what_two_heads_do_with_a_value():
    kinds = {"splitting": 0.0, "suppression": -0.5, "overlap": 1.0}
    for kind, expected in kinds.items():
        np.testing.assert_allclose(balance(known_sorter(kind, LISTS, kind)), expected, rtol=0, atol=1e-9)


def test_sweeps_hold_everything_else_fixed():
    home = known_sorter("home", LISTS, "splitting")
    window, gap, values = (
        changed(home, name=name, **field) for name, field in (("w", {"window": 5}), ("g", {"gap": 2}), ("v", {"vocab_size": 14}))
    )
    other_rate = changed(home, name="fast", learning_rate=0.1, window=6)
    reseeded = changed(home, name="again", seed=5)
    heads = changed(home, name="three", n_heads=3, vocab_size=12)
    runs = [values, window, gap, home, other_rate, reseeded, heads]
    assert [one.name for one in sweep(runs, WINDOWS).sorters] == ["w", "home", "again"]
    assert [one.name for one in sweep(runs, LEAST_GAPS).sorters] == ["home", "again", "g"]
    assert [one.name for one in sweep(runs, VALUES).sorters] == ["home", "again", "v"]
    assert sweep([home, reseeded], WINDOWS).sorters == ()
    assert sweep(runs, WINDOWS).setting(home) == "window 10" and sweep(runs, VALUES).setting(values) == "14 values"


def test_variants_are_other_designs_of_uniform_lists_and_repeats():
    home = changed(known_sorter("home", SortedLists(32, 6), "splitting"), normalization="LN")
    assert not is_variant(home)
    for fields in ({"window": 9}, {"gap": 2}):
        assert not is_variant(changed(home, **fields))
    for fields in ({"n_heads": 1}, {"normalization": "none"}, {"length": 4}, {"vocab_size": 64}, {"repeats": True}):
        assert is_variant(changed(home, **fields)), fields


def test_losses_are_compared_inside_recipes():
    kinds = ["suppression"] * 4 + ["splitting"] * 4 + ["overlap"]
    sorters = [known_sorter(f"{kind}-{i}", LISTS, kind, idle_heads=1) for i, kind in enumerate(kinds)]
    lonely = known_sorter("elsewhere", SortedLists(10, 4), "suppression")
    found = robustness(STUDY, [*sorters, lonely])
    assert len(found.variants) == 10
    by_mode = found.by_mode
    assert by_mode is not None and (by_mode.cells, by_mode.members, by_mode.others) == (1, 4, 4)
    assert by_mode.difference == pytest.approx(found.losses[:4].mean() - found.losses[4:8].mean(), abs=1e-12)
    assert by_mode.low > 0  # a compiled suppressor only lowers confidence in right answers
    robust, loss = robustness_claims(found)
    assert loss.verdict == "fails" and loss.numbers["difference_high"] > 0
    assert robust.verdict == "holds" and robust.numbers["token_low"] == [1.0] * 10
    assert "idle heads: 2" in robust.measured
    drawn(robustness_section(found), "fig-robustness", "fig-loss-by-mode")


def test_one_run_of_either_mode_bounds_no_difference():
    found = robustness(STUDY, [known_sorter(kind, LISTS, kind) for kind in ("suppression", "splitting")])
    loss = robustness_claims(found)[1]
    assert loss.numbers == {"difference_high": None} and loss.verdict == "fails" and "no bound" in loss.measured
    alone = robustness(STUDY, [known_sorter("alone", LISTS, "suppression")])
    assert robustness_claims(alone)[1].verdict == "not run"


def test_no_runs_are_no_findings():
    nothing = (
        *suppression_claims([]), splitting_claim([]), *gap_claims(gaps(STUDY, [])), *robustness_claims(robustness(STUDY, [])),
    )  # fmt: skip
    assert len(nothing) == 7
    assert all(claim.verdict == "not run" and claim.measured and claim.control and not claim.figure for claim in nothing)
    sections = (
        suppression_section([]), splitting_section([]), gap_section(gaps(STUDY, [])), robustness_section(robustness(STUDY, [])),
    )  # fmt: skip
    assert all(section.status == "skipped" and section.reason for section in sections)


def drawn(section, *ids):
    """The section has these figures, whole enough to be drawn for wide and narrow screens."""
    assert section.status == "done" and [figure.id for figure in section.figures] == list(ids)
    for figure in section.figures:
        for narrow in (False, True):
            assert KINDS[figure.kind].draw(figure.data, narrow)["data"]

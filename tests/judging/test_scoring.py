"""Scores, decisions and their means against numbers worked out by hand: no model is judged by a wrong sum."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mechbp.hooks import edit
from mechbp.judging import judge as judging
from mechbp.judging import truth
from mechbp.judging.answer import Answer
from mechbp.judging.judge import judge
from mechbp.judging.localising import LEAST, ablation, decided
from mechbp.judging.scoring import highest, scored
from mechbp.judging.setting import settings
from mechbp.judging.table import RIGHT_ANSWER, Table
from mechbp.judging.truth import RIGHT, TRUTHS
from mechbp.methods.statistics.intervals import Interval

TRUTH = ("read", "unread", "other", "read", "related")
"""Of five candidates; in "probing" the last is not judged, in "localisation" it is a no."""


def test_as_many_are_taken_from_the_top_as_are_right_and_ties_share_the_rest():
    scores, judged = np.array([3.0, 2, 2, 1, 9]), np.array([True, True, True, True, False])
    assert highest(scores, judged, 2).tolist() == [1, 0.5, 0.5, 0, 1]
    assert highest(scores, judged, 1).tolist() == [1, 0, 0, 0, 1]
    assert highest(scores, judged, 4).tolist() == [1, 1, 1, 1, 1]


def test_an_answer_is_scored_by_hand():
    answer = Answer(np.array([0.9, 0.8, 0.1, 0.2, 0.7]), np.array([True, True, False, False, True]))
    found = scored(answer, TRUTH, "localisation")
    said = dict(zip(TRUTHS, found.said, strict=True))
    assert (said["read"], said["unread"], said["other"], said["related"]) == (0.5, 1, 0, 1) and np.isnan(said["copy"])
    assert found.auroc == pytest.approx(4 / 6)  # of 2 x 3 pairs of a yes and a no, 3 + 1 are in order
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 4) / 2) and found.chance_precision == 2 / 5
    probed = scored(answer, TRUTH, "probing")  # unread is a yes, related is not judged
    assert probed.auroc == 1 and probed.chance_precision == 3 / 4


def test_a_truth_that_a_question_lacks_counts_in_no_mean():
    rows = [np.array([1.0, np.nan, 0.5, np.nan]), np.array([0.0, 0.25, np.nan, np.nan])]
    np.testing.assert_array_equal(judging._mean(rows), [0.5, 0.25, 0.5, np.nan])


def test_shares_have_intervals_within_what_shares_can_be():
    found = judging._share(np.array([[0.9, 0.0, 0.5], [1.0, 0.1, 0.5], [1.0, 0.0, 0.5]]))
    assert found.n == 3 and found.high[0] == 1 and found.low[1] == 0 and found.low[2] == found.high[2] == 0.5
    assert 0 < found.low[0] < 0.9 and 0.1 < found.high[1] < 1


def test_questions_of_one_grammar_are_averaged_first_and_intervals_are_over_grammars():
    """Right of every plain model and wrong of its companion, at another price: in that every grammar is alike."""
    right = RIGHT["localisation"]
    key = {one.name: np.array([bool(right[what]) for what in one.truth]) for g in (0, 1) for one in settings(g, "parts")}
    seen = []

    @torch.no_grad()
    def method(question):
        plain = "plain" in question.name
        question.model(torch.from_numpy(question.clean[: 1 if plain else 5]))
        seen.append(len(question.candidates))
        return key[question.name] == plain

    found = judge(method, grammars=2)
    assert found.candidates.sum() == sum(seen) and len(seen) == 4
    for interval, mean in ((found.auroc, 0.5), (found.passes, 3)):
        assert (interval.n, interval.mean, interval.low, interval.high) == (2, *[pytest.approx(mean)] * 3)
    at = TRUTHS.index("nothing")
    assert found.per_grammar.shape == (2, len(TRUTHS)) and found.false_alarms.mean[at] == 0.5 and np.isnan(found.hits.mean[at])
    assert found.chance_precision == pytest.approx(np.mean([answers.mean() for answers in key.values()]))


@pytest.fixture(scope="module")
def judgement():
    found = judge(lambda question: np.arange(len(question.candidates)) * 1.0, grammars=1, name="mine")
    shares = np.linspace(0.1, 0.7, len(TRUTHS))
    return replace(found, said=Interval(shares, shares - 0.05, shares + 0.2, 3))


def test_hits_are_of_what_is_there_and_false_alarms_of_what_is_not(judgement):
    read, nothing = TRUTHS.index("read"), TRUTHS.index("nothing")
    assert judgement.hits.mean[read] == pytest.approx(0.1) and judgement.false_alarms.mean[nothing] == pytest.approx(0.7)
    assert np.isnan(judgement.hits.mean[nothing]) and np.isnan(judgement.false_alarms.mean[read])
    misses = judgement.misses
    assert (misses.mean[read], misses.low[read], misses.high[read]) == pytest.approx((0.9, 0.7, 0.95))
    lines = judgement.summary().splitlines()
    assert lines[2].startswith("hits") and "read 0.10" in lines[2] and "nothing" not in lines[2]
    assert lines[3].startswith("false alarms") and "nothing 0.70" in lines[3]


def test_a_table_says_hits_and_false_alarms_in_their_columns(judgement):
    row = Table((judgement,)).summary().splitlines()[1]
    hits, alarms = row.index("read 0.10"), row.index("unread 0.40")
    assert hits < alarms and "nothing 0.70" in row[alarms:] and "nothing" not in row[:alarms]
    (panel,) = Table((judgement,)).picture().data["panels"]
    assert panel["rows"] == [RIGHT_ANSWER, "mine, parts"]
    assert panel["values"][0] == [1, 1, 1, 0, 0, 0, 0] and panel["values"][1] == pytest.approx(judgement.said.mean)


def test_a_yes_is_off_zero_on_either_side_and_no_rounding():
    mean = np.array([0.5, -0.5, 0.5, LEAST / 2, -2 * LEAST, np.nan])
    low = np.array([0.1, -0.9, -0.1, LEAST / 4, -3 * LEAST, np.nan])
    high = np.array([0.9, -0.1, 0.9, LEAST, -LEAST, np.nan])
    assert decided(Interval(mean, low, high, 9)).tolist() == [True, True, False, False, True, False]


def test_a_questions_pairs_go_from_the_corrupted_to_the_clean_run():
    setting = next(iter(settings(3, "parts")))
    tree, question = setting.compiled.tree, setting.question("interchange", 8, 60, None)
    pairs = question.pairs((1, 2))
    for given, own in (
        ("base", "corrupted"), ("source", "clean"), ("before", "exact_corrupted"), ("expected", "exact_clean"),
        ("without", "exact_without"),
    ):  # fmt: skip
        assert np.array_equal(getattr(pairs, given), getattr(question, own)), given
    assert pairs.positions.sum(axis=0).tolist() == [8 * (place in (1, 2)) for place in range(question.clean.shape[1])]
    hidden = np.where(np.isin(np.arange(tree.n_leaves), sorted(setting.asked.leaves)), tree.mask_token, question.corrupted)
    for tokens, exact in (
        (question.clean, question.exact_clean), (question.corrupted, question.exact_corrupted), (hidden, question.exact_without)
    ):  # fmt: skip
        np.testing.assert_allclose(tree.leave_one_out(tokens)[:, question.query], exact, rtol=0, atol=1e-12)


def test_what_is_right_is_what_the_table_of_truths_says():
    words = {"yes": True, "no": False, "-": None}
    lines = (truth.__doc__ or "").splitlines()
    for what in TRUTHS:
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{what}  "))
        told = [words[word] for line in lines[at : at + 2] for word in line.split() if word in words][:3]
        assert [RIGHT[kind][what] for kind in ("localisation", "probing", "interchange")] == told, what


@torch.no_grad()
def test_ablations_are_scored_as_shares_of_the_gap():
    question = next(iter(settings(3, "streams"))).question("localisation", 8, 60, None)
    found, _ = ablation("zero")(question)
    clean, corrupted = (question.metric(question.model(torch.from_numpy(rows))) for rows in (question.clean, question.corrupted))
    hook, positions = question.candidates[0]

    def emptied(value):
        value[:, list(positions)] = 0
        return value

    with edit(question.model, {hook: emptied}):
        lost = question.metric(question.model(torch.from_numpy(question.clean)))
    assert found[0] == pytest.approx(abs(float((lost - clean).mean())) / float((clean - corrupted).mean()), abs=1e-9)

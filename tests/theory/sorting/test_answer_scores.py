"""Scores of answers: by explicit loops, at ties, with planted calibration, and as differences list by list."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.randomness import rng
from mechbp.theory.sorting.answer_scores import answer_scores, score_changes

V, N, LENGTH = 7, 40, 3
NAMES = ("accuracy", "cross_entropy_nats", "entropy_nats", "confidence")


def drawn(*labels):
    draw = rng(0, "answers", *labels)
    truth = np.sort(np.array([draw.choice(V, LENGTH, replace=False) for _ in range(N)]), axis=1)
    return 2 * draw.standard_normal((N, LENGTH, V + 1)), truth


def by_hand(logits, truth):
    """(list, position, true value, gap or None, measures) of every answer."""
    for i in range(len(truth)):
        for k in range(truth.shape[1]):
            p = np.exp(logits[i, k]) / np.exp(logits[i, k]).sum()
            b = truth[i, k]
            measures = {
                "accuracy": float(all(p[b] > p[j] for j in range(len(p)) if j != b)),
                "cross_entropy_nats": -np.log(p[b]),
                "entropy_nats": -(p * np.log(p)).sum(),
                "confidence": p.max(),
            }
            yield i, k, b, (None if k == 0 else b - truth[i, k - 1]), measures


def test_every_mean_equals_loops():
    logits, truth = drawn()
    found = answer_scores(logits, truth, rng(0), n_values=V)
    answers = list(by_hand(logits, truth))
    for name in NAMES:
        assert float(getattr(found, name).mean) == pytest.approx(np.mean([m[name] for *_, m in answers]), abs=1e-12)
        for i in range(N):
            own = np.mean([m[name] for j, _, _, _, m in answers if j == i])
            assert found.per_list[name][i] == pytest.approx(own, abs=1e-12)
        for group, key in ((found.by_value, 2), (found.by_gap, 3)):
            for g in range(V):
                members = [row[4][name] for row in answers if row[key] == g]
                assert group.count[g] == len(members)
                mean = np.mean(members) if members else np.nan
                assert getattr(group, name).mean[g] == pytest.approx(mean, abs=1e-12, nan_ok=True)
    lists = [np.mean([m["accuracy"] for j, *_, m in answers if j == i]) == 1 for i in range(N)]
    assert float(found.list_accuracy.mean) == pytest.approx(np.mean(lists)) and found.rolled_out is None
    assert found.by_gap.count.sum() == N * (LENGTH - 1) and found.by_gap.count[0] == 0


def test_calibration_error_equals_loops_over_bins():
    logits, truth = drawn("calibration")
    answers = [m for *_, m in by_hand(logits, truth)]
    expected = 0.0
    for b in range(15):
        inside = [m for m in answers if b / 15 <= m["confidence"] < (b + 1) / 15]
        expected += abs(sum(m["confidence"] - m["accuracy"] for m in inside)) / len(answers)
    assert float(answer_scores(logits, truth, rng(0), n_values=V).calibration_error.mean) == pytest.approx(expected, abs=1e-12)


def test_calibrated_answers_have_no_error_and_overconfident_ones_have_it():
    """Each bin holds one confidence p, right in a share p of the answers: 4 of 5 and 3 of 5."""
    truth = np.tile([[1, 3]], (10, 1))
    logits = np.full((10, 2, V), -60.0)
    wrong = {0: [0, 1], 1: [0, 1, 2, 3]}
    for k, p in ((0, 0.8), (1, 0.6)):
        for i in range(10):
            chosen, other = (6, truth[i, k]) if i in wrong[k] else (truth[i, k], 6)
            logits[i, k, chosen] = np.log(p)
            logits[i, k, other] = np.log(1 - p)
    assert float(answer_scores(logits, truth, rng(0)).calibration_error.mean) == pytest.approx(0, abs=1e-8)
    sure = answer_scores(100 * logits, truth, rng(0))
    assert float(sure.calibration_error.mean) == pytest.approx(1 - 0.7, abs=1e-6) and sure.confidence.mean > 1 - 1e-3


def test_a_tie_is_no_answer_and_rows_may_be_shifted():
    logits, truth = np.zeros((2, 1, V)), np.array([[2], [3]])
    logits[0, 0, 2] = 1e-9
    found = answer_scores(logits + 1000 * np.arange(2)[:, None, None], truth, rng(0))
    assert found.per_list["accuracy"].tolist() == [1, 0]
    assert found.per_list["entropy_nats"] == pytest.approx(np.log(V), abs=1e-12)


def test_rolled_out_lists_are_counted_apart():
    logits, truth = drawn("rolled out")
    emitted = truth.copy()
    emitted[::4, 1] += 1
    found = answer_scores(logits, truth, rng(0), n_values=V, emitted=emitted)
    assert float(found.rolled_out.mean) == 0.75 and found.per_list["rolled_out"].sum() == 30
    assert float(found.list_accuracy.mean) != 0.75


def test_intervals_cover_and_lists_are_what_is_resampled():
    """All answers of a list are alike, so that a list is one piece of evidence and not LENGTH of them."""
    draw = rng(0, "coverage")
    truth = np.tile(np.arange(LENGTH), (400, 1))
    right = draw.random(400) < 0.7
    logits = np.where(right[:, None, None], 3.0, -3.0) * np.eye(V)[truth]
    found = answer_scores(logits, truth, rng(0))
    width = float(found.accuracy.high - found.accuracy.low)
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 400), rel=0.15)
    assert found.accuracy.low < 0.7 < found.accuracy.high and found.calibration_error.low < found.calibration_error.high


def test_changes_are_those_of_the_same_lists():
    logits, truth = drawn("changes")
    before = answer_scores(logits, truth, rng(0), n_values=V, emitted=truth)
    shifted = logits.copy()
    np.put_along_axis(shifted, truth[..., None], np.take_along_axis(logits, truth[..., None], -1) + 0.1, axis=-1)
    after = answer_scores(shifted, truth, rng(0), n_values=V)
    found = score_changes(before, after, rng(0))
    assert set(found) == {*NAMES, "list_accuracy"}
    for name, change in found.items():
        assert float(change.mean) == pytest.approx(float((after.per_list[name] - before.per_list[name]).mean()), abs=1e-12)
    change, spread = found["cross_entropy_nats"], before.cross_entropy_nats
    assert change.high < 0 and float(change.high - change.low) < 0.1 * float(spread.high - spread.low)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"truth": np.zeros((N, LENGTH + 1), int)}, "need logits"),
        ({"emitted": np.zeros((N + 1, LENGTH), int)}, "emitted"),
        ({"truth": np.full((N, LENGTH), V)}, f"truth must hold values in 0..{V - 1}"),
        ({"truth": np.full((N, LENGTH), -1)}, "got values -1..-1"),
        ({"n_values": V + 2}, "as many outputs"),
        ({"logits": np.full((N, LENGTH, V + 1), np.nan)}, "logits of list 0 are not finite"),
        ({"rng": 0}, "rng must be a numpy.random.Generator"),
    ],
)
def test_refusals(arguments, message):
    logits, truth = drawn()
    given = {"logits": logits, "truth": truth, "rng": rng(0), "n_values": V, **arguments}
    with pytest.raises(InputError, match=message):
        answer_scores(given.pop("logits"), given.pop("truth"), given.pop("rng"), **given)


def test_changes_need_the_same_lists():
    logits, truth = drawn()
    one, other = answer_scores(logits, truth, rng(0)), answer_scores(logits[1:], truth[1:], rng(0))
    with pytest.raises(InputError, match="both must score the same lists"):
        score_changes(one, other, rng(0))

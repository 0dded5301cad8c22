"""Agreement with oracles: values worked out by hand, laws of the divergences, and the bins of calibration."""

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.statistics.answers import agreement, calibration, nearest
from mechbp.randomness import rng

TOLERANCE = 1e-12
EXACT = np.array([[[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]])
ANSWERS = np.array([[[0.25, 0.5, 0.25], [0.5, 0.3, 0.2]], [[0.5, 0.25, 0.25], [0.1, 0.3, 0.6]]])


def drawn(n=50, queries=3, q=4, seed=0):
    return tuple(rng(seed, name).dirichlet(np.ones(q), size=(n, queries)) for name in ("exact", "answers"))


def test_numbers_worked_out_by_hand():
    found = agreement(EXACT, ANSWERS, rng(0))
    log = np.log
    forward = [
        0.5 * log(2),
        0.25 * log(0.5) + 0.25 * log(0.25 / 0.3) + 0.5 * log(2.5),
        log(2),
        0.2 * log(2) + 0.5 * log(0.5 / 0.6),
    ]
    assert found.kl_bp_to_model_nats.mean == pytest.approx(np.mean(forward), rel=0, abs=TOLERANCE)
    assert found.same_choice.mean == 0.5  # the model's choices are symbols 1, 0, 0, 2, the oracle's 0, 2, 0, 2
    assert found.accuracy.mean == pytest.approx((0.5 + 0.25 + 1 + 0.5) / 4, rel=0, abs=TOLERANCE)
    assert found.best_accuracy.mean == pytest.approx((0.5 + 0.5 + 1 + 0.5) / 4, rel=0, abs=TOLERANCE)
    assert found.clamped == 3 / 12 and found.accuracy.n == 2  # sequences, not queries


def test_a_model_gains_log_floor_where_the_oracle_says_impossible():
    one = agreement(np.array([[[1.0, 0.0]]]), np.array([[[0.5, 0.5]]]), rng(0))
    assert one.kl_model_to_bp_nats.mean == pytest.approx(0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-12), rel=0, abs=TOLERANCE)
    assert one.kl_bp_to_model_nats.mean == pytest.approx(np.log(2), rel=0, abs=TOLERANCE)


def test_agreement_with_itself_is_perfect():
    exact, _ = drawn()
    found = agreement(exact, exact, rng(0))
    for nats in (found.kl_bp_to_model_nats, found.kl_model_to_bp_nats, found.js_nats):
        np.testing.assert_allclose([nats.mean, nats.low, nats.high], 0, rtol=0, atol=TOLERANCE)
    assert found.same_choice.mean == 1 and found.spearman.mean == pytest.approx(1, rel=0, abs=TOLERANCE)
    assert found.accuracy.mean == found.best_accuracy.mean == pytest.approx(exact.max(-1).mean(), rel=0, abs=TOLERANCE)


def test_exchanging_the_arguments_exchanges_the_directions_and_nothing_else():
    exact, answers = drawn()
    one, other = agreement(exact, answers, rng(0)), agreement(answers, exact, rng(0))
    for a, b in (
        (one.js_nats, other.js_nats),
        (one.spearman, other.spearman),
        (one.kl_bp_to_model_nats, other.kl_model_to_bp_nats),
    ):
        np.testing.assert_allclose([a.mean, a.low, a.high], [b.mean, b.low, b.high], rtol=0, atol=TOLERANCE)
    assert abs(one.kl_bp_to_model_nats.mean - one.kl_model_to_bp_nats.mean) > 1e-3
    assert 0 < one.js_nats.mean < np.log(2) and one.js_nats.mean < one.kl_bp_to_model_nats.mean


def test_accuracy_is_scored_by_the_truth_and_not_by_the_oracle_compared_with():
    exact, answers = drawn()
    truth = exact[..., ::-1]
    found = agreement(exact, answers, rng(0), truth=truth)
    picked = np.take_along_axis(truth, answers.argmax(-1)[..., None], -1)
    assert found.accuracy.mean == pytest.approx(picked.mean(), rel=0, abs=TOLERANCE)
    assert found.best_accuracy.mean == pytest.approx(
        np.take_along_axis(truth, exact.argmax(-1)[..., None], -1).mean(), rel=0, abs=TOLERANCE
    )


def test_constant_vectors_have_no_rank_correlation_and_are_left_out():
    exact = np.array([[[0.25] * 4, [0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.4, 0.4]]])
    answers = np.array([[[0.1, 0.2, 0.3, 0.4]] * 2] * 2)
    tied = 4 / np.sqrt(4 * 5)  # ranks 1.5 1.5 3.5 3.5 against 1 2 3 4
    assert agreement(exact, answers, rng(0)).spearman.mean == pytest.approx((1 - 1 + tied) / 3, rel=0, abs=TOLERANCE)
    assert np.isnan(agreement(exact[:1, :1], answers[:1, :1], rng(0)).spearman.mean)


def test_intervals_are_over_sequences_however_many_queries_repeat_them():
    exact, answers = drawn(n=40, queries=1)
    once = agreement(exact, answers, rng(1)).js_nats
    thrice = agreement(np.repeat(exact, 3, axis=1), np.repeat(answers, 3, axis=1), rng(1)).js_nats
    assert once.n == thrice.n == 40
    np.testing.assert_allclose([once.low, once.high], [thrice.low, thrice.high], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 3, 5)), ((3, 4), (3, 4)), ((0, 3, 4), (0, 3, 4))])
def test_shapes_that_do_not_fit_are_refused(shapes):
    with pytest.raises(InputError, match=r"agreement: need equal shapes \[n, query, q\]"):
        agreement(np.ones(shapes[0]), np.ones(shapes[1]), rng(0))


def test_calibration_bins_pairs_by_what_the_model_states():
    answers = np.array([[[0.1, 0.9]], [[0.2, 0.8]], [[0.0, 1.0]]])
    exact = np.array([[[0.3, 0.7]], [[0.4, 0.6]], [[0.6, 0.4]]])
    found = calibration(exact, answers, rng(0), bins=2)
    np.testing.assert_array_equal(found.edges, [0, 0.5, 1])
    np.testing.assert_array_equal(found.filled, [3, 3])  # 0 and 1 belong to the outer bins
    np.testing.assert_array_equal(found.counts, [[2, 1], [1, 2]])
    np.testing.assert_allclose(found.stated, [0.1, 0.9], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.exact.mean, [1.3 / 3, 1.7 / 3], rtol=0, atol=TOLERANCE)
    assert found.error == pytest.approx(1 / 3, rel=0, abs=TOLERANCE) and found.exact.n == 3


def test_the_density_of_pairs_stands_with_exact_probabilities_upwards():
    exact, answers = np.array([[[0.8, 0.1, 0.1]]]), np.array([[[0.3, 0.3, 0.4]]])
    found = calibration(exact, answers, rng(0, "density"), bins=2)
    assert found.counts.tolist() == [[2, 1], [0, 0]]  # by what the model says, which is below one half
    drawn = found.picture().data
    assert np.asarray(drawn["density"]["counts"]).tolist() == [[2, 0], [1, 0]]
    assert drawn["identity"] and drawn["x_range"] == drawn["y_range"] == [0, 1]


def test_an_exact_model_is_calibrated_and_its_empty_bins_are_undefined():
    exact = np.full((10, 2, 2), 0.5)
    found = calibration(exact, exact, rng(0), bins=4)
    assert found.error == 0 and found.counts.sum() == exact.size
    np.testing.assert_array_equal(np.isnan(found.stated), [True, True, False, True])
    np.testing.assert_array_equal(np.isnan(found.exact.mean), [True, True, False, True])


def test_the_nearest_oracle_leads_by_the_paired_difference():
    noise = rng(0, "shared").normal(scale=5, size=(200, 1))  # common to all oracles: it must cancel
    gaps = rng(0, "own").normal(scale=0.1, size=(200, 3))
    level, margin = nearest(10 + noise + gaps + [0.5, 0.1, 0.3], rng(1))
    assert level == 1 and margin.low < 0.2 < margin.high and margin.high - margin.low < 0.1


@pytest.mark.parametrize("n", [3, 5])
def test_a_truth_of_other_sequences_is_refused(n):
    exact = np.full((4, 2, 3), 1 / 3)
    with pytest.raises(InputError, match=r"need equal shapes"):
        agreement(exact, exact, rng(0), truth=np.full((n, 2, 3), 1 / 3))

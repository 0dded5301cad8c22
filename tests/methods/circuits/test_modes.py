"""Mode detectors: matrices whose mode is known, scores by explicit loops, every threshold from both sides, margins and nulls."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sorter_cases import weight_circuits

from mechbp.errors import InputError
from mechbp.methods.circuits.mode_margins import margin, null_scores
from mechbp.methods.circuits.modes import _rank, modes
from mechbp.models.compiled.sorter import compile_sorter, scores
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng

V = 20
LIKE = np.stack([scores(V)] * 2)


def circuit(*diagonals, size=V):
    """Diagonal OV matrices; a diagonal is {value: entry}, or a range that is copied."""
    ov = np.zeros((len(diagonals), size, size))
    for matrix, diagonal in zip(ov, diagonals, strict=True):
        entries = diagonal if isinstance(diagonal, dict) else dict.fromkeys(diagonal, 1.0)
        for value, entry in entries.items():
            matrix[value, value] = entry
    return ov


def suppressing(values, copying=()):
    return {**dict.fromkeys(values, -1.0), **dict.fromkeys(copying, 1.0)}


ALL = range(V)
KNOWN = {
    "splitting": circuit(range(10), range(10, V)),
    "suppression": circuit(ALL, suppressing(ALL)),
    "overlap": circuit(ALL, ALL),
    "both": circuit(range(10), suppressing(range(10), range(10, V))),
    "none": circuit([], []),
}
HALF_SPLIT_HALF_SUPPRESSED = circuit([*range(5), *range(10, V)], suppressing(range(10, V), range(5, 10)))


@pytest.mark.parametrize("label", KNOWN)
def test_known_matrices_have_their_label(label):
    found = modes(KNOWN[label], LIKE)
    assert found.label == found.best.label == label
    scored = {"splitting": found.best.splitting, "suppression": found.best.suppression, "overlap": found.best.overlap}
    assert label in ("both", "none") or scored[label] == pytest.approx(1, abs=1e-12)


def test_half_split_and_half_suppressed_is_both():
    found = modes(HALF_SPLIT_HALF_SUPPRESSED, LIKE)
    assert found.label == "both" and found.best.suppressed == pytest.approx(0.5) and found.best.split == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_random_matrices_have_none(seed):
    draw = rng(seed, "random circuits")
    assert modes(draw.standard_normal((2, 51, 51)), draw.standard_normal((2, 52, 51))).label == "none"


@pytest.mark.parametrize("kind", ["splitting", "suppression", "both", "overlap"])
def test_compiled_sorters_are_recognised_from_their_weights(kind):
    sorter = compile_sorter(SortedLists(51, 10), kind, idle_heads=2)
    found = modes(*weight_circuits(sorter.model))
    assert found.label == kind and set(found.best.heads) == {0, 1} and found.idle == (2, 3)
    for head, truth in enumerate(sorter.truth):
        assert set(np.flatnonzero(found.copies[head])) == truth.copies
        assert set(np.flatnonzero(found.suppresses[head])) == truth.suppresses
    assert kind != "splitting" or all(int(found.owner[i]) == (i >= 25) for i in range(51))
    most = {"splitting": 1, "suppression": 0, "both": 1, "overlap": 0}  # 26 of 51 values are in the upper half
    assert found.order[0] == most[kind]


def brute(ov, qk, weights):
    """Everything about heads a and b, loop by loop; copying head first."""
    share = np.array(weights) / sum(weights)
    n = ov.shape[1]
    ov = np.array([[row - row.mean() for row in matrix] for matrix in ov])
    sets = {"copy": [], "suppress": []}
    for matrix in ov:
        others = [[matrix[i, j] for j in range(n) if j != i] for i in range(n)]
        sets["copy"].append({i for i in range(n) if matrix[i, i] > max(others[i]) and matrix[i, i] > 0})
        sets["suppress"].append({i for i in range(n) if matrix[i, i] < min(others[i]) and matrix[i, i] < 0})
    weight = lambda chosen: sum(share[i] for i in chosen)  # noqa: E731
    suppression = [weight(sets["copy"][a]) * weight(sets["suppress"][1 - a]) for a in (0, 1)]
    a = 0 if suppression[0] >= suppression[1] else 1
    c = [sets["copy"][a], sets["copy"][1 - a]]
    s = [sets["suppress"][a], sets["suppress"][1 - a]]
    rows = [[row - row.mean() for row in qk[h]] for h in (a, 1 - a)]
    rank = [*range(n), -1]
    above = [(q, k) for q in range(len(rows[0])) for k in range(n) if k > rank[q]]
    diagonals = [[ov[h][i, i] for i in range(n)] for h in (a, 1 - a)]
    owner = [0 if diagonals[0][i] >= diagonals[1][i] else 1 for i in range(n)]
    relu = [[max(x, 0) for x in d] for d in diagonals]
    return {
        "splitting": 1 - weight(c[0] & c[1]) / weight(c[0] | c[1]),
        "suppression": suppression[a],
        "overlap": weight(c[0] & c[1]),
        "soft_overlap": sum(share * np.minimum(*relu)) / sum(share * np.maximum(*relu)),
        "coverage": weight(c[0] | c[1]),
        "switches": sum(owner[i] != owner[i + 1] for i in range(n - 1)),
        "least_owned": min(weight({i for i in range(n) if owner[i] == h}) for h in (0, 1)),
        "correlation": np.corrcoef([rows[0][q][k] for q, k in above], [rows[1][q][k] for q, k in above])[0, 1],
        "suppressed": weight(c[0] & s[1]),
        "split": weight({i for i in range(n) if (i in c[0] and i not in c[1] | s[1]) or (i in c[1] and i not in c[0] | s[0])}),
    }


@pytest.mark.parametrize("separator", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_loops(seed, separator):
    draw = rng(seed, "loops")
    n = 9
    ov = draw.standard_normal((2, n, n)) + 2.5 * np.eye(n) * draw.choice([-1, 0, 1, 1], size=(2, n))[:, :, None]
    qk = draw.standard_normal((2, n + separator, n)) + 3 * draw.standard_normal((n + separator, 1))
    weights = draw.random(n)
    best = modes(ov, qk, weights=weights).best
    for name, value in brute(ov, qk, weights).items():
        assert getattr(best, name) == pytest.approx(value, abs=1e-12), name


def test_row_constants_scale_of_weights_and_order_of_heads_say_nothing():
    draw = rng(0, "invariance")
    for ov in (*KNOWN.values(), HALF_SPLIT_HALF_SUPPRESSED):
        plain = modes(ov, LIKE)
        shifted = modes(
            ov + 5 * draw.standard_normal((2, V, 1)), LIKE + 50 * draw.standard_normal((2, V + 1, 1)), weights=np.full(V, 7.0)
        )
        assert shifted.label == plain.label and shifted.best.score == pytest.approx(plain.best.score, abs=1e-9)
        np.testing.assert_array_equal(shifted.copies, plain.copies)
        np.testing.assert_array_equal(shifted.suppresses, plain.suppresses)
        turned = modes(ov[::-1], LIKE[::-1])
        assert turned.label == plain.label and turned.best.score == plain.best.score
        np.testing.assert_array_equal(turned.copies[::-1], plain.copies)


def test_a_tied_maximum_copies_nothing():
    rows = np.full((2, V, V), 1.0)
    rows[:, :, 0] = -1
    found = modes(rows, LIKE)
    assert found.copies.sum() == 0 and found.suppresses.tolist() == [[True] + [False] * (V - 1)] * 2


THRESHOLDS = {
    # 20 values: one step is .05; every case is just inside, then just outside
    "VS .9": (circuit(range(11), range(9, V)), circuit(range(12), range(9, V)), "splitting", "none"),
    "coverage .95": (circuit(range(10), range(11, V)), circuit(range(10), range(12, V)), "splitting", "none"),
    "owned .1": (circuit(range(2), range(2, V)), circuit(range(1), range(1, V)), "splitting", "none"),
    "6 switches": (
        circuit([0, 1, 4, 5, 8, 9, 16, 17, 18, 19], [2, 3, 6, 7, *range(10, 16)]),
        circuit([0, 1, 4, 5, 8, 9, 16, 17], [2, 3, 6, 7, *range(10, 16), 18, 19]),
        "splitting",
        "none",
    ),
    "OL .5": (circuit(range(10), range(14)), circuit(range(9), range(14)), "overlap", "none"),
    "CS .5": (circuit(range(16), suppressing(range(13))), circuit(range(16), suppressing(range(12))), "suppression", "none"),
    "range .2 split": (
        circuit(range(16), suppressing(range(16), range(16, V))),
        circuit(range(17), suppressing(range(17), range(17, V))),
        "both",
        "suppression",
    ),
    "range .2 suppressed": (
        circuit(range(10), suppressing(range(4), range(10, V))),
        circuit(range(10), suppressing(range(3), range(10, V))),
        "both",
        "splitting",
    ),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_from_both_sides(name):
    inside, outside, label, other = THRESHOLDS[name]
    assert (modes(inside, LIKE).label, modes(outside, LIKE).label) == (label, other)


def mixed(share):
    """Scores of two heads, the second's made of the first's and noise so that their correlation is about this share."""
    first = scores(V)
    noise = first.std() * rng(0, "mixed scores").standard_normal(first.shape)
    return np.stack([first, share * first + np.sqrt(1 - share**2) * noise])


def test_suppression_needs_the_same_attention():
    ov = KNOWN["suppression"]
    alike, unlike = modes(ov, mixed(0.65)), modes(ov, mixed(0.35))
    assert 0.5 < alike.best.correlation < 0.75 and 0.25 < unlike.best.correlation < 0.5
    assert (alike.label, unlike.label) == ("suppression", "none")
    assert modes(ov, np.zeros((2, V, V))).label == "none", "a constant has no correlation"
    assert modes(KNOWN["both"], mixed(0.1)).label == "splitting", "what b writes against a matters only where it looks with a"


def test_both_asks_for_the_same_attention_where_there_is_suppression():
    """Of two heads whose scores agree on the keys of one half alone, those suppressed have to be in that half."""
    qk = LIKE.copy()
    qk[1, :, 10:] = 3 * qk[0].std() * rng(0, "other half").standard_normal((V + 1, 10))
    lower, upper = (modes(KNOWN["both"][:, ::step, ::step], qk) for step in (1, -1))
    assert lower.best.correlation == upper.best.correlation < 0.5
    assert (lower.label, upper.label) == ("both", "splitting")


def test_the_published_example_of_both():
    """Head 1 copies and head 0 cancels, but on values 28..37 head 0 copies and head 1 is idle: 10 of 51 values are too few."""
    for last, label in ((37, "suppression"), (38, "both")):
        inner = range(28, last + 1)
        outer = [i for i in range(51) if i not in inner]
        found = modes(circuit(suppressing(outer, inner), outer, size=51), np.stack([scores(51)] * 2))
        assert found.label == label and found.best.heads == (1, 0) and found.best.switches == 2


def test_weights_decide_which_tokens_count():
    ov = circuit(range(5), range(5, 10))
    assert modes(ov, LIKE).label == "none"
    weights = np.where(np.arange(V) < 10, 1.0, 0.0)
    found = modes(ov, LIKE, weights=weights)
    assert found.label == "splitting" and found.copy_share.tolist() == [0.5, 0.5] and found.coverage == pytest.approx(1)


def test_more_than_two_heads_have_a_best_pair():
    ov = circuit([], range(10), suppressing([0]), range(10, V))
    found = modes(ov, np.stack([scores(V)] * 4))
    assert found.label == "splitting" and set(found.best.heads) == {1, 3} and found.idle == (0, 2)
    assert found.order == (1, 3, 0, 2) and len(found.pairs) == 6
    tied = modes(circuit(ALL, ALL, suppressing(ALL)), np.stack([scores(V)] * 3))
    assert tied.label == "suppression", "of equal scores the pair whose heads differ"


def test_rounding_noise_decides_no_tie():
    """Of equal scores, overlap of 1 here, the pair whose heads differ is the best one; 3e-10 more is no higher score."""
    (pair,) = modes(circuit(ALL, suppressing(ALL)), LIKE).pairs
    higher = replace(pair, overlap=1 + 3e-10)
    assert pair.score == pytest.approx(1, abs=1e-12) and higher.score > pair.score + 2e-10
    assert _rank(higher) == _rank(pair) < _rank(replace(pair, overlap=1 + 3e-8))


def test_three_owners_are_no_pair_but_copied_once():
    found = modes(circuit(range(7), range(7, 14), range(14, V)), np.stack([scores(V)] * 3))
    assert found.label == "none" and found.copied_once == 1 and found.coverage == pytest.approx(1)
    assert found.owner.tolist() == [0] * 7 + [1] * 7 + [2] * 6


def test_one_head_has_no_mode():
    found = modes(circuit(ALL), LIKE[:1])
    assert found.label == "one head" and found.best is None and found.pairs == () and found.copied_once == 1


def test_nothing_copied_is_undefined_and_stays_so_in_json():
    plain = json.loads(json.dumps(modes(KNOWN["none"], LIKE).to_dict(), allow_nan=False))
    assert plain["label"] == "none" and plain["best"]["splitting"] is None and plain["copied_once"] is None
    assert plain["idle"] == [0, 1] and plain["best"]["heads"] == [0, 1]


def test_a_line_says_what_was_found():
    expected = "heads 0 and 1: suppression (VS 1.00, CS 1.00, OL 0.00; 100% covered, QK alike 1.00)"
    assert modes(KNOWN["suppression"], LIKE).summary() == expected
    assert modes(circuit(range(10)), LIKE[:1]).summary() == "one head, which copies 50% of the tokens"


EXPECTED_MARGINS = {"splitting": (0.19, 0.32), "suppression": (0.17, 0.31), "both": (0.17, 0.31), "overlap": (0.3, 0.45)}


@pytest.mark.parametrize("kind", EXPECTED_MARGINS)
def test_labels_bear_noise_up_to_a_margin(kind):
    """A copy is lost where the largest of 50 other entries, about 2.25 sd, overtakes it; 2 of 51 may be where .95 must stay."""
    sorter = compile_sorter(SortedLists(51, 10), kind, confidence=3.0)
    found = margin(sorter.ov, sorter.qk, rng(0, "margin"), draws=8)
    low, high = EXPECTED_MARGINS[kind]
    assert found.label == kind and low <= found.median <= high and np.isfinite(found.flips_at).all()
    again = margin(7 * sorter.ov, 0.1 * sorter.qk, rng(0, "margin"), draws=8)
    np.testing.assert_allclose(again.flips_at, found.flips_at, rtol=0, atol=0.011)  # one step: a rounding may decide a tie


def test_noise_below_the_margin_keeps_the_label_and_at_it_does_not():
    ov, draw = KNOWN["splitting"], rng(3, "at the margin")
    found = margin(ov, LIKE, rng(3, "at the margin"), draws=1)
    noise = draw.standard_normal(ov.shape) * 0.95  # rows with mean 0 leave 1 - 1 / 20 of every diagonal entry
    size = found.flips_at[0]
    assert modes(ov + (size - 0.01) * noise, LIKE).label == "splitting" != modes(ov + size * noise, LIKE).label


def test_noise_in_attention_counts():
    """Scores that are only just alike are alike no more under noise that OV bears."""
    ov = KNOWN["suppression"]
    barely = next(mixed(share) for share in np.arange(0.4, 0.7, 0.01) if modes(ov, mixed(share)).label == "suppression")
    assert margin(ov, barely, rng(0, "margin"), draws=5).median < 0.1 < margin(ov, LIKE, rng(0, "margin"), draws=5).median


def test_relabelled_rows_copy_nothing_but_by_accident():
    sorter = compile_sorter(SortedLists(51, 10), "splitting")
    found = null_scores(sorter.ov, sorter.qk, rng(0, "null"), 60)
    assert set(found.labels) == {"none"} and found.overlap.max() < 0.1 and found.suppression.max() < 0.1


def test_relabelled_tokens_keep_what_each_head_copies_but_not_together():
    ov = KNOWN["splitting"]
    found = null_scores(ov, LIKE, rng(0, "null"), 400, relabelled="tokens")
    assert "splitting" not in found.labels
    # two random halves share each value with probability 1/4
    assert abs(found.overlap.mean() - 0.25) < 4 * found.overlap.std() / np.sqrt(400)
    np.testing.assert_allclose(found.splitting, 1 - found.overlap / (1 - found.overlap), rtol=0, atol=1e-12)
    assert set(null_scores(KNOWN["overlap"], LIKE, rng(0, "null"), 5, relabelled="tokens").labels) == {"overlap"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ov": np.zeros((2, V, V + 1))}, r"need ov \[head, V, V\]"),
        ({"ov": np.zeros((3, V, V))}, "of the same heads"),
        ({"qk": np.zeros((2, V + 2, V))}, "Cut the separator"),
        ({"ov": np.full((2, V, V), np.nan)}, "ov and qk must be finite"),
        ({"qk": np.full((2, V, V), -np.inf)}, "before the softmax"),
        ({"weights": np.ones(V + 1)}, "weights must be 20 finite numbers >= 0"),
        ({"weights": np.zeros(V)}, "not all 0"),
        ({"weights": -np.ones(V)}, ">= 0"),
    ],
)
def test_refusals(arguments, message):
    given = {"ov": KNOWN["overlap"], "qk": LIKE, **arguments}
    with pytest.raises(InputError, match=message):
        modes(given.pop("ov"), given.pop("qk"), **given)


def test_refusals_of_margins_and_nulls():
    with pytest.raises(InputError, match="margin: draws must be an integer >= 1, got 0"):
        margin(KNOWN["overlap"], LIKE, rng(0), draws=0)
    with pytest.raises(InputError, match="relabelled must be 'rows' or 'tokens', got 'heads'"):
        null_scores(KNOWN["overlap"], LIKE, rng(0), 3, relabelled="heads")
    with pytest.raises(InputError, match="the scores are those of two heads, got 1"):
        null_scores(circuit(ALL), LIKE[:1], rng(0), 3)
    with pytest.raises(InputError, match="rng must be a numpy.random.Generator"):
        null_scores(KNOWN["overlap"], LIKE, 0, 3)

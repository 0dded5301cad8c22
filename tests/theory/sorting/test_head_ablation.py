"""Ablations and rollouts on compiled sorters, where what must be lost is known, and on random models against edits by hand."""

import json

import numpy as np
import pytest
import torch
from sorter_cases import every_list, untrained_sorter

from mechbp.errors import HookError, InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching.ablate import Mean, ablate
from mechbp.models.compiled.sorter import compile_sorter
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng
from mechbp.theory.sorting.gaps import gap_laws
from mechbp.theory.sorting.head_ablation import (
    SignFlip,
    ablated_forward,
    ablated_scores,
    expected_accuracy_without,
    head_ablations,
)
from mechbp.theory.sorting.rollout import asked_logits, rollout

Z = "blocks.0.attn.hook_z"
LISTS, TOKENS = every_list(8, 3)


def logits_of(model, heads, stand_in, tokens=TOKENS, lists=LISTS):
    return asked_logits(ablated_forward(model, lists, heads, stand_in), model, lists, tokens)


def test_no_heads_is_the_model_as_it_is():
    model = untrained_sorter()
    with torch.no_grad():
        expected = model(torch.from_numpy(TOKENS[:, :-1]))[:, 3:].numpy()
    np.testing.assert_array_equal(logits_of(model, [], "zero"), expected)


@pytest.mark.parametrize("heads", [[0], [1], [0, 1]])
def test_stand_ins_equal_edits_by_hand(heads):
    model, reference = untrained_sorter(), TOKENS[::5]
    mean = capture(model, reference[:, :-1], Z)[Z].mean(dim=0)

    def by_hand(value):
        def fn(z):
            for h in heads:
                z[:, :, h] = value(z[:, :, h], mean[:, h])
            return z

        with torch.no_grad(), edit(model, {Z: fn}):
            return model(torch.from_numpy(TOKENS[:, :-1]))[:, 3:].numpy()

    cases = {
        "zero": ("zero", lambda z, m: torch.zeros_like(z)),
        "mean": (Mean(reference), lambda z, m: m.expand_as(z)),
        "flip": (SignFlip(reference), lambda z, m: m - (z - m)),
    }
    found = {}
    for name, (stand_in, value) in cases.items():
        found[name] = logits_of(model, heads, stand_in)
        np.testing.assert_allclose(found[name], by_hand(value), rtol=0, atol=1e-12)
    assert min(np.abs(found[a] - found[b]).max() for a, b in (("zero", "mean"), ("mean", "flip"), ("zero", "flip"))) > 1e-3


def test_effects_agree_with_general_ablation():
    model, reference = untrained_sorter(), TOKENS[::3]

    def loss(logits):
        log_p = logits.log_softmax(dim=-1)[:, 3:]
        return -log_p.gather(-1, torch.from_numpy(TOKENS[:, 4:, None])).mean(dim=(1, 2))

    for stand_in, general in (("zero", "zero"), (Mean(reference), Mean(reference[:, :-1]))):
        effects = ablate(model, TOKENS[:, :-1], loss, Z, general, jointly=True, heads=[1])
        found = ablated_scores(model, LISTS, TOKENS, [1], stand_in, rng=rng(0), roll_out=False)
        np.testing.assert_allclose(found.per_list["cross_entropy_nats"], effects.ablated[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("owned", [range(4), [1], [0, 3, 6], range(6)], ids=str)
def test_without_an_owner_accuracy_is_what_was_predicted(owned):
    sorter = compile_sorter(LISTS, owned=owned)
    owner = np.array([0 if i in owned else 1 for i in range(8)])
    expected = expected_accuracy_without(owner, gap_laws(LISTS).frequency, 2)
    np.testing.assert_allclose(expected, [1 - len(owned) / 8, len(owned) / 8], rtol=0, atol=1e-12)
    for head in (0, 1):
        found = ablated_scores(sorter.model, LISTS, TOKENS, [head], "zero", rng=rng(0))
        assert float(found.accuracy.mean) == pytest.approx(expected[head], abs=1e-12)
        assert found.by_value.accuracy.mean.tolist() == [float(owner[i] != head) for i in range(8)]
        whole = np.mean([all(owner[b] != head for b in row) for row in TOKENS[:, 4:]])
        assert float(found.list_accuracy.mean) == pytest.approx(whole) and float(found.rolled_out.mean) == pytest.approx(whole)


def test_values_that_are_asked_more_often_weigh_more():
    lists = SortedLists(9, 3, window=4)
    owner = np.array([0] * 3 + [1] * 6)
    frequency = gap_laws(lists).frequency
    expected = expected_accuracy_without(owner, frequency, 3)
    assert expected[2] == 1 and expected[0] == pytest.approx(1 - frequency[:3].sum() / 3) and expected[0] > 1 - 3 / 9 + 0.02
    sorter = compile_sorter(lists, owned=range(3), idle_heads=1)
    tokens = lists.sample(1500, rng(0, "windows")).tokens
    for head in range(3):
        found = ablated_scores(sorter.model, lists, tokens, [head], "zero", rng=rng(0), roll_out=False)
        assert abs(float(found.accuracy.mean) - expected[head]) < 4 * 0.5 / np.sqrt(1500) + 1e-12


def test_removing_a_suppressor_moves_entropy_and_no_answer_removing_the_copier_all():
    sorter = compile_sorter(LISTS, "suppression", confidence=8.0)
    table = {(row.heads, row.stand_in): row for row in head_ablations(sorter.model, LISTS, TOKENS, TOKENS, rng=rng(0))}
    assert list(table) == [((), "none"), *(((h,), name) for name in ("zero", "mean", "sign flip") for h in (0, 1))]
    base, no_suppressor, no_copier = table[(), "none"], table[(1,), "zero"], table[(0,), "zero"]
    assert float(base.scores.rolled_out.mean) == 1 and all(float(change.mean) == 0 for change in base.changes.values())
    assert float(no_suppressor.changes["accuracy"].mean) == 0 and float(no_suppressor.changes["rolled_out"].mean) == 0
    assert no_suppressor.changes["entropy_nats"].high < -0.1 and no_suppressor.changes["confidence"].low > 0.05
    assert float(no_copier.scores.accuracy.mean) == 0 and float(no_copier.changes["accuracy"].mean) == -1
    # a suppressor turned round about its mean helps the copier
    assert table[(1,), "sign flip"].changes["confidence"].low > 0


def test_tables_are_plain_numbers():
    sorter = compile_sorter(LISTS)
    rows = head_ablations(sorter.model, LISTS, TOKENS, TOKENS, rng=rng(0), roll_out=False)
    plain = json.loads(json.dumps([row.to_dict() for row in rows], allow_nan=False))
    assert plain[1]["heads"] == [0] and plain[1]["stand_in"] == "zero" and plain[1]["scores"]["rolled_out"] is None
    assert plain[1]["scores"]["accuracy"]["mean"] == 0.5 and plain[1]["changes"]["accuracy"]["mean"] == pytest.approx(-0.5)
    assert plain[1]["scores"]["by_value"]["accuracy"]["mean"] == [0.0] * 4 + [1.0] * 4
    assert plain[1]["scores"]["by_gap"]["accuracy"]["mean"][0] is None and plain[1]["scores"]["by_gap"]["count"][0] == 0


def test_overlapping_heads_stand_in_for_one_another():
    sorter = compile_sorter(LISTS, "overlap")
    for heads, accuracy in (([0], 1.0), ([1], 1.0), ([0, 1], 0.0)):
        found = ablated_scores(sorter.model, LISTS, TOKENS, heads, "zero", rng=rng(0), roll_out=False)
        assert float(found.accuracy.mean) == accuracy and found.rolled_out is None


def test_a_rollout_feeds_its_own_answers_back():
    model = untrained_sorter(3)
    found = rollout(model, LISTS, TOKENS[:, :3], batch_size=10)
    for i in range(0, len(TOKENS), 9):
        shown = TOKENS[i : i + 1, :4]
        for _ in range(3):
            with torch.no_grad():
                best = int(model(torch.from_numpy(shown))[0, -1].argmax())
            shown = np.append(shown, [[best]], axis=1)
        assert found[i].tolist() == shown[0, 4:].tolist()
    sorter = compile_sorter(LISTS)
    np.testing.assert_array_equal(rollout(sorter.model, LISTS, TOKENS[:, :3]), TOKENS[:, 4:])


def test_batches_change_nothing():
    model = untrained_sorter()
    whole = ablated_scores(model, LISTS, TOKENS, [0], Mean(TOKENS), rng=rng(0))
    parts = ablated_scores(model, LISTS, TOKENS, [0], Mean(TOKENS), rng=rng(0), batch_size=7)
    for name, values in whole.per_list.items():
        np.testing.assert_allclose(parts.per_list[name], values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [2]}, r"heads must be distinct and among 0..1, got \[2\]"),
        ({"heads": [0, 0]}, "distinct"),
        ({"heads": [-1]}, "among 0..1"),
        ({"stand_in": "mean"}, "stand_in must be 'zero', Mean"),
        ({"stand_in": Mean(TOKENS[:, :-1])}, r"reference sequences must be \[m, 7\] with m >= 1, got \[56, 6\]"),
        ({"stand_in": SignFlip(TOKENS[:0])}, r"got \[0, 7\]"),
        ({"tokens": TOKENS[:, :-1]}, r"need sequences \[n, 7\]"),
        ({"batch_size": 0}, "batch_size >= 1"),
    ],
)
def test_refusals(arguments, message):
    given = {"tokens": TOKENS, "heads": [0], "stand_in": "zero", "rng": rng(0), **arguments}
    with pytest.raises(InputError, match=message):
        ablated_scores(untrained_sorter(), LISTS, given.pop("tokens"), given.pop("heads"), given.pop("stand_in"), **given)


def test_refusals_of_expectations_and_rollouts():
    with pytest.raises(InputError, match=r"owners must be in 0..1, got 0..2"):
        expected_accuracy_without(np.array([0, 2]), np.ones(2), 2)
    with pytest.raises(InputError, match="need one frequency >= 0 per value"):
        expected_accuracy_without(np.array([0, 1]), np.zeros(2), 2)
    with pytest.raises(InputError, match=r"need lists \[n, 3\]"):
        rollout(untrained_sorter(), LISTS, TOKENS)
    with pytest.raises(HookError, match="is no hooked model"):
        rollout(torch.nn.Linear(2, 2), LISTS, TOKENS[:, :3])

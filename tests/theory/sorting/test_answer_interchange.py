"""Another list's answer where a sorter is asked: on one made by hand the heads' ranges decide what each of them carries."""

import numpy as np
import pytest
import torch
from hand_sorter import hand_sorter

import mechbp
from mechbp.errors import InputError, TooFewSequences
from mechbp.methods.interchange.interchange import NOTHING, WHOLE, interchange
from mechbp.methods.interchange.subspaces import Subspace
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.sorting.rungs import Rung
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.processes.sorting.splits import in_split
from mechbp.theory.sorting.answer_pairs import answer_pairs, lent_is_above, lent_is_foreign, source_answers
from mechbp.theory.sorting.head_interchange import head_interchange

PROCESS = SortedLists(14, 4)
OWNED = np.arange(14) < 6


@pytest.fixture(scope="module")
def sorter():
    return hand_sorter(PROCESS, OWNED, steepness=30.0)


def named(sequence, position):
    """The smallest value of the list above the token at a position, by a loop."""
    current = -1 if position == 4 else sequence[position]
    return min(value for value in sequence[:4] if value > current)


@pytest.mark.parametrize("same", [False, True])
def test_pairs_say_what_exact_inference_says(same):
    pairs = answer_pairs(PROCESS, 300, mechbp.rng(0), same=same, split="train")
    assert len(pairs) == 300 and pairs.base.shape == pairs.source.shape == (300, 8)
    for row, query in enumerate(pairs.query):
        before, lent = named(pairs.base[row], query), named(pairs.source[row], query)
        assert pairs.before[row, before] == 1 == pairs.before[row].sum()
        assert pairs.expected[row, lent] == 1 == pairs.expected[row].sum()
        assert (before == lent) == same
        assert sorted(pairs.base[row, :4]) != sorted(pairs.source[row, :4])
        assert pairs.positions[row].sum() == 1 and pairs.positions[row, query]
        full = np.append(pairs.base[row], sorted(pairs.base[row, :4])[-1])[None]
        without = Rung(PROCESS, "token and position").predictive(full)[0, query - 4]
        np.testing.assert_allclose(pairs.without[row], without, rtol=0, atol=1e-12)
        current = -1 if query == 4 else pairs.base[row, query]
        assert lent_is_foreign(PROCESS, pairs)[row] == (lent not in pairs.base[row, :4])
        assert lent_is_above(PROCESS, pairs)[row] == (lent > current)
    assert in_split(pairs.base[:, :4], "train").all() and in_split(pairs.source[:, :4], "train").all()
    assert set(pairs.query.tolist()) == {4, 5, 6, 7}
    if not same:
        foreign, above = lent_is_foreign(PROCESS, pairs), lent_is_above(PROCESS, pairs)
        assert 0 < foreign.mean() < 1 and 0 < above.mean() < 1
        np.testing.assert_array_equal(source_answers(pairs), pairs.expected.argmax(axis=1))


def test_partners_with_the_same_answer_are_spread_over_all_there_are():
    process = SortedLists(5, 2)
    pairs = answer_pairs(process, 2000, mechbp.rng(1), same=True, asked=0, split=None)
    of_zero = pairs.base[:, :2].min(axis=1) == 0
    partners = pairs.source[of_zero, :2].max(axis=1)
    shares = np.bincount(partners, minlength=5)[1:] / of_zero.sum()
    assert (pairs.query == 2).all() and np.abs(shares - 0.25).max() < 0.05  # 0 with 1, 2, 3 or 4, but for the base's own


def test_a_list_without_a_partner_makes_no_pair():
    process = SortedLists(150, 3)
    pairs = answer_pairs(process, 40, mechbp.rng(7), same=True, split=None)  # 320 lists to find partners in, by answer and rank
    assert pairs.share_kept < 0.95
    np.testing.assert_array_equal(pairs.before, pairs.expected)


def test_heads_carry_the_answers_they_own(sorter):
    pairs = answer_pairs(PROCESS, 400, mechbp.rng(2))
    found = head_interchange(sorter, pairs)
    assert found.head_sets == ((), (0,), (1,), (0, 1))
    assert found.keeps[:, 0].all() and found.follows[:, 3].all()  # unedited, and all that the answer knows
    lent_owned, held_owned = OWNED[found.source_answer], OWNED[found.base_answer]
    # Head 0 lends its value, or takes away the one it owned; where both heads write, two values are tied.
    np.testing.assert_array_equal(found.follows[lent_owned & held_owned, 1], True)
    np.testing.assert_array_equal(found.keeps[~lent_owned & ~held_owned, 1], True)
    np.testing.assert_array_equal(found.follows[~lent_owned & ~held_owned, 2], True)
    np.testing.assert_array_equal(found.keeps[lent_owned & held_owned, 2], True)
    np.testing.assert_allclose(found.source_log_probability[:, 3], 0, rtol=0, atol=1e-6)
    tied = lent_owned & ~held_owned
    np.testing.assert_allclose(found.source_log_probability[tied, 1], -np.log(2), rtol=0, atol=1e-6)
    rates = found.rates(mechbp.rng(0), among=lent_owned & held_owned)
    assert rates["follows"].mean.tolist() == [0, 1, 0, 1] and rates["keeps"].mean.tolist() == [1, 0, 1, 0]
    assert rates["other"].mean.tolist() == [0, 0, 0, 0] and rates["follows"].n == (lent_owned & held_owned).sum()
    gone = found.rates(mechbp.rng(0), among=~lent_owned & held_owned)
    np.testing.assert_allclose(gone["follows"].mean[1] + gone["keeps"].mean[1] + gone["other"].mean[1], 1)
    foreign = lent_is_foreign(PROCESS, pairs)
    assert found.rates(mechbp.rng(0), among=foreign)["follows"].mean[3] == 1  # no attention to the base list could


def test_controls_leave_the_answer_or_lend_another(sorter):
    same = head_interchange(sorter, answer_pairs(PROCESS, 100, mechbp.rng(3), same=True))
    assert same.keeps.all() and same.follows.all()
    pairs = answer_pairs(PROCESS, 200, mechbp.rng(4), asked=1)
    later = head_interchange(sorter, pairs, [(0, 1)], taken_at=pairs.query + 1)
    other = np.sort(pairs.source[:, :4], axis=1)[:, 2]  # what the source is asked for one position later
    np.testing.assert_array_equal(later.named[:, 1], other)
    assert not later.follows[:, 1].any()


def test_any_model_is_the_source_where_all_heads_and_the_token_are():
    config = ModelConfig(n_layers=1, n_heads=3, d_model=18, d_mlp=0, attention="causal")
    model = build_model(config, d_vocab=15, d_vocab_out=15, n_ctx=9, seed=1)
    pairs = answer_pairs(PROCESS, 700, mechbp.rng(5), asked=0)  # asked at SEP: queries and direct paths are the same
    found = head_interchange(model, pairs, [(0, 1, 2), (2,)])
    source = model(torch.from_numpy(pairs.source))[:, 4].detach().log_softmax(-1).numpy()
    np.testing.assert_array_equal(found.named[:, 1], source.argmax(axis=1))
    own = source[np.arange(700), found.source_answer]
    np.testing.assert_allclose(found.source_log_probability[:, 1], own, rtol=0, atol=1e-5)
    base = model(torch.from_numpy(pairs.base))[:, 4].detach().numpy()
    np.testing.assert_array_equal(found.named[:, 0], base.argmax(axis=1))
    z = "blocks.0.attn.hook_z"
    _, theirs = model.run_with_cache(torch.from_numpy(pairs.source))

    def write(mine, hook):
        mine = mine.clone()
        mine[:, 4, 2] = theirs[z][:, 4, 2]
        return mine

    third = model.run_with_hooks(torch.from_numpy(pairs.base), fwd_hooks=[(z, write)])[:, 4].detach()
    log = third.log_softmax(-1).numpy()
    np.testing.assert_allclose(found.source_log_probability[:, 2], log[np.arange(700), found.source_answer], rtol=0, atol=1e-5)


def test_the_pairs_serve_interchange_along_subspaces(sorter):
    """What heads write is a copy of the values, so that the dimensions of one head's range carry what lies in it."""
    pairs = answer_pairs(PROCESS, 120, mechbp.rng(6))
    width = sorter.cfg.d_model
    basis = np.eye(width)[:, 16:]  # behind 15 tokens and the flag of the position
    found = interchange(
        sorter,
        pairs,
        "blocks.0.hook_attn_out",
        {"all values": Subspace("all values", basis[None]), "owned": Subspace("owned", basis[None, :, :6])},
        rng=mechbp.rng(0),
    )
    assert found.target_kl_nats[NOTHING].min() > 10  # the base's answer is another
    for edit in (WHOLE, "all values"):
        assert found.target_kl_nats[edit].max() < 1e-6
        assert found.before_kl_nats[edit].min() > 10
    owned = OWNED[source_answers(pairs)] & OWNED[pairs.before.argmax(axis=1)]
    assert found.target_kl_nats["owned"][owned].max() < 1e-6 and owned.any()
    assert found.target_kl_nats["owned"][~owned].min() > 0.5


def test_what_does_not_fit_is_refused(sorter):
    with pytest.raises(InputError, match=r"asked in 0\.\.3, got 5 and 4"):
        answer_pairs(PROCESS, 5, mechbp.rng(0), asked=4)
    with pytest.raises(TooFewSequences, match="pairs of lists fit"):
        answer_pairs(SortedLists(4, 4), 20, mechbp.rng(0), split=None)  # one set of values: one answer
    pairs = answer_pairs(PROCESS, 10, mechbp.rng(0))
    with pytest.raises(InputError, match=r"heads among 0\.\.1 and 10 positions"):
        head_interchange(sorter, pairs, [(2,)])
    with pytest.raises(InputError, match=r"taken_at must lie in 0\.\.7"):
        head_interchange(sorter, pairs, taken_at=pairs.query + 4)
    with pytest.raises(InputError, match="no pair is among"):
        head_interchange(sorter, pairs).rates(mechbp.rng(0), among=np.zeros(10, bool))

"""The search for a rotation where the truth is known: a compiled model whose message has an address and q dimensions."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.das import learn_rotation, varying
from mechbp.methods.interchange.interchange import interchange
from mechbp.methods.interchange.sensitivity import sensitive_subspace
from mechbp.methods.interchange.subspaces import Subspace, random_subspace, slot_subspace
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.message_pairs import MessagePairs, child_sides, message_pairs

DEPTH, Q = 3, 4
LEVELS = (1, 2)
"""Levels above the leaf; of a leaf runs differ along the slot alone, and any search finds it."""


@pytest.fixture(scope="module")
def compiled() -> CompiledBP:
    return compile_bp(FilteredTree(mechbp.TreeGrammar.random(Q), DEPTH))


@pytest.fixture(scope="module")
def pairs(compiled: CompiledBP) -> dict[tuple[int, str], MessagePairs]:
    """By level, for learning and held out."""
    return {
        (level, part): message_pairs(compiled.tree, "masked", DEPTH - level, n, mechbp.rng(0, part, level))
        for level in LEVELS
        for part, n in (("learning", 100), ("held out", 50))
    }


def hook(level: int) -> str:
    return f"blocks.{level - 1}.hook_resid_post"


def learnt(
    compiled: CompiledBP, on: MessagePairs, level: int, starts: tuple[Subspace, ...], dims: int = Q, **options
) -> Subspace:
    return learn_rotation(
        compiled.model, on, hook(level), dims, rng=mechbp.rng(0, "learn"), starts=starts, steps=10,
        reading=proportional_reading, **options,
    )  # fmt: skip


def sensitive(compiled: CompiledBP, on: MessagePairs, level: int, dims: int = Q, **options) -> Subspace:
    return sensitive_subspace(
        compiled.model, on, hook(level), dims, rng=mechbp.rng(0, "sensitive"), reading=proportional_reading, **options
    )


def explained(compiled: CompiledBP, pairs: MessagePairs, level: int, subspace: Subspace) -> float:
    test = interchange(compiled.model, pairs, hook(level), {"found": subspace}, rng=mechbp.rng(0), reading=proportional_reading)
    return float(test.explained("found", mechbp.rng(0)).mean)


@pytest.mark.parametrize("level", LEVELS)
def test_sensitive_directions_are_the_slot_and_the_search_keeps_them(compiled: CompiledBP, pairs: dict, level: int) -> None:
    """Attention reads the slot S of q dimensions and nothing else below the node; one dimension fewer cannot hold it.

    Gradients, projected onto the span W of what differs, span P S with P = W W', and for a change c in W writing B B' c, B a
    basis of P S, sets S' B B' c = (P S)' c = S' c: exactly the message.
    """
    on, held_out = pairs[level, "learning"], pairs[level, "held out"]
    start = sensitive(compiled, on, level)
    for found in (start, learnt(compiled, on, level, (start,))):
        assert explained(compiled, held_out, level, found) > 1 - 1e-6
    blind = explained(compiled, held_out, level, learnt(compiled, on, level, ()))
    fewer = learnt(compiled, on, level, (sensitive(compiled, on, level, Q - 1),), dims=Q - 1)
    assert blind < 0.9 and explained(compiled, held_out, level, fewer) < 0.95


def test_the_search_begins_at_the_best_start(compiled: CompiledBP, pairs: dict) -> None:
    on, held_out = pairs[2, "learning"], pairs[2, "held out"]
    wrong = random_subspace(1, compiled.model.cfg.d_model, Q, mechbp.rng(0, "wrong"))
    for starts in ((wrong, sensitive(compiled, on, 2)), (sensitive(compiled, on, 2), wrong)):
        assert explained(compiled, held_out, 2, learnt(compiled, on, 2, starts)) > 1 - 1e-6


def test_nothing_is_written_where_pairs_do_not_differ(compiled: CompiledBP, pairs: dict) -> None:
    """The flags of turns are the same in both runs of a pair; a basis that reaches them would open gates."""
    flags = [compiled.slots[name].dims for name in ("left turns", "right turns")]
    for found in (learnt(compiled, pairs[2, "learning"], 2, ()), sensitive(compiled, pairs[2, "learning"], 2)):
        assert max(np.abs(found.basis[:, dims]).max() for dims in flags) < 1e-9


def test_groups_have_bases_of_their_own(compiled: CompiledBP, pairs: dict) -> None:
    on = pairs[2, "learning"]
    sides = child_sides(compiled.tree, DEPTH - 2, 8)
    assert list(sides) == [0] * 4 + [1] * 4 and list(child_sides(compiled.tree, 2, 9)) == [0, 0, 1, 1, 0, 0, 1, 1, 0]
    start = sensitive(compiled, on, 2, groups=sides)
    found = learnt(compiled, on, 2, (), groups=sides)
    for basis in (start.basis, found.basis):
        assert len(basis) == 8 and np.array_equal(basis[0], basis[3]) and np.array_equal(basis[4], basis[7])
        assert not np.allclose(basis[0] @ basis[0].T, basis[4] @ basis[4].T) or basis is start.basis
    assert explained(compiled, pairs[2, "held out"], 2, learnt(compiled, on, 2, (start,), groups=sides)) > 1 - 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [0, 1]}, "one group per position, got 2 for 8"),
        ({"starts": (slot_subspace("x", 9, slice(2)),)}, "start must be"),
    ],
    ids=["groups", "start"],
)
def test_what_does_not_fit_is_refused(compiled: CompiledBP, pairs: dict, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        learnt(compiled, pairs[2, "learning"], 2, **{"starts": (), **options})


def test_beyond_is_the_share_counted_from_a_rival(compiled: CompiledBP, pairs: dict) -> None:
    """(share - rival) / (1 - rival), and 0 for the rival itself."""
    on = pairs[2, "held out"]
    test = interchange(
        compiled.model, on, hook(2), {"half": sensitive(compiled, on, 2, 2)}, rng=mechbp.rng(0), reading=proportional_reading
    )
    deletion = (np.where(on.expected > 0, on.expected, 1) / on.without) ** on.expected
    np.testing.assert_allclose(on.deletion_kl_nats, np.log(deletion).sum(axis=1), rtol=0, atol=1e-12)
    unedited = test.target_kl_nats["nothing"].mean()
    rival = 1 - on.deletion_kl_nats.mean() / unedited
    share = float(test.explained("half", mechbp.rng(0)).mean)
    found = test.beyond("half", on.deletion_kl_nats, mechbp.rng(0))
    np.testing.assert_allclose(float(found.mean), (share - rival) / (1 - rival), rtol=0, atol=1e-12)
    assert float(test.beyond("half", test.target_kl_nats["half"], mechbp.rng(0)).high) == 0.0


def test_pairs_of_models_trained_on_one_mask_hide_one_leaf(compiled: CompiledBP) -> None:
    found = message_pairs(compiled.tree, "masked", 1, 40, mechbp.rng(0), mask_rates=(0.0, 0.0), bystander=False)
    assert found.bystander is None
    for tokens in (found.base, found.source):
        assert np.array_equal(np.argwhere(tokens == compiled.tree.mask_token)[:, 1], found.query)
    np.testing.assert_allclose(found.forgotten, compiled.tree.priors[DEPTH][found.query], rtol=0, atol=0)
    rivals = found.erasure_rivals_kl_nats
    expected = (found.without * np.log(found.without / found.forgotten)).sum(axis=1)
    np.testing.assert_allclose(rivals["everything forgotten"], expected, rtol=0, atol=1e-12)


def test_resampled_pairs_stay_together(compiled: CompiledBP, pairs: dict) -> None:
    on = pairs[1, "learning"]
    again = on.resampled(mechbp.rng(0, "again"))
    rows = [int(np.flatnonzero((on.base == base).all(axis=1))[0]) for base in again.base]
    assert len(set(rows)) < len(on) == len(again)
    for name in ("source", "expected", "without", "query", "bystander_answer", "nodes"):
        assert np.array_equal(getattr(again, name), getattr(on, name)[rows])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_directions_along_which_pairs_differ_are_known_in_any_unit(scale):
    drawn = mechbp.rng(0, "directions")
    plane = np.linalg.qr(drawn.normal(size=(7, 2)))[0]
    change = torch.from_numpy(scale * drawn.normal(size=(20, 3, 2)) @ plane.T)
    found = varying(change).numpy()
    np.testing.assert_allclose(found @ found.T, plane @ plane.T, rtol=0, atol=1e-12)
    assert varying(torch.zeros(2, 3, 5)).shape == (5, 5)

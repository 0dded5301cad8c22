"""A write is judged against the loss of the message: 1 for the exact answer, 0 for exact inference without it."""

import numpy as np
import pytest

import mechbp
from mechbp.divergence import kl_nats
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.deletion import (
    beyond_deletion,
    deletion_nats,
    more_beyond_deletion,
    obedience_nats,
    obeyed_not_held,
)
from mechbp.methods.interchange.interchange import NOTHING, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.subspaces import at_leaves, slot_subspace
from mechbp.models.compiled.bp import compile_bp
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.theory.tree.message_pairs import message_pairs

TREE = FilteredTree(mechbp.TreeGrammar.random(4), 3)


@pytest.fixture(scope="module")
def pairs():
    return message_pairs(TREE, "masked", 2, 60, mechbp.rng(0, "pairs"))


def test_the_ends_of_the_scale(pairs):
    draw = mechbp.rng(0, "scale")
    exact, lost = np.zeros(len(pairs)), kl_nats(pairs.expected, pairs.without)
    np.testing.assert_allclose(deletion_nats(pairs), lost)
    assert beyond_deletion(pairs, exact, draw).mean == 1
    assert abs(beyond_deletion(pairs, lost, draw).mean) < 1e-12
    unedited = kl_nats(pairs.expected, pairs.before)
    assert beyond_deletion(pairs, unedited, draw).mean < 0


def test_it_is_the_share_explained_less_deletions_over_what_deletion_leaves(pairs):
    unedited, lost = kl_nats(pairs.expected, pairs.before).mean(), deletion_nats(pairs).mean()
    written = mechbp.rng(0, "kl").uniform(0, 0.5, size=len(pairs))
    share, deletion = 1 - written.mean() / unedited, 1 - lost / unedited
    found = beyond_deletion(pairs, written, mechbp.rng(0))
    assert found.mean == pytest.approx((share - deletion) / (1 - deletion), abs=1e-12)
    better = more_beyond_deletion(pairs, written, written + 0.1 * deletion_nats(pairs), mechbp.rng(0))
    assert better.mean == pytest.approx(0.1) and better.low == pytest.approx(0.1)


def test_the_compiled_model_obeys_what_is_written_and_lacks_what_is_erased(pairs):
    compiled, hook = compile_bp(TREE), "blocks.0.hook_resid_post"
    slot = slot_subspace("upward 1", compiled.model.cfg.d_model, compiled.slots["upward 1"].dims)
    other = slot_subspace("upward 0", compiled.model.cfg.d_model, compiled.slots["upward 0"].dims)
    test = interchange(
        compiled.model, pairs, hook, {"right": slot, "wrong": other}, rng=mechbp.rng(0), reading=proportional_reading
    )
    shares = {edit: float(beyond_deletion(pairs, kl, mechbp.rng(0)).mean) for edit, kl in test.target_kl_nats.items()}
    assert shares["right"] == pytest.approx(1, abs=1e-5)
    assert shares["wrong"] == pytest.approx(shares[NOTHING], abs=1e-5) and shares[NOTHING] < 0

    tokens = TREE.sample(3000, mechbp.rng(0, "fit")).tokens
    activations = mechbp.capture(compiled.model, tokens, hook)[hook].numpy()
    eraser = leace(activations, at_leaves(TREE.beliefs(tokens).upward[2], TREE.n_leaves))
    erased = erase(compiled.model, pairs, hook, {"LEACE": eraser}, rng=mechbp.rng(0), reading=proportional_reading)
    held = obeyed_not_held(erased, NOTHING, mechbp.rng(0))
    assert held.high < 0 and held.mean == pytest.approx(-kl_nats(pairs.without, pairs.before).mean(), abs=1e-4)
    assert (obedience_nats(erased, "LEACE") - obedience_nats(erased, NOTHING)).mean() > 0

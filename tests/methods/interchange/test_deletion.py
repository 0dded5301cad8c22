"""A write is judged against the loss of the message: 1 for the exact answer, 0 for exact inference without it."""

import numpy as np
import pytest

import mechbp
from mechbp.divergence import kl_nats
from mechbp.methods.interchange.answer_heads import proportional_reading
from mechbp.methods.interchange.deletion import more_beyond_deletion, obedience_nats
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


def test_one_edit_above_another_is_counted_in_what_deletion_leaves(pairs):
    written = mechbp.rng(0, "kl").uniform(0, 0.5, size=len(pairs))
    better = more_beyond_deletion(pairs, written, written + 0.1 * pairs.deletion_kl_nats, mechbp.rng(0))
    assert better.mean == pytest.approx(0.1) and better.low == pytest.approx(0.1)


def test_the_compiled_model_obeys_what_is_written_and_lacks_what_is_erased(pairs):
    compiled, hook = compile_bp(TREE), "blocks.0.hook_resid_post"
    slot = slot_subspace("upward 1", compiled.model.cfg.d_model, compiled.slots["upward 1"].dims)
    other = slot_subspace("upward 0", compiled.model.cfg.d_model, compiled.slots["upward 0"].dims)
    test = interchange(
        compiled.model, pairs, hook, {"right": slot, "wrong": other}, rng=mechbp.rng(0), reading=proportional_reading
    )
    shares = {edit: float(test.beyond(edit, pairs.deletion_kl_nats, mechbp.rng(0)).mean) for edit in test.target_kl_nats}
    assert shares["right"] == pytest.approx(1, abs=1e-5)
    assert shares["wrong"] == pytest.approx(shares[NOTHING], abs=1e-5) and shares[NOTHING] < 0

    tokens = TREE.sample(3000, mechbp.rng(0, "fit")).tokens
    activations = mechbp.capture(compiled.model, tokens, hook)[hook].numpy()
    eraser = leace(activations, at_leaves(TREE.beliefs(tokens).upward[2], TREE.n_leaves))
    erased = erase(compiled.model, pairs, hook, {"LEACE": eraser}, rng=mechbp.rng(0), reading=proportional_reading)
    held = obedience_nats(erased, NOTHING)
    np.testing.assert_allclose(held, -kl_nats(pairs.without, pairs.before), rtol=0, atol=1e-3)
    assert (obedience_nats(erased, "LEACE") - obedience_nats(erased, NOTHING)).mean() > 0

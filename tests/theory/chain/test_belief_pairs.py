"""Written beliefs: a model that keeps its belief in a plane answers as exact inference says; one with a second copy does not."""

import numpy as np
import pytest
from belief_model import BeliefModel

import mechbp
from mechbp.errors import InputError, TooFewSequences
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.interchange import WHOLE, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.subspaces import Subspace, mean_subspace
from mechbp.processes.chain.library import golden_mean, mess3, rrxor
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain.belief_pairs import belief_pairs
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.prefix_activations import prefix_answers, rewritten_answers

HOOK = "blocks.0.hook_resid_post"


@pytest.mark.parametrize("hmm", [mess3(0.05, 0.85), rrxor()], ids=["mess3", "rrxor"])
def test_pairs_ask_what_the_exact_filter_answers(hmm):
    pairs = belief_pairs(hmm, 4, 40, mechbp.rng(0, "pairs"))
    assert pairs.base.shape == pairs.source.shape == (40, 5) and pairs.bystander is None
    assert (pairs.query == 4).all() and pairs.positions.sum(axis=1).tolist() == [1] * 40 and pairs.positions[:, 4].all()
    np.testing.assert_allclose(pairs.before, hmm.predictive(hmm.beliefs(pairs.base)[:, -1]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(pairs.expected, hmm.predictive(hmm.beliefs(pairs.source)[:, -1]), rtol=0, atol=1e-15)
    np.testing.assert_allclose(pairs.without, hmm.predictive(hmm.start)[None].repeat(40, axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_conditional_means_carry_the_belief_wherever_it_is(copies):
    hmm = mess3(0.05, 0.85)
    model = BeliefModel(hmm, copies=copies)
    sample = hmm.sample(2000, mechbp.rng(0, "fit"), 5)
    activations = to_array(capture(model, sample.tokens, HOOK)[HOOK])[:, -1:]
    beliefs = hmm.beliefs(sample.tokens)[:, -1:]
    pairs = belief_pairs(hmm, 4, 60, mechbp.rng(0, "pairs"))
    one_plane = np.linalg.qr(model.planes[0].numpy().T)[0][None]
    subspaces = {"means": mean_subspace(activations, beliefs, 2), "one plane": Subspace("one plane", one_plane)}
    test = interchange(model, pairs, HOOK, subspaces, rng=mechbp.rng(0, "placebo"))
    explained = {edit: float(test.explained(edit, mechbp.rng(0, "interval")).mean) for edit in test.edits}
    assert explained[WHOLE] == pytest.approx(1, abs=1e-9) and explained["means"] > 0.99
    assert explained["means, placebo"] < 0.5
    # Half of the belief stays behind in the other copy.
    assert explained["one plane"] == pytest.approx(1, abs=1e-9) if copies == 1 else explained["one plane"] < 0.95
    erased = erase(model, pairs, HOOK, {"leace": leace(activations, beliefs)}, rng=mechbp.rng(0, "erasure"))
    assert float(erased.explained("leace", mechbp.rng(0, "interval")).mean) > 0.98


def test_rewritten_answers_are_the_models_own_where_nothing_changes():
    hmm = mess3(0.15, 0.6, length=4)
    model = BeliefModel(hmm)
    words = enumerate_words(hmm, 4)
    own = prefix_answers(model, words)
    assert exact_loss(own, words, hmm).mean_nats == pytest.approx(0, abs=1e-12)
    same = rewritten_answers(model, words, HOOK, lambda tokens: capture(model, tokens, HOOK)[HOOK].numpy())
    np.testing.assert_allclose(same, own, rtol=0, atol=1e-12)
    prior = rewritten_answers(
        model, words, HOOK, lambda tokens: np.broadcast_to(hmm.start @ model.planes[0].numpy(), (*tokens.shape, 12))
    )
    assert exact_loss(prior, words, hmm).relative == pytest.approx(1)  # the prior's predictive is uniform


def test_nonsense_is_refused():
    hmm = golden_mean()
    with pytest.raises(InputError, match="position >= 0"):
        belief_pairs(hmm, -1, 10, mechbp.rng(0, "x"))
    with pytest.raises(TooFewSequences, match="only 0 of"):
        belief_pairs(mess3(0.15, 1 / 3), 3, 10, mechbp.rng(0, "x"))  # its tokens say nothing

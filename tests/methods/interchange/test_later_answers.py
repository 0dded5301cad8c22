"""Later answers of two models that filter exactly: one hands its belief on from token to token, one computes it anew."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mechbp
from mechbp.errors import InputError
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.interchange import NOTHING, WHOLE
from mechbp.methods.interchange.later_answers import component, component_of_others, whole_vector, without, write_at
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.subspaces import mean_subspace
from mechbp.processes.chain.library import rrxor
from mechbp.theory.chain.future_pairs import future_pairs

HMM = rrxor()
POSITION, LENGTH = 3, 7
HOOK = "blocks.0.hook_resid_post"
LATER, NOW = slice(1, None), slice(0, 1)
WIDTH = 9


class Filter(nn.Module):
    """Holds the exact belief after every token in a plane, and answers every position from it.

    With `hands_on` the belief that stands after a token, edited or not, is what the next one is filtered from; without, every
    belief is computed from the tokens, and what stands in between is used for the answer in place alone.
    """

    def __init__(self, *, hands_on: bool) -> None:
        super().__init__()
        frame = np.linalg.qr(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)))[0]
        self.plane = torch.tensor(frame[:, : HMM.n_states].T)
        self.steps = torch.tensor(np.array(HMM.transitions))
        self.hands_on = hands_on
        self.hook_dict = {HOOK: nn.Identity()}
        self.points = nn.ModuleList(self.hook_dict.values())
        self.cfg = SimpleNamespace(n_layers=1, n_heads=1, n_ctx=None, d_vocab=HMM.vocab_size, attention_dir="causal")
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        beliefs = self.filtered(tokens, None)
        stream = self.hook_dict[HOOK](beliefs @ self.plane)
        read = stream @ self.plane.T
        if self.hands_on:
            read = self.filtered(tokens, read)
        return (read @ torch.from_numpy(HMM.emissions.copy())).clamp_min(1e-12).log()

    def filtered(self, tokens: Tensor, standing: Tensor | None) -> Tensor:
        """Beliefs after every token; where one was edited, filtering goes on from it."""
        belief = torch.from_numpy(HMM.start.copy()).expand(len(tokens), -1)
        found = []
        own = self.filtered(tokens, None) if standing is not None else None
        for place in range(tokens.shape[1]):
            joint = torch.einsum("ns,nsj->nj", belief, self.steps[tokens[:, place]])
            belief = joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-12)
            if standing is not None and own is not None:
                edited = ((standing[:, place] - own[:, place]).abs() > 1e-9).any(dim=1, keepdim=True)
                belief = torch.where(edited, standing[:, place], belief)
            found.append(belief)
        return torch.stack(found, dim=1)

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: list) -> Tensor:
        assert not fwd_hooks
        return self(tokens)

    def run_with_cache(self, tokens: Tensor) -> tuple[Tensor, dict]:
        raise NotImplementedError


def written(model, pairs):
    rng = mechbp.rng(0, "fit")
    sample = HMM.sample(1500, rng, POSITION + 1)
    activations = to_array(capture(model, sample.tokens, HOOK)[HOOK])[:, -1:]
    belief = HMM.beliefs(sample.tokens)[:, -1:]
    rank, next_rank = (np.linalg.matrix_rank(np.cov(rows[:, 0].T), tol=1e-9) for rows in (belief, HMM.predictive(belief)))
    edits = {
        WHOLE: whole_vector,
        "belief": component(mean_subspace(activations, belief, int(rank))),
        "next token": component(mean_subspace(activations, HMM.predictive(belief), int(next_rank))),
        "another's": component_of_others(mean_subspace(activations, belief, int(rank)), rng.permutation(len(pairs))),
        "erased": without(leace(activations, belief)),
    }
    return write_at(model, pairs.base, pairs.source, POSITION, HOOK, edits)


@pytest.fixture(scope="module")
def alike():
    return future_pairs(HMM, POSITION, LENGTH, 60, mechbp.rng(0, "alike"), alike_now=True)


def test_a_model_that_hands_its_belief_on_follows_the_one_written(alike):
    found = written(Filter(hands_on=True), alike)
    rng = mechbp.rng(0, "interval")
    assert found.moved(WHOLE, alike.handed, LATER, rng).mean == pytest.approx(1, abs=1e-9)
    assert found.moved("belief", alike.handed, LATER, rng).mean == pytest.approx(1, abs=1e-6)
    for rival in ("next token", "another's", "erased", NOTHING):  # erased is a strong rival: the prior rules no token out
        assert found.moved_beyond("belief", rival, alike.handed, LATER, rng).low > 0, rival
    assert found.nearer("belief", alike.handed, alike.own, LATER, rng).low > 0


def test_one_that_computes_beliefs_anew_follows_in_place_alone():
    pairs = future_pairs(HMM, POSITION, LENGTH, 60, mechbp.rng(0, "any"))
    found = written(Filter(hands_on=False), pairs)
    rng = mechbp.rng(0, "interval")
    assert found.moved(WHOLE, pairs.handed, LATER, rng).mean == pytest.approx(0, abs=1e-12)
    assert found.nearer(WHOLE, pairs.own, pairs.handed, LATER, rng).low > 0
    assert found.nearer(WHOLE, pairs.handed, pairs.own, NOW, rng).low > 0
    # Answers after the edit that were not asked for stay those of the unedited run, to the bit.
    np.testing.assert_array_equal(found.answers[WHOLE][:, LATER], found.answers[NOTHING][:, LATER])


def test_answers_of_other_hooks_stand_beside_and_unknown_ones_are_refused(alike):
    found = write_at(Filter(hands_on=True), alike.base, alike.source, POSITION, HOOK, {WHOLE: whole_vector})
    beside = found.beside({"token": alike.own})
    assert beside.kl_nats("token", alike.own).max() < 1e-12 and set(found.answers) == {NOTHING, WHOLE}
    with pytest.raises(InputError, match="no edit 'token' here"):
        found.kl_nats("token", alike.own)
    with pytest.raises(InputError, match="a position inside"):
        write_at(Filter(hands_on=True), alike.base, alike.source, LENGTH, HOOK, {})
    with pytest.raises(InputError, match="'flat' gives"):
        write_at(Filter(hands_on=True), alike.base, alike.source, POSITION, HOOK, {"flat": lambda base, source: base[..., :1]})

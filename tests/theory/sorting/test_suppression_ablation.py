"""What is left of a head if only its suppression is: all or nothing on compiled sorters, loop by loop on random models."""

import copy

import numpy as np
import pytest
import torch
from sorter_cases import every_list, untrained_sorter

from mechbp.errors import InputError
from mechbp.hooks import capture, edit
from mechbp.methods.patching.ablate import Mean
from mechbp.models.architectures import build_model
from mechbp.models.compiled.sorter import compile_sorter
from mechbp.models.config import ModelConfig
from mechbp.randomness import rng
from mechbp.theory.sorting.head_ablation import ablated_forward
from mechbp.theory.sorting.rollout import asked_logits
from mechbp.theory.sorting.suppression_ablation import suppression_forward, suppression_scores, unembedding_directions

LISTS, TOKENS = every_list(8, 3)
HOOKS = ["blocks.0.attn.hook_v", "blocks.0.attn.hook_pattern", "blocks.0.attn.hook_z"]


def log_p(model, run):
    return torch.from_numpy(asked_logits(run, model, LISTS, TOKENS)).log_softmax(dim=-1).numpy()


def of(model, heads, stand_in="zero", **options):
    return log_p(model, suppression_forward(model, LISTS, heads, stand_in, **options))


def test_all_of_a_suppressor_of_named_values_is_kept():
    sorter = compile_sorter(LISTS, "suppression", suppressor_reads="answer", confidence=8.0)
    model = sorter.model
    whole = log_p(model, ablated_forward(model, LISTS, [], "zero"))
    np.testing.assert_allclose(of(model, [1]), whole, rtol=0, atol=1e-12)
    without = log_p(model, ablated_forward(model, LISTS, [1], "zero"))
    assert np.abs(whole - without).max() > 1


@pytest.mark.parametrize(
    ("kind", "head", "sources"),
    [("suppression", 0, "answer"), ("splitting", 0, "anywhere"), ("overlap", 1, "anywhere"), ("suppression", 1, "answer")],
)
def test_nothing_of_a_copier_is_kept_nor_of_a_suppressor_of_values_to_come(kind, head, sources):
    model = compile_sorter(LISTS, kind, confidence=8.0).model
    without = log_p(model, ablated_forward(model, LISTS, [head], "zero"))
    np.testing.assert_allclose(of(model, [head], sources=sources), without, rtol=0, atol=1e-12)


def kept_by_hand(model, tokens, head, sources):
    """What is kept of one head, [sequence, position, d], source by source."""
    shown = tokens[:, :-1]
    v, pattern, z = (capture(model, shown, HOOKS)[name].numpy() for name in HOOKS)
    output = model.blocks[0].attn.W_O[head].detach().numpy()
    scale, unembed = model.ln_final.w.detach().numpy(), model.unembed.W_U.detach().numpy()
    directions = []
    for token in range(8):
        u = scale * (unembed[:, token] - unembed.mean(axis=1))
        directions.append(u - u.mean())
    kept = np.zeros((*shown.shape, 16))
    for i, row in enumerate(shown):
        for p in range(len(row)):
            named = {int(row[j]) for j in range(4, p + 1)}
            for s in range(p + 1):
                if row[s] == 8 or int(row[s]) not in named or (sources == "answer" and s <= 3):
                    continue
                u = directions[row[s]]
                kept[i, p] += pattern[i, head, p, s] * min(0.0, (v[i, s, head] @ output) @ u) / (u @ u) * u
    return kept, z[:, :, head] @ output


@pytest.mark.parametrize("sources", ["answer", "anywhere"])
@pytest.mark.parametrize("stand_in", ["zero", "mean"])
def test_what_is_kept_equals_loops(sources, stand_in):
    model, head, reference = untrained_sorter(1), 1, TOKENS[::3]
    kept, whole = kept_by_hand(model, TOKENS, head, sources)
    rest = 0.0
    if stand_in == "mean":
        theirs, all_of_it = kept_by_hand(model, reference, head, sources)
        rest = (all_of_it - theirs).mean(axis=0)
    difference = torch.from_numpy(kept - whole + rest)
    with torch.no_grad(), edit(model, {"blocks.0.hook_attn_out": lambda out: out + difference}):
        expected = model(torch.from_numpy(TOKENS[:, :-1]))[:, 3:].log_softmax(dim=-1).numpy()
    assert np.abs(kept).max() > 1e-3
    found = of(model, [head], "zero" if stand_in == "zero" else Mean(reference), sources=sources)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_zero_stands_in_for_what_is_removed():
    """Without a layer norm, which takes off whatever is added to all dimensions alike."""
    config = ModelConfig(1, 2, 16, 0, "gelu", "none", "causal", d_head=8)
    model = build_model(config, d_vocab=9, d_vocab_out=9, n_ctx=7, seed=2).to(torch.float64)
    empty = copy.deepcopy(model)
    with torch.no_grad():
        empty.blocks[0].attn.W_V[1] = 0  # writes nothing, so that nothing of it is removed
        expected = empty(torch.from_numpy(TOKENS[:, :-1]))[:, 3:].log_softmax(dim=-1).numpy()
    np.testing.assert_allclose(of(empty, [1]), expected, rtol=0, atol=1e-12)


def test_a_separator_among_the_answers_names_no_value():
    """A model that goes on from its own answers may have said SEP."""
    model, tokens = untrained_sorter(1), TOKENS.copy()
    tokens[:, 4] = LISTS.separator
    kept, whole = kept_by_hand(model, tokens, 1, "anywhere")
    difference = torch.from_numpy(kept - whole)
    run = suppression_forward(model, LISTS, [1], "zero", sources="anywhere")
    with torch.no_grad(), edit(model, {"blocks.0.hook_attn_out": lambda out: out + difference}):
        expected = model(torch.from_numpy(tokens[:, :-1]))[:, 3:].numpy()
    np.testing.assert_allclose(asked_logits(run, model, LISTS, tokens), expected, rtol=0, atol=1e-12)


def test_heads_are_kept_one_by_one_or_together():
    model = untrained_sorter(1)
    kept = [kept_by_hand(model, TOKENS, head, "answer") for head in (0, 1)]
    difference = torch.from_numpy(sum(part - whole for part, whole in kept))
    with torch.no_grad(), edit(model, {"blocks.0.hook_attn_out": lambda out: out + difference}):
        expected = model(torch.from_numpy(TOKENS[:, :-1]))[:, 3:].log_softmax(dim=-1).numpy()
    np.testing.assert_allclose(of(model, [0, 1]), expected, rtol=0, atol=1e-12)


def test_directions_are_those_of_the_folded_model():
    """Along u, as the norm lets it through, the logit of u's token rises over the mean by |u|^2, and folding changes nothing."""
    model = untrained_sorter(2)
    u = unembedding_directions(model).detach()
    folded = copy.deepcopy(model)
    folded.process_weights_(refactor_factored_attn_matrices=False)
    np.testing.assert_allclose(unembedding_directions(folded).detach().numpy(), u.numpy(), rtol=0, atol=1e-6)  # folds in float32
    scaled = u - u.mean(dim=1, keepdim=True)
    logits = (scaled * model.ln_final.w.detach()) @ model.unembed.W_U.detach()
    rise = (logits - logits.mean(dim=1, keepdim=True)).diagonal()
    np.testing.assert_allclose(rise.numpy(), u.square().sum(dim=1).numpy(), rtol=0, atol=1e-12)


def test_scores_are_those_of_the_forward():
    model = untrained_sorter(1)
    found = suppression_scores(model, LISTS, TOKENS, [0], Mean(TOKENS), rng=rng(0))
    truth = np.take_along_axis(of(model, [0], Mean(TOKENS)), TOKENS[:, 4:, None], axis=-1)
    assert float(found.cross_entropy_nats.mean) == pytest.approx(-truth.mean(), abs=1e-12) and found.rolled_out is not None


def test_refusals():
    model = untrained_sorter(1)
    with pytest.raises(InputError, match="suppression_scores: heads must be distinct and among 0..1"):
        suppression_forward(model, LISTS, [5], "zero")
    with pytest.raises(InputError, match="sources must be 'answer' or 'anywhere', got 'list'"):
        suppression_forward(model, LISTS, [0], "zero", sources="list")
    with pytest.raises(InputError, match="stand_in must be 'zero' or Mean"):
        suppression_forward(model, LISTS, [0], "mean")

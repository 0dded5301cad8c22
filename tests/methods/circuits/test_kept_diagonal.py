"""Halves of a head's OV: the diagonal and the rest add up, and a compiled head is all diagonal."""

import numpy as np
import pytest
from random_models import random_model

from mechbp.errors import InputError
from mechbp.methods.circuits.decompose import decompose
from mechbp.methods.circuits.kept_diagonal import SCALES, kept_logits
from mechbp.methods.circuits.tables import along_own
from mechbp.models.compiled.sorter import compile_sorter
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.randomness import rng


def differences(logits):
    """What a softmax sees."""
    return logits - logits.mean(axis=-1, keepdims=True)


def test_a_head_that_writes_to_the_token_alone_is_all_diagonal():
    lists = SortedLists(8, 3)
    tokens = lists.sample(20, rng(0)).tokens[:, :-1]
    parts = decompose(compile_sorter(lists, "suppression").model, tokens, range(3, 6))
    for head in (0, 1):
        found = kept_logits(parts, head)
        for scale in SCALES:
            np.testing.assert_allclose(found["diagonal", scale], differences(parts.logits), rtol=0, atol=1e-10)
            without = differences(parts.logits - parts.heads[:, :, head])
            np.testing.assert_allclose(found["rest", scale], without, rtol=0, atol=1e-10)


def test_halves_are_those_of_a_walk_through_all_keys():
    model = random_model()
    n_tokens, outputs = model.cfg.d_vocab, model.cfg.d_vocab_out
    tokens = rng(1).integers(n_tokens, size=(4, model.cfg.n_ctx))
    parts = decompose(model, tokens, [model.cfg.n_ctx - 1])
    head = 1
    found = kept_logits(parts, head)
    edited = parts.with_writes(
        np.concatenate([parts.writes[:1], along_own(parts.writes[1:2], parts.unembedding), parts.writes[2:]]), scale="recomputed"
    )
    for row in range(4):
        for scale, sigma in (("frozen", parts.sigma[row, 0]), ("recomputed", edited.sigma[row, 0])):
            kept = np.zeros(outputs)
            for key, token in enumerate(tokens[row]):
                line = parts.ov[head, key, token]
                if token < outputs:
                    kept[token] += parts.patterns[row, head, 0, key] * (line[token] - np.delete(line, token).mean())
            others = parts.logits[row, 0] - parts.heads[row, 0, head] - parts.unembed_bias
            by_hand = (others * parts.sigma[row, 0] + kept) / sigma + parts.unembed_bias
            np.testing.assert_allclose(
                differences(found["diagonal", scale][row, 0]), differences(by_hand), rtol=0, atol=1e-9 * np.abs(by_hand).max()
            )
    whole = found["diagonal", "frozen"] + found["rest", "frozen"]
    without = parts.logits - parts.heads[:, :, head]
    np.testing.assert_allclose(differences(whole), differences(parts.logits + without), rtol=0, atol=1e-9 * np.abs(whole).max())


def test_unknown_heads_are_refused():
    lists = SortedLists(8, 3)
    parts = decompose(compile_sorter(lists).model, lists.sample(2, rng(0)).tokens[:, :-1], range(3, 6))
    with pytest.raises(InputError, match=r"head must be among 0\.\.1"):
        kept_logits(parts, 2)

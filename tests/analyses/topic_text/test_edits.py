"""Edits of attention: groups of pairs, averages, which heads are chosen, and what is counted as change."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("gensim", reason="the page about topics in text needs pip install 'mechbp[text]'")

from analyses.topic_text import attention, edits
from analyses.topic_text.corpus import NO_WORD, PASSAGE
from analyses.topic_text.encoder import Encoder
from mechbp.hooks import capture, edit
from mechbp.models.text_encoder import text_encoder
from mechbp.randomness import rng
from mechbp.study import Study


def test_groups_part_bands_and_classes(passages, fit):
    some = passages[np.arange(2)]
    over, within = (edits.groups_of(some, fit, within=within) for within in (False, True))
    words, topics = some.words[0], fit.topics_of(edits.THRESHOLD)
    for query, key in rng(5).integers(PASSAGE, size=(300, 2)):
        one, other = words[query], words[key]
        edited = NO_WORD not in (one, other) and one != other
        assert (over[0, query, key] != edits.NOT_EDITED) == edited == (within[0, query, key] != edits.NOT_EDITED)
        if edited:
            band = 2 * attention.band_of(np.array([abs(key - query)]))[0] + (key > query)
            assert over[0, query, key] == 2 * band
            assert within[0, query, key] == 2 * band + bool((topics[one] & topics[other]).any())
    assert over.max() < within.max() + 2 <= 4 * len(attention.DISTANCES)


def test_averages_keep_rows_and_groups(passages, fit):
    groups = torch.from_numpy(edits.groups_of(passages[np.arange(2)], fit, within=True))
    pattern = torch.rand((2, 3, PASSAGE, PASSAGE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = edits.averaged(pattern, groups)
    torch.testing.assert_close(found.sum(-1), pattern.sum(-1), rtol=0, atol=1e-10)
    kept = (groups == edits.NOT_EDITED)[:, None].expand_as(pattern)
    assert torch.equal(found[kept], pattern[kept])
    row = groups[1, 40] if (groups[1, 40] != edits.NOT_EDITED).any() else groups[1, 41]
    at = 40 if row is groups[1, 40] or torch.equal(row, groups[1, 40]) else 41
    for group in row[row != edits.NOT_EDITED].unique():
        members = row == group
        torch.testing.assert_close(found[1, 2, at, members], pattern[1, 2, at, members].mean().expand(int(members.sum())))


def test_heads_are_chosen_block_by_block():
    topical = np.array([[1.0, 3.0, 2.0, 0.5, 0.1, 1.5], [5.0, 4.0, 1.0, 2.0, 3.0, 0.0]])
    most, least, random_sets = edits.head_sets(topical, rng(6))
    assert most == [[1, 2], [0, 1]] and [set(block) for block in least] == [{3, 4}, {2, 5}]
    assert len(random_sets) == edits.RANDOM_SETS
    for heads in random_sets:
        assert all(not set(block) & set(own) and len(set(block)) == 2 for block, own in zip(heads, most, strict=True))


def test_changes_are_of_the_mean_and_of_words_only(passages):
    some = passages[np.arange(2)]
    base = rng(7).normal(size=(2, PASSAGE, 4))
    assert np.abs(edits.change(base, 3 * base, some)).max() < 1e-12
    elsewhere = base.copy()
    elsewhere[some.words == NO_WORD] *= -1
    found = edits.change(base, elsewhere, some)
    assert (found[:, 0] > 1e-3).all() and np.abs(found[:, 1]).max() < 1e-12
    words = base.copy()
    words[some.words != NO_WORD] *= -1
    np.testing.assert_allclose(edits.change(base, words, some)[:, 1], 2, rtol=1e-12)


@pytest.fixture(scope="module")
def encoder(passages):
    """Two blocks of three heads with random weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "embeddings.word_embeddings.weight": (12, 6),
        "embeddings.position_embeddings.weight": (PASSAGE, 6),
        "embeddings.token_type_embeddings.weight": (2, 6),
        "embeddings.LayerNorm.weight": (6,),
        "embeddings.LayerNorm.bias": (6,),
    }
    for layer in range(2):
        here = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= {f"{here}.attention.self.{part}.weight": (6, 6), f"{here}.attention.self.{part}.bias": (6,)}
        shapes |= {f"{here}.attention.output.dense.weight": (6, 6), f"{here}.attention.output.dense.bias": (6,)}
        shapes |= {f"{here}.intermediate.dense.weight": (8, 6), f"{here}.intermediate.dense.bias": (8,)}
        shapes |= {f"{here}.output.dense.weight": (6, 8), f"{here}.output.dense.bias": (6,)}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{here}.{norm}.weight": (6,), f"{here}.{norm}.bias": (6,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return Encoder(text_encoder(weights, n_heads=3, act_fn="gelu", eps=1e-12), None, weights, {})


@pytest.fixture(scope="module")
def read(passages):
    """Six of the passages, with tokens that the encoder knows."""
    some = passages[np.arange(6)]
    return replace(some, tokens=rng(11).integers(12, size=some.tokens.shape))


def test_attention_is_from_the_query_to_the_key_in_order_of_heads(encoder, read):
    positions = attention.word_positions(read)
    found = attention.attention_between(encoder, read, positions)
    patterns = [capture(encoder.model, read.tokens, f"blocks.{layer}.attn.hook_pattern") for layer in range(2)]
    assert found.shape == (len(positions.query), 6) and positions.passage.max() == 5
    for pair in rng(12).integers(len(found), size=50):
        p, q, k = positions.passage[pair], positions.query[pair], positions.key[pair]
        expected = np.concatenate([pattern.popitem()[1][p, :, q, k] for pattern in map(dict, patterns)])
        np.testing.assert_allclose(found[pair], PASSAGE * expected, rtol=1e-5)


def test_only_the_heads_named_are_averaged(encoder, read, fit):
    groups = edits.groups_of(read, fit, within=False)
    base = edits.outputs(encoder.model, read)
    np.testing.assert_allclose(edits.outputs(encoder.model, read, [[], []], groups), base, rtol=0, atol=0)
    nothing = np.full_like(groups, edits.NOT_EDITED)
    np.testing.assert_allclose(edits.outputs(encoder.model, read, [[0, 1], [2]], nothing), base, rtol=0, atol=1e-6)
    edited = edits.outputs(encoder.model, read, [[], [1]], groups)
    assert np.abs(edited - base).max() > 1e-3

    def by_hand(pattern):
        pattern[:, 1] = edits.averaged(pattern, torch.from_numpy(groups))[:, 1]
        return pattern

    with edit(encoder.model, {"blocks.1.attn.hook_pattern": by_hand}), torch.no_grad():
        truth = encoder.model(torch.from_numpy(read.tokens)).double().numpy()
    np.testing.assert_allclose(edited, truth, rtol=0, atol=1e-5)


def test_heads_are_chosen_on_other_passages_than_they_are_edited_in(encoder, passages, known, monkeypatch):
    chosen = replace(passages[np.arange(12)], tokens=np.zeros((12, PASSAGE), dtype=np.int64), article=np.arange(12))
    topical = np.array([[1.0, 3, 2, 0, 5, 4], [1, 3, 2, 0, 5, 4]])
    seen = []
    monkeypatch.setattr(
        edits,
        "outputs",
        lambda model, some, heads=None, groups=None: seen.append((some.article, heads)) or np.ones((len(some), PASSAGE, 2)),
    )
    results = edits.study_edits(
        Study((), True, lambda text: None), replace(known, encoder=encoder), SimpleNamespace(chosen=chosen, topical=topical)
    )  # fmt: skip
    assert all((article % 2 == 1).all() for article, _ in seen) and results.n_passages == 3
    assert [heads for _, heads in seen[1:5]] == [[[4, 5]] * 2] * 3 + [[[0, 3]] * 2] and len(seen) == 5 + edits.RANDOM_SETS

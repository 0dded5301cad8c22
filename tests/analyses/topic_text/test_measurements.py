"""Topics in text: pairs, matching, controls and edits, on text and attention made up so that the truth is known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("gensim", reason="the page about topics in text needs pip install 'mechbp[text]'")

from analyses.topic_text import attention, checks, comparison, corpus, edits, embeddings, material
from analyses.topic_text.comparison import OWN, SHUFFLED, TRAINED, UNMATCHED
from analyses.topic_text.corpus import NO_WORD, PASSAGE, Passages
from analyses.topic_text.encoder import Encoder
from analyses.topic_text.topics import TopicFit, fit_topics, share_topic
from mechbp.hooks import capture, edit
from mechbp.methods.statistics.matched_pairs import CrossedResampling
from mechbp.models.architectures import text_encoder
from mechbp.randomness import rng
from mechbp.study import Study

N_WORDS = 40
N_TOPICS = 5


@pytest.fixture(scope="module")
def passages():
    """60 passages in which words of a topic stand together, and a third of the positions hold none."""
    draw = rng(0, "passages")
    topic = np.repeat(draw.integers(N_TOPICS, size=(60, PASSAGE // 8)), 8, axis=1)
    words = topic + N_TOPICS * draw.integers(N_WORDS // N_TOPICS, size=topic.shape)
    words = np.where(draw.random(words.shape) < 1 / 3, NO_WORD, words)
    names = tuple(f"word{number}" for number in range(N_WORDS))
    return Passages(np.full(words.shape, 7), words, np.repeat(np.arange(6), 10), names, np.arange(N_WORDS))


@pytest.fixture(scope="module")
def fit():
    """Word w is of topic w mod 5; every fourth one is of the next topic too."""
    given = np.full((N_WORDS, N_TOPICS), 0.01)
    word = np.arange(N_WORDS)
    given[word, word % N_TOPICS] = 0.9
    twice = word % 4 == 0
    given[twice, word[twice] % N_TOPICS] = 0.55
    given[twice, (word[twice] + 1) % N_TOPICS] = 0.4
    return TopicFit(N_TOPICS, 0, given / given.sum(axis=1, keepdims=True), np.ones((N_TOPICS, N_WORDS)) / N_WORDS)


@pytest.fixture(scope="module")
def known(passages, fit):
    """Material without an encoder."""
    control = material.shuffled(fit, material.bands_of(passages.counts), rng(1))
    return material.Material([], 0, passages, passages, (fit,), (control,), None, None)


@pytest.fixture(scope="module")
def positions(passages):
    return attention.word_positions(passages)


def pairs_of(passages, positions, known, values, resamples=20):
    return attention.position_pairs(passages, positions, known, values, rng(2), resamples)


def test_pairs_are_all_positions_of_different_words(passages, positions):
    brute = {
        (p, q, k)
        for p in range(3)
        for q in range(PASSAGE)
        for k in range(PASSAGE)
        if NO_WORD not in (passages.words[p, q], passages.words[p, k]) and passages.words[p, q] != passages.words[p, k]
    }
    found = set(zip(*(part.tolist() for part in (positions.passage, positions.query, positions.key)), strict=True))
    assert {pair for pair in found if pair[0] < 3} == brute


def test_pairs_share_a_topic_where_sets_meet(fit):
    topics = fit.topics_of(0.3)
    assert topics[0].nonzero()[0].tolist() == [0, 1] and topics[1].nonzero()[0].tolist() == [1]
    first, second = np.meshgrid(np.arange(N_WORDS), np.arange(N_WORDS))
    brute = [[bool(set(topics[a].nonzero()[0]) & set(topics[b].nonzero()[0])) for a in range(N_WORDS)] for b in range(N_WORDS)]
    assert (share_topic(topics, first, second) == brute).all()
    many = np.zeros((2, 60), dtype=bool)
    many[0, 59] = many[1, 58] = True
    assert not share_topic(many, np.array([0]), np.array([1]))[0] and share_topic(many, np.array([0]), np.array([0]))[0]


def test_words_without_topics_are_in_neither_kind(passages, positions, known, fit):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, different),) = comparison.sharing(fit, pairs, [0.7])
    twice = (pairs.first % 4 == 0) | (pairs.second % 4 == 0)
    assert not (same | different)[twice].any() and (same | different)[~twice].all()
    assert (same[~twice] == (pairs.first % 5 == pairs.second % 5)[~twice]).all()


def test_distances_are_matched_one_by_one_before_and_after():
    signed = np.array([s for s in range(-127, 128) if s])
    cells = attention.distance_cells(signed)
    near = np.abs(signed) <= attention.EXACT
    assert len(np.unique(cells[near])) == near.sum() == 2 * attention.EXACT
    assert not set(cells[near]) & set(cells[~near])
    for cell in np.unique(cells[~near]):
        members = signed[cells == cell]
        assert np.ptp(members) == len(members) - 1 <= attention.STEP - 1 and (np.sign(members) == np.sign(members[0])).all()
    names = [attention.band_of(np.array([d]))[0] for d in (1, 2, 3, 4, 7, 8, 63, 64, 127)]
    assert names == [0, 1, 1, 2, 2, 3, 5, 6, 6]


def test_a_cell_is_one_distance_and_the_frequencies_of_both_words(passages, positions, known):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    band = known.frequency_band
    signed = attention.distance_cells(positions.key - positions.query)
    told = np.stack([signed, band[pairs.first], band[pairs.second]], axis=1)
    assert (pairs.first == passages.words[positions.passage, positions.query]).all()
    assert (
        len(np.unique(told, axis=0))
        == len(np.unique(np.column_stack([told, pairs.cells]), axis=0))
        == len(np.unique(pairs.cells))
    )


def test_attention_of_position_alone_has_ratio_1_when_matched(passages, positions, known):
    """Attention that only neighbours get is far from even in pairs that share, for words of a topic stand together."""
    signed = positions.key - positions.query
    head = np.stack([np.abs(signed) == 1, signed == 3, (np.abs(signed) <= 12) / (1 + np.abs(signed))], axis=1).astype(float)
    pairs = pairs_of(passages, positions, known, head)
    heads, by_band = attention.main_ratios(
        pairs, replace(pairs, values=head[:, 2:]), attention.band_of(np.abs(signed)), known, OWN
    )  # fmt: skip
    np.testing.assert_allclose(heads[TRAINED][0, 0], 1, rtol=1e-3)
    assert (heads[UNMATCHED][0, 0] > 1.5).all()
    np.testing.assert_allclose(by_band[TRAINED][0, 0, :4], 1, rtol=1e-3)


def test_planted_ratios_are_found(passages, positions, known):
    found, empty, unmatched = checks.planted_ratios(
        pairs_of(passages, positions, known, np.empty((len(positions.query), 0)), 1), positions, known
    )  # fmt: skip
    np.testing.assert_allclose(found, checks.PLANTED, rtol=0, atol=0.03)
    np.testing.assert_allclose(empty, 1, rtol=0, atol=0.02)
    assert (unmatched > 1.2).all()


def test_shuffled_topics_are_others_among_words_as_frequent(known, passages, fit):
    band = known.frequency_band
    assert np.bincount(band).min() > 0 and len(np.unique(band)) == material.BANDS
    assert [passages.counts[band == b].max() < passages.counts[band == b + 1].min() for b in range(4)] == [True] * 4
    order = material.exchanged(band, rng(3))
    assert (band[order] == band).all() and sorted(order) == list(range(N_WORDS)) and (order != np.arange(N_WORDS)).sum() > 20
    (control,) = known.shuffled
    assert (control.topic_given_word != fit.topic_given_word).any(axis=1).sum() > 15


def test_effects_have_their_sign_and_vanish_when_topics_are_shuffled(passages, positions, known, fit):
    """Pairs that share have the value 3, others 1."""
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, _),) = comparison.sharing(fit, pairs, [0.3])
    pairs = replace(pairs, values=np.where(same, 3.0, 1.0)[:, None])
    found = comparison.compare_over_fits(pairs, known, (0.3, 0.5), OWN)
    assert found.same[TRAINED].shape == (1, 21, 2, 1) and found.n_same[0, 0] == same.sum()
    np.testing.assert_allclose(found.same[TRAINED][:, :, 0], 3, rtol=1e-5)
    np.testing.assert_allclose(found.different[TRAINED][:, :, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(found.steady_same[TRAINED][:, :, 0], 3, rtol=1e-5)
    apart = (found.same[SHUFFLED] - found.different[SHUFFLED])[0, 0, 0, 0]
    assert abs(apart) < 0.7


def test_thresholds_are_compared_on_the_same_cells(passages, positions, known, fit):
    """A value of the cell alone has the same mean at every threshold, and in both kinds."""
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    pairs = replace(pairs, values=(pairs.coarse**1.5)[:, None])
    found = comparison.compare_over_fits(pairs, known, (0.1, 0.5, 0.7), (TRAINED,))
    steady = [found.steady_same[TRAINED][0, 0, :, 0], found.steady_different[TRAINED][0, 0, :, 0]]
    np.testing.assert_allclose(steady, steady[0][0], rtol=1e-4)
    assert np.ptp(found.same[TRAINED][0, 0, :, 0]) > 1e-2 * steady[0][0]


def test_the_topical_head_is_found(passages, positions, known, fit):
    pairs = pairs_of(passages, positions, known, np.empty((len(positions.query), 0)))
    ((same, _),) = comparison.sharing(fit, pairs, [0.5])
    even = positions.passage % 2 == 0
    values = np.stack([np.ones(len(same)), np.where(same & even, 2.0, 1.0), np.where(same & ~even, 9.0, 1.0)], axis=1)
    np.testing.assert_allclose(attention.topical_heads(replace(pairs, values=values), known, even), [1, 2, 1], rtol=1e-6)
    nobody = np.zeros(len(same), dtype=bool)
    assert attention.topical_heads(replace(pairs, values=values), known, nobody).tolist() == [1, 1, 1]


def test_similarities_are_those_of_each_pair(known, monkeypatch):
    vectors = rng(4).normal(size=(N_WORDS, 6))
    monkeypatch.setattr(embeddings, "static_embeddings", lambda encoder, passages: vectors)
    words = np.array([3, 30, 12, 7])
    pairs = embeddings.word_pairs(words, known, None, CrossedResampling.draw((4,), 2, rng(0)))
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(3, 30), (3, 12), (3, 7), (30, 12), (30, 7), (12, 7)]
    for row, (a, b) in enumerate(zip(vectors[pairs.first], vectors[pairs.second], strict=True)):
        np.testing.assert_allclose(pairs.values[row], [a @ b / np.sqrt((a @ a) * (b @ b)), a @ b], rtol=1e-12)
    bands = [tuple(sorted(known.frequency_band[[a, b]])) for a, b in zip(pairs.first, pairs.second, strict=True)]
    assert all((pairs.cells[i] == pairs.cells[j]) == (bands[i] == bands[j]) for i in range(6) for j in range(6))


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


def test_planted_topics_are_fitted_and_nothing_global_moves():
    draw = rng(8)
    topic = draw.integers(3, size=1000)
    words = topic[:, None] * 10 + draw.integers(10, size=(1000, 40))
    text = Passages(words, words, topic, tuple(map(str, range(30))), np.arange(30))
    before = np.random.get_state()[1].copy()
    fit, again = (fit_topics(text, 3, 0, rng(9)) for _ in range(2))
    assert (np.random.get_state()[1] == before).all()
    assert (fit.topic_given_word == again.topic_given_word).all() and (
        fit_topics(text, 3, 1, rng(10)).topic_given_word != fit.topic_given_word
    ).any()
    np.testing.assert_allclose(fit.topic_given_word.sum(axis=1), 1, rtol=1e-12)
    best = fit.topic_given_word.argmax(axis=1).reshape(3, 10)
    assert (best == best[:, :1]).all() and len(set(best[:, 0])) == 3 and fit.topic_given_word.max(axis=1).min() > 0.9
    assert set(fit.shown(text.vocabulary, int(best[1, 0])).split(", ")) <= {str(word) for word in range(10, 20)}


def test_lines_of_prose_are_kept():
    line = "A sentence of '''running''' text that is long enough to count as prose and not as a heading or a ''list'' item."
    heading = "== A heading that is long enough to count as prose but for the marks around it, and so on and on =="
    text = f"\n{heading}\n{line}\n* {line}\nshort\n"
    assert corpus.prose(text) == line.replace("'''", "").replace("''", "")


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


def test_topics_are_fitted_on_one_half_of_the_articles(monkeypatch):
    draw = rng(13)
    words = draw.integers(30, size=(80, PASSAGE))
    article = np.repeat(np.arange(8), 10)
    text = Passages(words, words, article, tuple(map(str, range(30))), np.arange(30))
    fitted_on = []

    def fit(passages, n_topics, seed, rng):
        fitted_on.append(set(passages.article))
        return TopicFit(n_topics, seed, draw.dirichlet(np.ones(n_topics), size=30), np.ones((n_topics, 30)))

    for name, stand_in in {
        "load_encoder": lambda: SimpleNamespace(tokenizer=None),
        "scrambled": lambda encoder, seed: None,
        "read_articles": lambda: list(range(8)),
        "cut_passages": lambda articles, tokenizer: text,
        "fit_topics": fit,
    }.items():
        monkeypatch.setattr(material, name, stand_in)
    found = material.gather(Study((), False, lambda text: None))
    assert len(found.fits) == 6 and len({(fit.n_topics, fit.seed) for fit in found.fits}) == 6
    assert all(on == set(found.fitted.article) and len(on) == 4 for on in fitted_on)
    assert set(found.fitted.article) | set(found.unseen.article) == set(range(8)) and len(set(found.unseen.article)) == 4
    assert all(a.topic_given_word.shape == b.topic_given_word.shape and (a.topic_given_word != b.topic_given_word).any()
               for a, b in zip(found.fits, found.shuffled, strict=True))  # fmt: skip

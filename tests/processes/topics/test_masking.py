"""Words are selected, hidden and replaced as often as the rates say, under both conventions."""

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.processes.topics.masking import MaskRates, mask_documents
from mechbp.processes.topics.topic_model import ABSENT, TopicModel

MODEL = TopicModel.disjoint(5, 4, alpha=0.5, length=(20, 40))
MASK = 20


def test_rates_of_the_literature():
    rates = MaskRates()
    assert (rates.rate, rates.keep, rates.random) == (0.15, 0.1, 0.1)
    assert (rates.genuine, rates.shown, rates.masked) == pytest.approx((0.865, 0.88, 0.12), abs=1e-15)
    assert MaskRates(0.5, 0.2, 0.3).genuine == 0.6 and MaskRates(0.5, 0.2, 0.3).masked == pytest.approx(0.25)


@pytest.mark.parametrize(("n_random_ids", "rates"), [(20, MaskRates()), (24, MaskRates(0.4, 0.15, 0.35))])
def test_words_are_hidden_as_often_as_the_rates_say(n_random_ids, rates):
    tokens = MODEL.sample(4000, mechbp.rng(0, "documents")).tokens
    given = tokens.copy()
    masked = mask_documents(tokens, rates, mechbp.rng(0, "masks"), mask_token=MASK, n_random_ids=n_random_ids)
    assert (tokens == given).all()
    present = tokens != ABSENT
    assert ((masked.shown == ABSENT) == ~present).all() and not (masked.selected & ~present).any()
    assert (masked.shown[~masked.selected] == tokens[~masked.selected]).all() and masked.selected.any(axis=1).all()
    shown, true = masked.shown[masked.selected], tokens[masked.selected]
    n = len(true)
    if rates.rate > 0.3:  # few documents are left without a word, so that the forced ones do not count
        assert n / present.sum() == pytest.approx(rates.rate, abs=4 * np.sqrt(rates.rate * (1 - rates.rate) / present.sum()))
    by_luck = 1 / n_random_ids
    masks = 1 - rates.keep - rates.random * (1 - by_luck * (n_random_ids > MASK))
    assert (shown == MASK).mean() == pytest.approx(masks, abs=4 * np.sqrt(masks * (1 - masks) / n))
    kept = rates.keep + rates.random * by_luck
    assert (shown == true).mean() == pytest.approx(kept, abs=4 * np.sqrt(kept * (1 - kept) / n))
    others = np.bincount(shown[(shown != true) & (shown != MASK)], minlength=n_random_ids)
    expected = rates.random * n * by_luck * 0.95  # of 20 words, one in 20 is the true one
    assert len(others) == n_random_ids and (others[:MASK] > expected - 5 * np.sqrt(expected)).all()
    assert (others[:MASK] < expected + 5 * np.sqrt(expected)).all() and (others[MASK + 1 :] > 0).all()


def test_one_word_is_selected_where_the_rates_select_none_anywhere_with_equal_probability():
    tokens = np.tile([3, 1, ABSENT, 2, 0, ABSENT], (40_000, 1))
    never = mask_documents(tokens, MaskRates(rate=0.0), mechbp.rng(1), mask_token=MASK, n_random_ids=20)
    assert (never.selected.sum(axis=1) == 1).all()
    counts = never.selected.sum(axis=0)
    assert (counts[[2, 5]] == 0).all() and (abs(counts[[0, 1, 3, 4]] - 10_000) < 4 * np.sqrt(7500)).all()
    some = mask_documents(tokens, MaskRates(), mechbp.rng(2), mask_token=MASK, n_random_ids=20)
    expected = 4 * 0.15 + 0.85**4
    assert some.selected.sum(axis=1).mean() == pytest.approx(expected, abs=0.02)
    everything = mask_documents(tokens[:9], MaskRates(1.0, 0.0, 0.0), mechbp.rng(3), mask_token=MASK, n_random_ids=20)
    assert (everything.shown == np.where(tokens[:9] == ABSENT, ABSENT, MASK)).all()
    kept = mask_documents(tokens[:9], MaskRates(1.0, 1.0, 0.0), mechbp.rng(3), mask_token=MASK, n_random_ids=20)
    assert (kept.shown == tokens[:9]).all() and kept.selected.sum() == 36


def test_the_same_generator_masks_the_same_words():
    tokens = MODEL.sample(50, mechbp.rng(4)).tokens
    one, same, other = (
        mask_documents(tokens, MaskRates(), mechbp.rng(5, name), mask_token=MASK, n_random_ids=20) for name in ("a", "a", "b")
    )
    assert (one.shown == same.shown).all() and (one.selected == same.selected).all() and (one.selected != other.selected).any()


def call(tokens, **changed):
    return mask_documents(np.array(tokens), MaskRates(), mechbp.rng(0), **{"mask_token": 5, "n_random_ids": 5, **changed})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: call([[1, 2], [ABSENT, ABSENT]]), "document 1 has no words"),
        (lambda: call([1, 2]), r"tokens must be integers \[n, length\], got int64 of shape \[2\]"),
        (lambda: call([[1.0]]), "tokens must be integers"),
        (lambda: call([[1]], n_random_ids=0), "n_random_ids must be an integer >= 1, got 0"),
        (lambda: call([[1]], mask_token=-1), "mask_token must be an integer >= 0, got -1"),
        (lambda: MaskRates(rate=1.5), "MaskRates: rate must be a probability, got 1.5"),
        (lambda: MaskRates(keep=0.6, random=0.6), "keep . random must be at most 1, got 0.6 . 0.6"),
    ],
)
def test_requests_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()

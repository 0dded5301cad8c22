"""Beliefs of documents that show random words among their own: convolution, quadrature, supports and plain sums agree."""

import numpy as np
import pytest
from brute_topics import dirichlet_prior, posterior, random_topics, support_prior
from scipy.integrate import quad

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.processes.topics.listed import listed_posterior
from mechbp.processes.topics.masking import MaskRates, mask_documents
from mechbp.processes.topics.noisy import asked_word_posterior, noisy_beliefs
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import ABSENT, TopicModel
from mechbp.processes.topics.words import classes_of

EXACT = {"rtol": 0, "atol": 1e-12}
RATES = MaskRates()


@pytest.mark.parametrize(("counts", "mean"), [((4, 1), 0.7594940239), ((12, 0), 0.9611903306), ((3, 9), None)])
def test_two_topics_equal_an_integral(counts, mean):
    model = TopicModel.disjoint(2, 3, alpha=0.5)
    tokens = np.array([[*range(3)] * 4 + [3] * 9])
    seen = np.array([[i < counts[0] for i in range(12)] + [i < counts[1] for i in range(9)]])
    found = noisy_beliefs(model, tokens, RATES, seen)

    def integral(power):  # theta = sin^2 takes the poles of Beta(1/2, 1/2) out: its density is 2 / pi in the angle
        def integrand(angle):
            theta = np.sin(angle) ** 2
            shown = (0.865 * theta / 3 + 0.015 / 6) ** counts[0] * (0.865 * (1 - theta) / 3 + 0.015 / 6) ** counts[1]
            return 2 / np.pi * theta**power * shown

        return quad(integrand, 0, np.pi / 2, epsabs=0, epsrel=1e-13, limit=200)[0]

    np.testing.assert_allclose(found.proportions[0, 0], integral(1) / integral(0), **EXACT)
    np.testing.assert_allclose(found.log_evidence[0], np.log(integral(0)), **EXACT)
    if mean is not None:
        assert found.proportions[0, 0] == pytest.approx(mean, abs=6e-11)


def test_noisy_beliefs_equal_the_sum_over_all_assignments_and_all_noise():
    for i in range(200):
        rng = mechbp.rng(0, "noisy", i)
        table = random_topics(rng)
        if i % 2:
            table = table * (np.arange(len(table))[:, None] == table.argmax(axis=0))
            table = table[table.any(axis=1)]
            table = table / table.sum(axis=1, keepdims=True)
        n_topics = len(table)
        keep = rng.random()
        rates = MaskRates(float(rng.random()), keep, (1 - keep) * rng.random())
        alpha = rng.gamma(1.0, size=n_topics) + 0.02
        tau = int(rng.integers(1, n_topics + 1))
        tokens = rng.integers(table.shape[1], size=(1, int(rng.integers(5))))
        seen = rng.random(tokens.shape) < 0.8
        words = [int(w) if shown else None for w, shown in zip(tokens[0], seen[0], strict=True)]
        genuine = 1 - rates.rate + rates.rate * rates.keep
        shown = genuine * table + rates.rate * rates.random / table.shape[1]
        for process, prior in (
            (TopicModel(table, alpha), dirichlet_prior(alpha)),
            (SupportMixture(table, tau), support_prior(n_topics, tau)),
        ):
            expected = posterior(shown, prior, words)
            found = noisy_beliefs(process, tokens, rates, seen)
            np.testing.assert_allclose(found.proportions[0], expected.proportions, **EXACT)
            np.testing.assert_allclose(found.predictive[0], expected.proportions @ table, **EXACT)
            np.testing.assert_allclose(found.log_evidence[0], np.log(expected.evidence), **EXACT)


UNEVEN = np.array([[0.1, 0.2, 0.2, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0.3, 0.7, 0, 0], [0, 0, 0, 0, 0, 0, 1.0, 0]])


@pytest.mark.parametrize("rates", [RATES, MaskRates(1.0, 0.1, 0.5), MaskRates(1.0, 0.0, 1.0), MaskRates(0.3, 0.0, 1e-9)])
@pytest.mark.parametrize("alpha", [np.full(3, 0.1), np.array([0.01, 2.0, 0.5])])
def test_convolution_equals_quadrature_on_long_documents(rates, alpha):
    model = TopicModel(UNEVEN, alpha)
    rng = mechbp.rng(1, "long")
    tokens = np.concatenate([model.sample(6, rng, length=200).tokens, rng.integers(8, size=(6, 200))])
    tokens = np.where(rng.random(tokens.shape) < 0.1, ABSENT, tokens)
    found = noisy_beliefs(model, tokens, rates)
    shown = classes_of(rates.genuine * UNEVEN + rates.rate * rates.random / 8)
    histogram = np.stack([np.bincount(row[row >= 0], minlength=8) for row in tokens])
    expected = listed_posterior(model.listed_proportions(200), shown, shown.counts(histogram))
    np.testing.assert_allclose(found.proportions, expected.proportions, **EXACT)
    np.testing.assert_allclose(found.log_evidence, expected.log_evidence + histogram @ shown.log_factor, **EXACT)


def test_ten_topics_and_a_thousand_words_stay_finite():
    model = TopicModel.disjoint(10, 10, alpha=0.1)
    rng = mechbp.rng(2, "ten")
    tokens = np.concatenate([model.sample(3, rng, length=1000).tokens, rng.integers(100, size=(3, 1000)), np.full((1, 1000), 7)])
    for rates in (RATES, MaskRates(1.0, 0.05, 0.95), MaskRates(0.15, 0.1, 1e-12)):
        found = noisy_beliefs(model, tokens, rates)
        np.testing.assert_allclose(found.proportions.sum(axis=1), 1, **EXACT)
        assert np.isfinite(found.log_evidence).all() and (found.proportions > 0).all()
        alone = noisy_beliefs(model, tokens[:1, ::-1], rates)
        np.testing.assert_allclose(alone.proportions, found.proportions[:1], rtol=0, atol=1e-13)
    with pytest.raises(LimitExceeded, match="a document shows 1,001 words; at most 1,000 are summed over"):
        noisy_beliefs(model, np.zeros((1, 1001), int), RATES)


@pytest.mark.parametrize(
    "process", [TopicModel.disjoint(3, 2, 0.4), TopicModel.ring(3, 2, 1, 0.3, 0.4), SupportMixture.disjoint(4, 2, 2)]
)
def test_without_noise_they_are_the_beliefs(process):
    tokens = process.sample(300, mechbp.rng(3), length=(4, 9)).tokens
    clean = process.beliefs(tokens)
    for rates in (MaskRates(0.0), MaskRates(0.4, 1.0, 0.0)):
        found = noisy_beliefs(process, tokens, rates)
        for name in ("proportions", "predictive", "log_evidence"):
            np.testing.assert_allclose(getattr(found, name), getattr(clean, name), **EXACT)


def test_supports_by_hand():
    """The likelihood of a set of topics is prod_t (a 1[t in it] / tau + b / T)^n_t, up to what all sets share."""
    found = noisy_beliefs(SupportMixture.disjoint(3, 2, 2), np.array([[0, 1, 4]]), RATES)
    inside, outside = 0.865 / 2 + 0.015 / 3, 0.015 / 3
    weight = np.array([inside**2 * outside, inside**3, outside**2 * inside])  # {0, 1}, {0, 2}, {1, 2}
    share = weight / weight.sum()
    np.testing.assert_allclose(found.proportions[0], [share[:2].sum() / 2, share[::2].sum() / 2, share[1:].sum() / 2], **EXACT)


def test_noise_makes_masked_documents_calibrated():
    """Among masked documents, the proportions are on average what is believed of them; without the noise they are not."""
    mixture = SupportMixture.disjoint(4, 5, 2)
    sample = mixture.sample(20_000, mechbp.rng(4), length=10)
    rates = MaskRates(0.6, 0.2, 0.6)
    masked = mask_documents(sample.tokens, rates, mechbp.rng(5), mask_token=20, n_random_ids=20)
    found = noisy_beliefs(mixture, masked.shown, rates)
    inside = sample.proportions > 0
    believed = 2 * found.proportions  # P(topic is in the document)
    for low in np.arange(0, 1, 0.2):
        bin_ = (believed >= low) & (believed < low + 0.2)
        assert inside[bin_].mean() == pytest.approx(believed[bin_].mean(), abs=4 * 0.5 / np.sqrt(bin_.sum()) + 0.002)


@pytest.mark.parametrize("n_random_ids", [3, 6, 9])
def test_the_word_shown_at_the_query_by_the_rule_of_bayes(n_random_ids):
    rng = mechbp.rng(6, n_random_ids)
    rest = rng.dirichlet(np.ones(6), size=10)
    rates = MaskRates(0.15, 0.2, 0.3)
    shown = np.array([*range(9), 6])
    found = asked_word_posterior(rest, shown, rates, n_random_ids)
    channel = np.zeros((6, 10))  # P(shown | true word); the last column is MASK
    channel[:, :n_random_ids] += rates.random / n_random_ids
    channel[np.arange(6), np.arange(6)] += rates.keep
    channel[:, 9] += 1 - rates.keep - rates.random
    for i, x in enumerate(shown):
        joint = rest[i] * channel[:, x if x < 6 else 9]
        np.testing.assert_allclose(found[i], joint / joint.sum(), **EXACT)


def test_special_ids_at_the_query_say_nothing():
    rest = np.array([[0.2, 0.8], [0.5, 0.5]])
    assert (asked_word_posterior(rest, np.array([2, 105]), RATES, 104) == rest).all()


def test_what_cannot_be_shown_is_impossible_evidence():
    model = TopicModel(np.array([[1.0, 0, 0], [0, 1, 0]]), 0.5)
    noisy = noisy_beliefs(model, np.array([[0, 2], [2, 2]]), RATES)
    np.testing.assert_allclose(noisy.log_evidence[1], 2 * np.log(0.015 / 3), **EXACT)
    for process in (model, SupportMixture(model.word_given_topic, 1)):
        for tokens, rates in (
            (np.array([[0, 0], [0, 2]]), MaskRates(0.5, 1.0, 0.0)),
            (np.array([[-1, -1], [1, 1]]), MaskRates(1, 0, 0)),
        ):
            with pytest.raises(ImpossibleEvidence, match="noisy_beliefs: the words of example 1 have probability 0") as caught:
                noisy_beliefs(process, tokens, rates)
            assert caught.value.example == 1
    with pytest.raises(ImpossibleEvidence, match="asked_word_posterior: the words of example 1") as caught:
        asked_word_posterior(np.full((2, 2), 0.5), np.array([5, 1]), MaskRates(0.5, 0.0, 0.0), 2)
    assert asked_word_posterior(np.array([[1.0, 0.0]]), np.array([1]), RATES, 2).tolist() == [[1.0, 0.0]]


def test_requests_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="process must be a TopicModel or a SupportMixture, got HiddenMarkovModel"):
        noisy_beliefs(mechbp.mess3(0.1, 0.5), np.zeros((1, 2), int), RATES)
    with pytest.raises(InputError, match="noisy_beliefs: token 9 of example 0"):
        noisy_beliefs(TopicModel(UNEVEN, 1.0), np.array([[9]]), RATES)
    for shown, n_random_ids, message in (
        (np.array([0, 1]), 2, r"predictive must be \[n, word\] and shown n integers"),
        (np.array([0.0]), 2, "shown n integers"),
        (np.array([-1]), 2, "example 0 shows -1"),
        (np.array([0]), 0, "n_random_ids must be an integer >= 1, got 0"),
    ):
        with pytest.raises(InputError, match=message):
            asked_word_posterior(np.array([[0.5, 0.5]]), shown, RATES, n_random_ids)

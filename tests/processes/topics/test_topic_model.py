"""Documents are drawn as the model says, and the model says what its table of words says."""

import numpy as np
import pytest
from scipy.special import gammaln

import mechbp
from mechbp.errors import InputError
from mechbp.processes.process import Process, Sample
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import ABSENT, TopicModel

PHI = np.array([[0.4, 0.4, 0.2, 0, 0], [0, 0.2, 0.4, 0.4, 0]])
CORPUS = TopicModel.disjoint(10, 10, alpha=0.1, length=(100, 150))
N = 10_000


@pytest.fixture(scope="module")
def corpus():
    return CORPUS.sample(N, mechbp.rng(0, "corpus"))


def shares_of(sample, n_topics):
    counts = np.stack([(sample.assignments == t).sum(axis=1) for t in range(n_topics)], axis=1)
    return counts / counts.sum(axis=1, keepdims=True)


def test_statistics_of_the_corpus_are_those_of_the_population(corpus):
    """Within four standard errors for 10,000 documents; the population values are computed here, not copied."""
    lengths = np.arange(100, 151)
    log_absent = gammaln(1) + gammaln(0.9 + lengths) - gammaln(1 + lengths) - gammaln(0.9)
    distinct = 10 * (1 - np.exp(log_absent).mean())
    squares = (1 / lengths + (1 - 1 / lengths) * 1.1 / 2).mean()
    assert distinct == pytest.approx(4.2236, abs=5e-5) and squares == pytest.approx(0.55365, abs=5e-6)
    shares = shares_of(corpus, 10)
    assert (shares > 0).sum(axis=1).mean() == pytest.approx(distinct, abs=4 * 0.017)
    assert (shares**2).sum(axis=1).mean() == pytest.approx(squares, abs=4 * 0.0022)
    assert shares.max(axis=1).mean() == pytest.approx(0.668, abs=4 * 0.0020 + 0.002)
    assert np.percentile((shares > 0).sum(axis=1), [5, 25, 50, 75]).tolist() == [2, 3, 4, 5]
    n_words = (corpus.tokens != ABSENT).sum(axis=1)
    assert n_words.mean() == pytest.approx(125, abs=4 * np.sqrt((51**2 - 1) / 12 / N))
    assert (np.bincount(n_words, minlength=151)[100:] > 0).all() and n_words.min() == 100 and n_words.max() == 150


def test_words_assignments_and_proportions_belong_together(corpus):
    present = corpus.tokens != ABSENT
    assert corpus.tokens.shape == corpus.assignments.shape == (N, 150)
    assert (present == (np.arange(150) < present.sum(axis=1)[:, None])).all() and (
        (corpus.assignments == ABSENT) == ~present
    ).all()
    assert (corpus.assignments[present] == corpus.tokens[present] // 10).all()
    np.testing.assert_allclose(corpus.proportions.sum(axis=1), 1, rtol=0, atol=1e-12)
    used = np.bincount(corpus.tokens[present], minlength=100) / present.sum()
    np.testing.assert_allclose(used, 0.01, rtol=0, atol=0.002)
    gap = shares_of(corpus, 10) - corpus.proportions
    variance = corpus.proportions * (1 - corpus.proportions) / present.sum(axis=1, keepdims=True)
    assert (gap**2).mean() == pytest.approx(variance.mean(), rel=0.05)


@pytest.mark.parametrize("alpha", [np.array([0.3, 2.0]), np.array([1e-3, 1e-3])])
def test_proportions_have_the_moments_of_the_dirichlet_distribution(alpha):
    theta = TopicModel(PHI, alpha).sample(40_000, mechbp.rng(1, "dirichlet"), length=1).proportions[:, 0]
    mean = alpha[0] / alpha.sum()
    variance = mean * (1 - mean) / (alpha.sum() + 1)
    assert theta.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 40_000))
    assert theta.var() == pytest.approx(variance, rel=0.03)


def test_beliefs_about_drawn_documents_are_calibrated():
    """E theta is the mean of theta among documents with that answer, its variance their spread."""
    model = TopicModel.ring(3, 6, 2, 0.25, alpha=0.2)
    sample = model.sample(20_000, mechbp.rng(2, "calibration"), length=12)
    found = model.beliefs(sample.tokens)
    gap = sample.proportions - found.proportions
    for low in np.arange(0, 1, 0.2):
        inside = (found.proportions >= low) & (found.proportions < low + 0.2)
        error = 4 * np.sqrt(found.variance[inside].mean() / inside.sum())
        assert abs(gap[inside].mean()) < error and inside.sum() > 500
    assert (gap**2).mean() == pytest.approx(found.variance.mean(), rel=0.05)
    right = np.take_along_axis(found.assignments, sample.assignments[..., None], axis=2)[..., 0]
    assert right.mean() == pytest.approx((found.assignments**2).sum(axis=2).mean(), abs=0.005)


def test_every_set_of_topics_is_drawn_equally_often():
    mixture = SupportMixture.disjoint(5, 2, 2, length=(3, 5))
    sample = mixture.sample(20_000, mechbp.rng(3, "supports"))
    assert set(np.unique(sample.proportions)) == {0.0, 0.5} and (sample.proportions.sum(axis=1) == 1).all()
    counts = np.bincount((sample.proportions > 0) @ 2 ** np.arange(5))
    assert (counts > 0).sum() == 10 and np.ptp(counts[counts > 0]) < 8 * np.sqrt(2000)
    present = sample.tokens != ABSENT
    rows = np.broadcast_to(np.arange(20_000)[:, None], present.shape)
    assert (sample.proportions[rows[present], sample.assignments[present]] == 0.5).all()
    first, second = sample.assignments[:, 0], sample.assignments[:, 1]
    assert (first == second).mean() == pytest.approx(0.5, abs=0.015)
    assert (sample.assignments[present] == sample.tokens[present] // 2).all()


def test_lengths_are_given_to_the_model_or_to_the_sampler():
    rng = mechbp.rng(4)
    for process in (TopicModel(PHI, 1.0), SupportMixture(PHI, 1)):
        assert process.length is None and process.of_length((2, 3)).length == (2, 3)
        assert process.sample(4, rng, length=7).tokens.shape == (4, 7)
        assert process.of_length((2, 9)).sample(4, rng).tokens.shape == (4, 9)
        assert process.of_length(5).sample(0, rng).tokens.shape == (0, 5)
        assert (process.of_length(5).sample(3, rng, length=(2, 2)).tokens != ABSENT).sum() == 6
        with pytest.raises(InputError, match="say how long the documents are"):
            process.sample(4, rng)
        with pytest.raises(InputError, match="n must be an integer >= 0, got -1"):
            process.sample(-1, rng, length=3)
        with pytest.raises(InputError, match="rng must be a numpy.random.Generator"):
            process.sample(1, 0, length=3)
        for length in (0, (0, 3), (4, 3), (1, 2, 3), 2.0, True, "3"):
            with pytest.raises(InputError, match="length must be an integer >= 1 or a pair"):
                process.of_length(length)


def test_the_two_corpora():
    assert CORPUS.are_disjoint and CORPUS.topic_of_word.tolist() == [w // 10 for w in range(100)]
    assert (CORPUS.word_given_topic[CORPUS.word_given_topic > 0] == 0.1).all() and CORPUS.alpha.tolist() == [0.1] * 10
    assert CORPUS.n_topics == 10 and CORPUS.vocab_size == 100 and (CORPUS.ambiguity == 0).all()
    ring = TopicModel.ring(3, 6, 2, 0.25, alpha=0.2)
    assert ring.word_given_topic[0] == pytest.approx([0.125] * 6 + [0.125] * 2 + [0] * 10)
    assert ring.word_given_topic[2] == pytest.approx([0.125] * 2 + [0] * 10 + [0.125] * 6)
    assert ring.topics_of_word[[0, 2, 6, 13]].tolist() == [
        [True, False, True],
        [True, False, False],
        [True, True, False],
        [False, True, True],
    ]
    assert (
        not ring.are_disjoint and ring.ambiguity[[0, 1, 6, 12]] == pytest.approx(np.log(2)) and (ring.ambiguity[2:6] == 0).all()
    )
    lopsided = TopicModel.ring(2, 4, 1, 0.2, alpha=1.0)
    assert lopsided.word_given_topic[1] == pytest.approx([0.2, 0, 0, 0, 0.2, 0.2, 0.2, 0.2])
    with pytest.raises(InputError, match=r"TopicModel.topic_of_word: word 0 belongs to topics \[0, 2\]"):
        _ = ring.topic_of_word
    assert TopicModel(np.array([[1.0, 0, 0], [0, 1, 0]]), 1.0).topic_of_word.tolist() == [0, 1, -1]
    entropy = -(1 / 3 * np.log(1 / 3) + 2 / 3 * np.log(2 / 3))
    assert TopicModel(PHI, 1.0).ambiguity == pytest.approx([0, entropy, entropy, 0, 0])


def test_words_that_say_the_same_about_topics_are_one_class():
    classes = TopicModel.ring(3, 6, 2, 0.25, alpha=0.2).word_classes
    assert len(classes.likelihood) == 6 and (classes.likelihood.max(axis=1) == 1).all()
    classes = TopicModel(np.array([[0.25, 0.5, 0, 0.25], [0.125, 0.25, 0, 0.625]]), 1.0).word_classes
    assert classes.of_word[0] == classes.of_word[1] != classes.of_word[3] and classes.of_word[2] == -1
    np.testing.assert_allclose(np.exp(classes.log_factor), [0.25, 0.5, 1, 0.625], rtol=1e-15)
    assert classes.counts(np.array([[1, 2, 5, 4]]))[0, classes.of_word[[0, 3]]].tolist() == [3, 4]


CONTRACT = {
    "disjoint": TopicModel.disjoint(3, 2, alpha=0.3, length=3),
    "ring of random length": TopicModel.ring(3, 3, 1, 0.25, alpha=0.2, length=(4, 9)),
    "ring of any length": TopicModel.ring(2, 3, 2, 0.4, alpha=np.array([0.5, 2.0])),
    "random words": TopicModel(np.random.default_rng(0).dirichlet(np.ones(4), size=3), np.array([0.1, 1.0, 3.0]), length=(1, 3)),
    "supports": SupportMixture.disjoint(3, 2, 2, length=(2, 3)),
    "supports of random words": SupportMixture(np.random.default_rng(1).dirichlet(np.ones(4), size=3), 2, length=4),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_process_of_topics_keeps_the_contract(name, unchecked):
    process = CONTRACT[name]
    small = process.small()
    assert isinstance(process, Process) and isinstance(small.sample(2, mechbp.rng(0)), Sample) and small.small() is small
    mechbp.check_process(process, mechbp.rng(1, "contract", name))


class DeafToOrder(TopicModel):
    """Draws every document as if all its words had one topic."""

    def sample(self, n, rng, length=None):
        one = super().sample(n, rng, length)
        return type(one)(np.where(one.tokens >= 0, one.tokens[:, :1], ABSENT), one.proportions, one.assignments)


def test_the_contract_looks_at_what_words_tell_of_each_other(unchecked):
    with pytest.raises(mechbp.ContractError, match="sampler"):
        mechbp.check_process(DeafToOrder(PHI[:, :4], 0.5, 2), mechbp.rng(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopicModel(np.ones(3), 1.0), r"must be real numbers \[topic, word\], got shape \[3\]"),
        (lambda: TopicModel(np.array([["a"]]), 1.0), "must be real numbers"),
        (lambda: TopicModel(np.array([[0.5, 0.6]]), 1.0), "words of topic 0 sum to 1.1, expected 1"),
        (lambda: TopicModel(np.array([[1.0, 0], [1.5, -0.5]]), 1.0), r"word_given_topic\[1, 1\] = -0.5 is no probability"),
        (lambda: TopicModel(np.array([[np.nan, 1.0]]), 1.0), r"word_given_topic\[0, 0\] = nan is no probability"),
        (lambda: TopicModel(PHI, np.ones(3)), r"alpha must be one number or 2, one per topic, got shape \[3\]"),
        (lambda: TopicModel(PHI, 0.0), "alpha must be above 0 and finite, got 0.0"),
        (lambda: TopicModel(PHI, np.array([1, np.inf])), "alpha must be above 0 and finite"),
        (lambda: TopicModel.disjoint(0, 3, 1.0), "TopicModel.disjoint: n_topics must be an integer >= 1, got 0"),
        (lambda: TopicModel.ring(1, 3, 1, 0.1, 1.0), "TopicModel.ring: n_topics must be an integer >= 2, got 1"),
        (lambda: TopicModel.ring(3, 3, 4, 0.1, 1.0), "shared must be an integer in 1..3, got 4: at most words_per_topic"),
        (lambda: TopicModel.ring(3, 3, 1, 1.0, 1.0), "share must be a finite number >= 0 and < 1, got 1.0"),
        (lambda: SupportMixture(PHI, 3), "topics_per_document must be an integer from 1 to 2, the number of topics, got 3"),
        (lambda: SupportMixture.disjoint(3, 2, 0), "topics_per_document must be an integer from 1 to 3"),
        (lambda: TopicModel(PHI, 1.0).joint(), "this process has no single length, got None"),
        (lambda: SupportMixture(PHI, 1, (2, 3)).joint(), r"this process has no single length, got \(2, 3\)"),
    ],
)
def test_models_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_joints_that_are_too_long_are_refused():
    with pytest.raises(mechbp.errors.LimitExceeded, match="10 words of 100 pairs of topic and word have 1.0e.20 states"):
        CORPUS.of_length(10).joint()


def test_models_keep_copies_that_nobody_can_write_into():
    words = PHI.copy()
    model = TopicModel(words, np.array([1, 2]))
    words[0, 0] = 9
    assert model.word_given_topic[0, 0] == 0.4 and model.alpha.dtype == np.float64
    for array in (model.word_given_topic, model.alpha, model.word_classes.likelihood, model.word_classes.of_word):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0

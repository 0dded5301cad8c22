"""The least loss of any predictor: printed bounds, and enumeration of everything a query may show."""

import numpy as np
import pytest

from mechbp.theory.topics.bounds import population_bound
from mechbp.theory.topics.setting import TopicSetting


def enumerated(setting):
    """Squared loss and cross-entropy of the posterior, by the joint probability of shown id and word in one document."""
    tau, size, n_words = setting.topics_per_document, setting.words_per_topic, setting.n_words
    q = np.zeros(n_words)
    q[: tau * size] = 1 / (tau * size)
    joint = setting.keep * np.diag(q) + setting.random / (setting.n_ids or n_words) * np.ones((n_words, 1)) * q
    joint = np.vstack([joint, (1 - setting.keep - setting.random) * q])
    squared = ce = 0.0
    for row in joint:
        if row.sum() > 0:
            posterior = row / row.sum()
            squared += row.sum() * (1 - np.square(posterior).sum())
            seen = posterior > 0
            ce -= row.sum() * (posterior[seen] * np.log(posterior[seen])).sum()
    return squared, ce


@pytest.mark.parametrize(("tau", "bound"), [(1, 0.818182), (2, 0.870833), (5, 0.914667)])
def test_printed_bounds(tau, bound):
    found = population_bound(TopicSetting(10, 10, tau))
    assert found.squared == pytest.approx(bound, abs=5e-7)
    if tau == 2:
        assert found.masked_squared == pytest.approx(0.76, abs=1e-12)
        assert found.squared - found.masked_squared == pytest.approx(0.110833, abs=5e-7)


@pytest.mark.parametrize(
    "setting",
    [
        TopicSetting(10, 10, 2),
        TopicSetting(4, 3, 4, 0.3, 0.2, 0.7),
        TopicSetting(5, 2, 2, 0.3, 0.5, 0.0),
        TopicSetting(5, 2, 2, 0.3, 0.0, 0.4, n_ids=17),
        TopicSetting(5, 2, 2, 0.3, 0.0, 0.0),
    ],
)
def test_bounds_are_expectations_over_what_is_shown(setting):
    found = population_bound(setting)
    squared, ce = enumerated(setting)
    assert found.squared == pytest.approx(squared, abs=1e-13)
    assert found.ce_nats == pytest.approx(ce, abs=1e-13)
    assert found.masked_ce_nats == pytest.approx(setting.hidden * np.log(setting.topics_per_document * setting.words_per_topic))

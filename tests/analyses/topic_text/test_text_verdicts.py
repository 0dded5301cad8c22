"""Verdicts about topics in text stand where the criteria put them."""

import pytest

from mechbp.report.criteria import Criteria
from mechbp.study import analyses_root

CRITERIA = Criteria.read(analyses_root() / "topic_text" / "criteria.toml")
EMBEDDINGS = {
    "words": 500,
    "cosine_low": [0.02, 0.03],
    "cosine_rival": [0.01, -0.01],
    "dot_low": [0.02, 0.03],
    "dot_rival": [0.01, 0.02],
}
AMBIGUITY = {"by_threshold": [1.0, 1.1, 1.2], "gain_low": 0.05, "gain_rival": 0.04}
HEADS = {"passages": 100, "clear": [0.6, 0.51], "clear_rival": [0.1, 0.2], "above": [0.7, 0.6], "above_rival": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("key", "numbers", "verdict"),
    [
        ("embeddings", EMBEDDINGS, "holds"),
        ("embeddings", EMBEDDINGS | {"words": 499}, "short"),
        ("embeddings", EMBEDDINGS | {"cosine_rival": [0.021, 0.0]}, "partly"),
        ("embeddings", EMBEDDINGS | {"dot_rival": [0.01, 0.03]}, "partly"),
        ("embeddings", EMBEDDINGS | {"dot_low": [-0.01, 0.03]}, "partly"),
        ("embeddings", EMBEDDINGS | {"dot_low": [-0.01, -0.03]}, "fails"),
        ("embeddings", EMBEDDINGS | {"cosine_low": [None, 0.03]}, "partly"),
        ("embeddings-ambiguity", AMBIGUITY | {"words": 500}, "holds"),
        ("embeddings-ambiguity", AMBIGUITY | {"words": 500, "gain_rival": 0.05}, "partly"),
        ("embeddings-ambiguity", AMBIGUITY | {"words": 500, "by_threshold": [1.0, 1.3, 1.2]}, "partly"),
        ("embeddings-ambiguity", AMBIGUITY | {"words": 500, "gain_low": 0.0}, "fails"),
        ("attention", {"passages": 100, "low": [1.1, 1.2], "rival": [1.05, 0.9]}, "holds"),
        ("attention", {"passages": 100, "low": [1.1, 1.2], "rival": [1.11, 0.9]}, "partly"),
        ("attention", {"passages": 100, "low": [0.9, 1.2], "rival": [0.8, 0.9]}, "partly"),
        ("attention", {"passages": 100, "low": [0.9, 1.0], "rival": [0.8, 0.9]}, "fails"),
        ("attention", {"passages": 99, "low": [1.1], "rival": [0.9]}, "short"),
        ("attention-heads", HEADS, "holds"),
        ("attention-heads", HEADS | {"clear": [0.6, 0.5]}, "partly"),
        ("attention-heads", HEADS | {"clear_rival": [0.6, 0.2]}, "partly"),
        ("attention-heads", HEADS | {"clear": [0.4, 0.5], "above_rival": [0.5, 0.6]}, "fails"),
        ("attention-ambiguity", AMBIGUITY | {"passages": 100}, "holds"),
        ("attention-ambiguity", AMBIGUITY | {"passages": 100, "gain_low": -0.01}, "fails"),
        ("attention-distance", {"passages": 100, "low": [1.1, 1.2], "rival": [1.0, 1.1]}, "holds"),
        ("attention-distance", {"passages": 100, "low": [0.9, 1.2], "rival": [1.0, 1.1]}, "partly"),
        ("attention-distance", {"passages": 100, "low": [None, 0.9], "rival": [1.0, 1.1]}, "fails"),
        ("edited-heads", {"passages": 24, "above_random_low": [0.1, 0.1], "above_least_low": [0.1, 0.1]}, "holds"),
        ("edited-heads", {"passages": 24, "above_random_low": [0.1, 0.1], "above_least_low": [0.1, 0.0]}, "partly"),
        ("edited-heads", {"passages": 24, "above_random_low": [0.1, 0.0], "above_least_low": [0.1, 0.0]}, "fails"),
        ("edited-classes", {"passages": 24, "spared_low": [0.1, 0.1]}, "holds"),
        ("edited-classes", {"passages": 24, "spared_low": [0.1, 0.0]}, "partly"),
        ("edited-classes", {"passages": 24, "spared_low": [0.0, -0.1]}, "fails"),
        ("edited-classes", {"passages": 23, "spared_low": [0.1, 0.1]}, "short"),
        ("encoder", {"largest_error": 1e-5}, "holds"),
        ("encoder", {"largest_error": 1.1e-5}, "fails"),
        ("corpus", {"articles": 103, "characters": 3_102_521}, "holds"),
        ("corpus", {"articles": 102, "characters": 3_102_521}, "fails"),
        ("corpus", {"articles": 103, "characters": 3_151_000}, "fails"),
        ("planted", {"passages": 100, "planted": 1.5, "found": [1.46, 1.54], "empty": [0.96, 1.04]}, "holds"),
        ("planted", {"passages": 100, "planted": 1.5, "found": [1.46, 1.56], "empty": [0.96, 1.04]}, "fails"),
        ("planted", {"passages": 100, "planted": 1.5, "found": [1.5], "empty": [1.06]}, "fails"),
    ],
)  # fmt: skip
def test_the_bounds_stand_where_the_criteria_put_them(key, numbers, verdict):
    assert CRITERIA.grade(key, numbers) == verdict

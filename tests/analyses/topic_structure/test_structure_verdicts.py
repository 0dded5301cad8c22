"""How topic_structure judges: every criterion on both sides of its threshold."""

import pytest

from analyses.topic_structure.criteria import CRITERIA

GOOD = {
    "values": dict(largest_error=[9e-6, 1e-9]),
    "values-sampled": dict(gap_over_theory=[0.971, 1.029], four_over_two=1.029),
    "embeddings": dict(gap_over_theory=[1.019, 0.981], p_dot=[9e-4], p_cosine=[9e-4]),
    "values-hidden": dict(ce_over_linear_nats=-0.0149, ce_nats=3.34, skill=0.9901, contrast_over_theory=1.029),
    "attention": dict(ratio_over_theory=1.009, hidden_over_theory=0.991, sampled_ratio=3.01, sampled_low=1.01),
    "stages": dict(share=[0.9, 1.0]),
    "power-law": dict(slope=[1.91, 2.09]),
    "plain-descent": dict(attention_moved=[True, True]),
    "own-word": dict(loss=[0.9], self_over_same=[1.1], block_loss=0.946, bound=0.87),
    "compensation": dict(difference=[0.01, 2.0], p=[1e-4, 9e-4]),
    "overlap": dict(excess=[0.019, -0.01]),
    "ambiguity": dict(difference=[-0.1, -0.001]),
    "robustness": dict(share=[0.95, 1.0]),
    "use": dict(uniform_rise=[1.0], uniform_rise_low=[0.9], class_rise_high=[0.09]),
    "controls": dict(untrained_p=[0.01], shuffled_p=[0.5], one_topic_ratio=1.0005),
}
BAD = [
    ("values", dict(largest_error=[1.1e-5]), "fails"),
    ("values-sampled", dict(gap_over_theory=[0.969]), "fails"),
    ("values-sampled", dict(four_over_two=1.031), "partly"),
    ("embeddings", dict(gap_over_theory=[1.021]), "partly"),
    ("embeddings", dict(p_cosine=[2e-3]), "fails"),
    ("values-hidden", dict(ce_over_linear_nats=0.0151), "partly"),
    ("values-hidden", dict(ce_nats=3.329), "partly"),
    ("values-hidden", dict(skill=0.9899), "partly"),
    ("values-hidden", dict(contrast_over_theory=0.969), "partly"),
    ("attention", dict(ratio_over_theory=1.011), "partly"),
    ("attention", dict(hidden_over_theory=1.011), "partly"),
    ("attention", dict(sampled_ratio=2.99), "partly"),
    ("attention", dict(sampled_low=0.99), "fails"),
    ("stages", dict(share=[0.9, 0.89]), "partly"),
    ("stages", dict(share=[0.89]), "fails"),
    ("power-law", dict(slope=[2.11]), "fails"),
    ("plain-descent", dict(attention_moved=[True, False]), "partly"),
    ("plain-descent", dict(attention_moved=[False]), "fails"),
    ("own-word", dict(loss=[0.95]), "fails"),
    ("own-word", dict(self_over_same=[1.0]), "fails"),
    ("own-word", dict(loss=[0.86]), "partly"),
    ("compensation", dict(difference=[-0.01, 1.0]), "partly"),
    ("compensation", dict(p=[1e-4, 2e-3]), "partly"),
    ("overlap", dict(excess=[0.021]), "fails"),
    ("ambiguity", dict(difference=[0.001]), "fails"),
    ("robustness", dict(share=[0.94, 1.0]), "partly"),
    ("use", dict(class_rise_high=[0.11]), "partly"),
    ("use", dict(uniform_rise_low=[-0.1]), "fails"),
    ("controls", dict(untrained_p=[9e-4]), "fails"),
    ("controls", dict(one_topic_ratio=1.002), "fails"),
]


def test_every_criterion_is_tested():
    assert set(GOOD) == {key for key, _, _ in BAD} == set(CRITERIA)


@pytest.mark.parametrize("key", GOOD)
def test_good_numbers_hold(key):
    assert CRITERIA.grade(key, GOOD[key]) == "holds"


@pytest.mark.parametrize(("key", "bad", "verdict"), BAD)
def test_bad_numbers_do_not(key, bad, verdict):
    assert CRITERIA.grade(key, GOOD[key] | bad) == verdict

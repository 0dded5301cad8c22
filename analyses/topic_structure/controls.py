"""Where there is nothing to find: untrained weights, labels at random, one topic per document."""

from __future__ import annotations

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.embeddings import topic_labels
from analyses.topic_structure.setting import QUICK_SEEDS, QUICK_STEPS, SEEDS, SIGMAS, STEPS, THEORY, joint_runs
from mechbp.report.claim import Claim
from mechbp.study import Study
from mechbp.theory.topics.attention import optimal_attention_ratio
from mechbp.theory.topics.pairs import cosine_table, topic_label_test
from mechbp.theory.topics.population_run import PopulationRun

UNTRAINED_SEEDS = 5


def study_controls(study: Study) -> list[Claim]:
    """Run the tests of the page where their answer has to be no."""
    study.stage("controls")
    untrained = []
    for seed in range(UNTRAINED_SEEDS):
        for regime, of in (("emb", lambda w: cosine_table(w.embed[:-1])), ("joint", lambda w: w.value_matrix[:, :-1])):
            start = PopulationRun(THEORY, regime, 1.0, seed=seed).start()  # type: ignore[arg-type]
            untrained.append(topic_label_test(of(start), topic_labels(), study.rng("untrained", regime, seed)))
    shuffled = []
    for seed, weights in enumerate(
        joint_runs("squared", SIGMAS[0], study.size(SEEDS, QUICK_SEEDS), study.size(STEPS, QUICK_STEPS)).final
    ):
        labels = study.rng("shuffled labels", seed).permutation(topic_labels())
        shuffled.append(topic_label_test(weights.value_matrix[:, :-1], labels, study.rng("shuffled", seed)))
    ratio = optimal_attention_ratio(THEORY.n_topics, THEORY.words_per_topic, 1).ratio
    return [
        CRITERIA.claim(
            "controls",
            id="topics-controls",
            statement="The tests of this page find nothing where nothing is: in untrained weights, under labels at random, "
            "and in the ratio that pays where a document has one topic.",
            reference="no effect by construction",
            measured=f"smallest p untrained {min(untrained):.3f} of {len(untrained)}, labels at random {min(shuffled):.3f} of "
            f"{len(shuffled)}\nbest ratio for one topic per document {ratio:.6f}",
            control="trained weights under their own labels: p below 1e-3, above",
            numbers={"untrained_p": untrained, "shuffled_p": shuffled, "one_topic_ratio": float(np.round(ratio, 9))},
        )
    ]

"""Claims about topics in text: each asks what it says, of numbers made up so that the answer is known."""

import numpy as np
import pytest

pytest.importorskip("gensim", reason="the page about topics in text needs pip install 'mechbp[text]'")

from analyses.topic_text import claims
from analyses.topic_text.attention import ATTENTION_THRESHOLDS, AttentionResults
from analyses.topic_text.checks import CheckResults
from analyses.topic_text.comparison import CASES, SCRAMBLED, SHUFFLED, TRAINED, UNMATCHED, Comparison
from analyses.topic_text.edits import LEAST, RANDOM, TOPICAL, WITHIN, WITHIN_SHUFFLED, EditResults
from analyses.topic_text.embeddings import EmbeddingResults
from analyses.topic_text.material import THRESHOLDS
from mechbp.randomness import rng

DRAWS = 101
SPREAD = 0.01


def around(levels, *shape):
    """Draws around levels [fit, ...]: the first is the level, the others are off by up to SPREAD."""
    levels = np.asarray(levels, dtype=float)
    noise = SPREAD * rng(0, "noise").uniform(-1, 1, size=DRAWS)
    noise[0] = 0
    return levels[:, None] + noise.reshape(DRAWS, *[1] * (levels.ndim - 1))


def comparison(thresholds, effects, n_values=1, n_fits=2):
    """Different-topic pairs are at 1 in each case, same-topic ones at 1 + effect, by threshold, the same for fits."""
    ones = np.ones((n_fits, DRAWS, len(thresholds), n_values))
    same = {
        case: around(np.broadcast_to(1 + np.array(effects[case])[:, None], (n_fits, len(thresholds), n_values))) for case in CASES
    }
    other = dict.fromkeys(CASES, ones)
    return Comparison(same, other, same, other, np.ones((n_fits, len(thresholds)), dtype=int), np.ones((n_fits, len(thresholds))))


def effects(own, rival=0.0, steps=1.0, n=5):
    rising = own * (1 + steps * np.arange(n) / n)
    return {TRAINED: rising, UNMATCHED: rising, SHUFFLED: np.full(n, rival), SCRAMBLED: np.zeros(n)}


def embeddings(found):
    return EmbeddingResults(600, 1000, comparison(THRESHOLDS, found, 2))


def attention(found, heads=(1.5, 1.0), bands=1.2, band_rival=1.0):
    fitted = comparison(ATTENTION_THRESHOLDS, found)
    levels = np.full((2, 2, 3), heads[1])
    levels[:, 0] = heads[0]
    levels[:, 1, 0] = heads[0]
    by_head = {case: around(levels if case == TRAINED else np.ones((2, 2, 3))) for case in CASES}
    by_distance = {case: around(np.full((2, 7), bands if case == TRAINED else band_rival)) for case in CASES}
    return AttentionResults(200, 5000, 50, 60, None, fitted, fitted, by_head, by_distance, np.ones((2, 3)))


@pytest.mark.parametrize(
    ("found", "verdicts"),
    [
        (effects(0.1), ("holds", "holds")),
        (effects(0.1, rival=0.2), ("partly", "holds")),
        (effects(0.1, rival=0.095), ("partly", "holds")),  # above the rival, not above the upper end of its interval
        (effects(0.1, steps=-0.5), ("holds", "fails")),
        (effects(-0.1), ("fails", "fails")),
        (effects(0.1) | {SCRAMBLED: np.array([0, 0, 0, 0, 0.3])}, ("partly", "partly")),
    ],
)
def test_embeddings_are_held_against_every_rival(found, verdicts):
    results = embeddings(found)
    assert (claims._embeddings(results).verdict, claims._embeddings_ambiguity(results).verdict) == verdicts


@pytest.mark.parametrize(
    ("found", "verdicts"),
    [
        (effects(0.1, n=4), ("holds", "holds")),
        (effects(0.1, rival=0.2, n=4), ("partly", "holds")),
        (effects(0.1, rival=0.095, n=4), ("partly", "holds")),
        (effects(-0.1, n=4), ("fails", "fails")),
        (effects(0.1, n=4) | {SHUFFLED: np.array([0, 0, 0, 0.3])}, ("partly", "partly")),
    ],
)
def test_attention_is_held_against_every_rival(found, verdicts):
    results = attention(found)
    assert (claims._attention(results).verdict, claims._attention_ambiguity(results).verdict) == verdicts


def test_shares_of_heads_are_counted():
    found = claims._heads(attention(effects(0.1, n=4)))
    assert found.verdict == "holds" and found.numbers["clear"] == pytest.approx([2 / 3, 2 / 3], abs=1e-5)
    assert claims._heads(attention(effects(0.1, n=4), heads=(1.005, 1.0))).verdict == "partly"  # above 1, but not clearly
    assert claims._heads(attention(effects(0.1, n=4), heads=(0.5, 1.0))).verdict == "fails"


def test_every_band_has_to_be_above_its_rival():
    assert claims._distance(attention(effects(0.1, n=4))).verdict == "holds"
    assert claims._distance(attention(effects(0.1, n=4), bands=1.1, band_rival=1.15)).verdict == "partly"
    assert claims._distance(attention(effects(0.1, n=4), bands=0.9)).verdict == "fails"


def edited(**levels):
    noise = rng(1).uniform(0, 1e-5, size=(24, 2))
    names = {"topical": TOPICAL, "random": RANDOM, "least": LEAST, "within": WITHIN, "shuffled": WITHIN_SHUFFLED}
    changes = {names[name]: np.full((24, 2), level) + rng(2, name).permutation(noise) for name, level in levels.items()}
    return EditResults(24, "a fit", {TOPICAL: [], LEAST: []}, changes)


def test_edits_are_held_against_other_heads_and_other_classes():
    clear = edited(topical=3e-3, random=1e-3, least=2e-3, within=1e-3, shuffled=2e-3)
    assert claims._edited_heads(clear).verdict == claims._edited_classes(clear).verdict == "holds"
    assert "topical heads: 30." in claims._edited_heads(clear).measured
    other = edited(topical=3e-3, random=1e-3, least=4e-3, within=2e-3, shuffled=1e-3)
    assert claims._edited_heads(other).verdict == "partly" and claims._edited_classes(other).verdict == "fails"
    assert claims._edited_heads(edited(topical=1e-3, random=2e-3, least=2e-3)).verdict == "fails"


def test_checks_are_held_against_the_truth():
    fine = CheckResults(1e-14, 3.0, np.array([1.5, 1.48]), np.array([1.0, 0.99]), np.array([1.2, 1.3]), 200)
    assert claims._encoder(fine).verdict == claims._planted(fine).verdict == "holds"
    off = CheckResults(1e-3, 3.0, np.array([1.5, 1.3]), np.array([1.0, 0.99]), np.array([1.2, 1.3]), 200)
    assert claims._encoder(off).verdict == claims._planted(off).verdict == "fails"

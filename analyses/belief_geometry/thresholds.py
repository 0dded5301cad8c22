"""The numbers that belief geometry is held to, from the same fits as the page, printed by `mechbp verify`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.distances import FITTED, HELD_OUT, RANDOM, distances
from analyses.shared.baselines import PREFIX_SHARE, noise, token_and_position
from analyses.shared.prefix_corpus import FULL, LN, Corpus, joined, stages
from mechbp.models.verify import Check
from mechbp.processes.chain.words import mixed_states
from mechbp.study import Study
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.prefix_activations import prefix_answers
from mechbp.theory.chain.prefix_probe import word_probe

TOKEN_AND_POSITION = 0.03094
SHUFFLED = 0.1112
"""Exact MSE of two baselines on Mess3(.05, .85) at length 10: they fix what is meant by the error."""
LINEAR_MSE = 0.0005
LINEAR_R2 = 0.995
HELD_OUT_LOSS = 0.05
"""Of Mess3 at the last layer; on words that were not fitted the error is this much higher at most."""
TOGETHER_MSE = 0.005
"""Of RRXOR, all stages side by side, as fitted."""
COUNTS = {"rrxor": (436, 1046, 36)}
"""Words of length 10, their prefixes, and distinct beliefs, by process at the paper's parameters."""
BELIEF_SHARE = 0.9
NEXT_SHARE = 0.4
"""Distances on RRXOR follow beliefs at least, and next-token predictives at most, this much."""


def thresholds_of(study: Study, corpus: Corpus) -> Iterator[tuple[str, Check]]:
    """Yield the thresholds of one run on the paper's parameters; none for other processes."""
    run = corpus.run
    if not published.is_theirs(run):
        return
    parts = {"mess3": _mess3, "rrxor": _rrxor}
    for check in parts[run.config.process.kind](study, corpus):
        yield run.name, check


def _mess3(study: Study, corpus: Corpus) -> Iterator[Check]:
    words = corpus.words
    target = {FULL: corpus.targets[FULL]}
    rng = study.rng(corpus.run.name, "thresholds")
    base = word_probe(token_and_position(words), target, words, rng=rng, repeats=0)[FULL]
    yield Check.of("token + position MSE = .03094 ± 1e-5", f"{base.mse:.6f}", abs(base.mse - TOKEN_AND_POSITION) <= 1e-5)
    near = abs(base.shuffled_mse - SHUFFLED) <= 5e-4
    yield Check.of("shuffled MSE = .1112 ± 5e-4", f"{base.shuffled_mse:.4f}", near)
    yield _loss(corpus)
    where = stages(corpus.run)
    last = [stage for stage in where if stage != LN][-1]
    found = corpus.activations(corpus.run.model, {last: where[last]})[last]
    score = word_probe(found, target, words, rng=rng, repeats=100)[FULL]
    size = f"({score.n_features} columns, {score.n_rows:,} prefixes)"
    yield Check.of(f"{last} MSE <= {LINEAR_MSE:g}", f"{score.mse:.2e} {size}", score.mse <= LINEAR_MSE)
    yield Check.of(f"{last} R² >= {LINEAR_R2}", f"{score.r2:.4f}", score.r2 >= LINEAR_R2)
    excess = score.held_out_mse / score.mse - 1
    yield Check.of(f"held-out MSE within {HELD_OUT_LOSS:.0%}", f"{excess:+.2%} (100 splits by word)", excess <= HELD_OUT_LOSS)


def _rrxor(study: Study, corpus: Corpus) -> Iterator[Check]:
    words = corpus.words
    target = {FULL: corpus.targets[FULL]}
    rng = study.rng(corpus.run.name, "thresholds")
    counted = len(words.tokens), words.n_prefixes, len(mixed_states(corpus.hmm, corpus.length).beliefs)
    listed = ", ".join(f"{count:,}" for count in counted)
    yield Check.of("words, prefixes, beliefs", listed, counted == COUNTS["rrxor"])
    yield _loss(corpus)
    where = stages(corpus.run, mid=False)
    found = corpus.activations(corpus.run.model, where)
    layers = [stage for stage in where if stage.startswith("layer")]
    errors = [word_probe(found[stage], target, words, rng=rng, repeats=0)[FULL].mse for stage in layers]
    printed = [published.MSE["rrxor"].get(stage) for stage in layers]
    shown = ", ".join(f"{error:.4f}" for error in errors) + f" (published {', '.join(map(str, printed))})"
    yield Check.of("MSE falls from layer to layer", shown, bool((np.diff(errors) < 0).all()))
    columns = joined(found)
    together = word_probe(
        columns, target, words, rng=rng, weighting="prefix", split="prefix", repeats=5, train_share=PREFIX_SHARE
    )[FULL]
    fitted = word_probe(columns, target, words, rng=rng, repeats=0)[FULL].mse
    untrained = joined(corpus.activations(corpus.run.untrained(1), where))
    controls = [
        word_probe(values, target, words, rng=rng, repeats=0)[FULL].mse
        for values in (untrained, noise(words, columns.shape[1], rng))
    ]  # fmt: skip
    rivals = f"random weights {controls[0]:.1e}, noise {controls[1]:.1e}"
    shown = f"{fitted:.1e} ({columns.shape[1]} columns); {rivals}; R² {together.held_out_r2:.2f} on other prefixes"
    yield Check.of(f"all stages MSE <= {TOGETHER_MSE:g}", shown, fitted <= TOGETHER_MSE < min(controls))
    apart = distances(study, corpus)
    belief = apart.belief[FITTED]
    following = apart.next_token[FITTED]
    others = f"{apart.belief[HELD_OUT]:.3f} and {apart.next_token[HELD_OUT]:.3f} on other prefixes"
    random = f"random weights {apart.belief[RANDOM + FITTED]:.3f} and {apart.belief[RANDOM + HELD_OUT]:.3f}"
    shown = f"{belief:.3f} and {following:.3f}; {others}; {random}"
    yield Check.of("distance R² ~ .95 and ~ .31", shown, belief >= BELIEF_SHARE and following <= NEXT_SHARE)


def _loss(corpus: Corpus) -> Check:
    loss = exact_loss(prefix_answers(corpus.run.model, corpus.words), corpus.words, corpus.hmm)
    shown = f"{loss.normalised:.6f}; KL {loss.mean_nats:.2e} nats, {loss.relative:.1e} of the learnable"
    bound = CRITERIA["optimal"].bounds["normalised"]
    return Check.of(f"exact loss / optimum <= {bound}", shown, loss.normalised <= bound)

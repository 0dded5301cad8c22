"""The claims about what can be read: that it is linear, and due to training."""

from __future__ import annotations

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.regression import Reading
from analyses.shared.prefix_corpus import FULL
from mechbp.report.claim import Claim


def reading_claims(reading: Reading) -> list[Claim]:
    """Return whether the belief is linear in the stream, and whether training has put it there."""
    return [_linear(reading), _trained(reading)]


def _linear(reading: Reading) -> Claim:
    run = reading.corpus.run
    last = reading.last
    score = reading.by_word[last][FULL]
    prefix = reading.by_prefix[last][FULL]
    theirs = published.theirs(published.MSE, run, {})
    assert isinstance(theirs, dict)
    known = theirs.get(last)
    random = [scores[last][FULL].mse for scores in reading.untrained_fitted]
    noise = next(by_word for name, (by_word, _) in reading.baselines.items() if name.startswith("noise"))
    return CRITERIA.claim(
        "linear",
        id=f"{run.name}-linear",
        statement=f"The exact belief is an affine function of the last residual stream of {run.name} at least as nearly as "
        "published, and more nearly than of random weights or of noise of as many columns.",
        reference=f"{published.NAME}: MSE {known:g} at {last}" if known else "no published number",
        measured=f"{last}, all words as fitted: MSE {score.mse:.2e}, R² {score.r2:.4f}\nother words: MSE "
        f"{score.held_out_mse:.2e}, R² {score.held_out_r2:.4f}\nother prefixes, each once: R² {prefix.held_out_r2:.4f}\n"
        f"by probability: R² {reading.weighted[last][FULL].held_out_r2:.4f}\n{reading.corpus.words.n_prefixes:,} prefixes, "
        f"{score.n_features} columns",
        control=f"random weights: MSE {min(random):.2e} to {max(random):.2e}, {len(random)} seeds\n"
        f"noise, {noise.n_features} columns: MSE {noise.mse:.2e}\nshuffled beliefs: MSE {score.shuffled_mse:.4f}",
        numbers={"mse": score.mse, "published_mse": known, "random_mse": random, "noise_mse": noise.mse} if known else None,
        figure=f"fig-{run.name}-mse",
    )


def _trained(reading: Reading) -> Claim:
    """Held out, the network beats everything that needs no training."""
    run = reading.corpus.run
    last = reading.last
    best = max(reading.by_prefix[stage][FULL].held_out_r2 for stage in reading.stages)
    rivals = {name: by_prefix.held_out_r2 for name, (_, by_prefix) in reading.baselines.items()}
    rivals["random weights"] = float(max(reading.random_r2(stage).max() for stage in reading.stages))
    return CRITERIA.claim(
        "trained",
        id=f"{run.name}-trained",
        statement=f"Training has put the belief into {run.name}: on prefixes that were not fitted it is read better, by "
        f"{CRITERIA['trained'].bounds['above']} of R² or more, than from random weights, from the tokens themselves, or from "
        "noise of equal width.",
        reference="no published control; a replication reads Mess3 from raw tokens as well as from the network",
        measured=f"best stage: R² {best:.4f}\n{last}: R² {reading.by_prefix[last][FULL].held_out_r2:.4f}\n"
        f"{reading.repeats} splits of {reading.corpus.words.n_prefixes:,} prefixes",
        control="\n".join(f"{name}: R² {value:.3f}" for name, value in rivals.items()),
        numbers={"best_r2": best, "rival_r2": list(rivals.values())},
        figure=f"fig-{run.name}-controls",
    )

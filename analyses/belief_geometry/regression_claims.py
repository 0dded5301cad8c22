"""The claims about what can be read: that it is linear, spread over layers, due to training, and no rival's belief."""

from __future__ import annotations

import numpy as np

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.regression import Reading
from analyses.shared.prefix_corpus import FULL, NEXT, TOGETHER
from mechbp.report.claim import Claim


def reading_claims(reading: Reading) -> list[Claim]:
    """Return whether the belief is linear in the stream, and whether training has put it there."""
    return [_linear(reading), _layers(reading), _trained(reading), _rivals(reading)]


def _linear(reading: Reading) -> Claim:
    run = reading.corpus.run
    last = reading.last
    score = reading.by_word[last][FULL]
    prefix = reading.by_prefix[last][FULL]
    theirs = published.theirs(published.MSE, run, {})
    assert isinstance(theirs, dict)
    seeds = reading.random_r2(last, held_out=False)
    bounds = CRITERIA["linear"].bounds
    return CRITERIA.claim(
        "linear",
        id=f"{run.name}-linear",
        statement=f"The exact belief is an affine function of the last residual stream of {run.name}: MSE at most "
        f"{bounds['linear_mse']:g}, R² at least {bounds['linear_r2']}, and no more than {bounds['held_out_loss']:.0%} worse on "
        "words that were not fitted.",
        reference=f"{published.NAME}: MSE {theirs[last]:g} at {last}" if last in theirs else "no published number",
        measured=f"{last}: MSE {score.mse:.2e}, R² {score.r2:.4f}\nother words: MSE {score.held_out_mse:.2e}, R² "
        f"{score.held_out_r2:.4f} [{score.held_out_low:.4f}, {score.held_out_high:.4f}]\nother prefixes, each once: R² "
        f"{prefix.held_out_r2:.4f} [{prefix.held_out_low:.4f}, {prefix.held_out_high:.4f}]\nby probability: R² "
        f"{reading.weighted[last][FULL].held_out_r2:.4f}\n{reading.corpus.words.n_prefixes:,} prefixes, "
        f"{score.n_features} columns",
        control=f"random weights: R² {seeds.mean():.3f} ({seeds.min():.3f} to {seeds.max():.3f}, {len(seeds)} seeds)\n"
        f"shuffled beliefs: MSE {score.shuffled_mse:.4f}",
        numbers={"mse": score.mse, "r2": score.r2, "held_out_mse": score.held_out_mse},
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


def _rivals(reading: Reading) -> Claim:
    """The exact belief is read better than every observer that the embedding does not hold already."""
    run = reading.corpus.run
    last = reading.last
    scores = reading.by_word[last]
    first = reading.by_word[reading.stages[0]]
    bounds = CRITERIA["rivals"].bounds
    rivals = [target for target in scores if target not in (FULL, NEXT)]
    trivial = [target for target in scores if first[target].r2 > bounds["trivial"]]
    others = [target for target in rivals if target not in trivial]
    lines = [f"{target}: R² {scores[target].held_out_r2:.4f}" for target in others]
    lines += [f"{target}: R² {first[target].r2:.3f} from the embedding, so that it tells nothing" for target in trivial]
    numbers = {
        "exact_r2": scores[FULL].held_out_r2,
        "exact_missed_high": 1 - scores[FULL].held_out_low,
        "rival_missed_low": [1 - scores[target].held_out_high for target in rivals],
        "embedding_r2": [first[target].r2 for target in rivals],
    }
    return CRITERIA.claim(
        "rivals",
        id=f"{run.name}-rivals",
        statement=f"The last layer of {run.name} holds the exact belief (R² at least {bounds['present']}) rather than a shortcut "
        "or another process's belief.",
        reference="no published comparison for this model",
        measured=f"{last}, other words: R² {scores[FULL].held_out_r2:.4f} for the exact belief",
        control="\n".join(lines) or "no other observer",
        numbers=numbers if others else None,
        figure=f"fig-{run.name}-reading",
    )


def _layers(reading: Reading) -> Claim:
    """The belief builds up over layers, and all of them together hold it."""
    run = reading.corpus.run
    layers = [stage for stage in reading.stages if stage.startswith("layer") and not stage.endswith("mid")]
    errors = [reading.by_word[stage][FULL].mse for stage in layers]
    together = reading.by_word[TOGETHER][FULL]
    random = float(np.mean([scores[TOGETHER][FULL].mse for scores in reading.untrained_fitted]))
    held_out = reading.by_prefix[TOGETHER][FULL].held_out_r2
    untrained = reading.random_r2(TOGETHER)
    noise = [by_word for name, (by_word, _) in reading.baselines.items() if name.startswith("noise")][-1]
    theirs = published.theirs(published.MSE, run, {})
    assert isinstance(theirs, dict)
    listed = ", ".join(f"{stage} {value:g}" for stage, value in theirs.items())
    return CRITERIA.claim(
        "layers",
        id=f"{run.name}-layers",
        statement=f"The belief of {run.name} builds up from layer to layer, and all stages together hold it to MSE "
        f"{CRITERIA['layers'].bounds['together']:g}, a bound that noise of as many columns does not reach.",
        reference=f"{published.NAME}: {listed}" if theirs else "no published number",
        measured="MSE "
        + ", ".join(f"{stage} {error:.2e}" for stage, error in zip(layers, errors, strict=True))
        + f"\nall together: MSE {together.mse:.1e} as fitted, R² {held_out:.3f} on other prefixes"
        f"\n{together.n_features} columns of rank {together.map.rank} on {together.n_rows:,} prefixes",
        control=f"all together, random weights: MSE {random:.1e} as fitted, R² {untrained.max():.3f} on other prefixes\n"
        f"noise of {noise.n_features} columns: MSE {noise.mse:.1e} as fitted",
        numbers={
            "layer_mse": errors,
            "together_mse": together.mse,
            "noise_mse": noise.mse,
            "held_out_r2": held_out,
            "random_r2": float(untrained.max()),
        },
        figure=f"fig-{run.name}-mse",
    )

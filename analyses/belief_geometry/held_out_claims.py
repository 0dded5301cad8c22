"""The claims about prefix trees left out: how well the belief is read, whether layers add to it, and whether it is a rival's."""

from __future__ import annotations

from itertools import pairwise

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.held_out import HeldOut
from analyses.belief_geometry.regression import Reading
from analyses.shared.prefix_corpus import FULL
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.theory.chain.prefix_trees import mse_over_trees, r2_gain, r2_over_trees


def held_out_claims(reading: Reading, found: HeldOut) -> list[Claim]:
    """Return the claims of one run."""
    return [_linear(found), _layers(found), _rivals(reading, found)]


def _linear(found: HeldOut) -> Claim:
    run = found.corpus.run
    theirs = published.theirs(published.MSE, run, {})
    assert isinstance(theirs, dict)
    known = theirs.get(found.last)
    errors = found.layers[found.last]
    mse = mse_over_trees(errors, found.counts)
    gains = {name: r2_gain(errors, rival, found.counts) for name, rival in found.free.items()}
    return CRITERIA.claim(
        "linear-held-out",
        id=f"{run.name}-linear-held-out",
        statement=f"An affine map of the last residual stream of {run.name}, fitted on other prefixes, reads the exact belief "
        "with no more error than published of a fit to all words, and better than from tokens, from shortcuts' beliefs, or from "
        "random weights.",
        reference=f"{published.NAME}: MSE {known:g} at {found.last}, on the words fitted" if known else "no published number",
        measured=f"{found.last}: MSE {float(mse.mean):.2e} [{float(mse.low):.2e}, {float(mse.high):.2e}], R² "
        f"{estimate(r2_over_trees(errors, found.counts), 4)}\n{len(found.trees)} prefix trees, each left out once",
        control="R² above that from\n"
        + "\n".join(f"{name} (R² {found.free[name].r2:.3f}): {estimate(gain, 3)}" for name, gain in gains.items()),
        numbers={
            "mse_high": mse.high,
            "published_mse": known,
            "over_rivals_low": [gain.low for gain in gains.values()],
        } if known else None,
        figure=f"fig-{run.name}-controls",
    )  # fmt: skip


def _layers(found: HeldOut) -> Claim:
    """Each layer reads the belief better than the one before, on trees that were not fitted."""
    run = found.corpus.run
    names = list(found.layers)
    gains = {
        f"{after} over {before}": r2_gain(found.layers[after], found.layers[before], found.counts)
        for before, after in pairwise(names)
    }
    theirs = published.theirs(published.MSE, run, {})
    assert isinstance(theirs, dict)
    return CRITERIA.claim(
        "layers",
        id=f"{run.name}-layers",
        statement=f"The belief of {run.name} builds up from layer to layer: on prefix trees that were not fitted, every layer "
        "reads it better than the layer before.",
        reference=f"{published.NAME}, on the words fitted: " + ", ".join(f"{stage} {mse:g}" for stage, mse in theirs.items())
        if theirs
        else "no published number",
        measured="MSE " + ", ".join(f"{name} {errors.mse:.2e}" for name, errors in found.layers.items())
        + "".join(f"\nR² of {name}: {estimate(gain, 4)}" for name, gain in gains.items())
        + f"\n{len(found.trees)} prefix trees, each left out once",
        control=f"random weights, {found.last}: MSE {found.free['random weights'].mse:.2e}",
        numbers={"gain_low": [gain.low for gain in gains.values()]} if gains else None,
        figure=f"fig-{run.name}-mse",
    )  # fmt: skip


def _rivals(reading: Reading, found: HeldOut) -> Claim:
    """The last layer holds the exact belief and not a rival's, by what only one of the two says."""
    run = found.corpus.run
    bounds = CRITERIA["rivals"].bounds
    embedding = {rival: reading.by_word[reading.stages[0]][rival].r2 for rival in found.beyond}
    beyond = {rival: r2_gain(*pair, found.counts) for rival, pair in found.beyond.items()}
    explained = {rival: r2_gain(found.explained[FULL], found.explained[rival], found.counts) for rival in found.beyond}
    lines = []
    for rival, (mine, theirs) in found.beyond.items():
        if embedding[rival] > bounds["trivial"]:
            lines.append(f"{rival}: R² {embedding[rival]:.3f} from the embedding, so that it tells nothing")
            continue
        lines.append(
            f"{rival}: beyond it {mine.r2:.3f}, it beyond the exact {theirs.r2:.3f}, difference {estimate(beyond[rival], 3)}; "
            f"variance explained {found.explained[FULL].r2:.3f} against {found.explained[rival].r2:.3f}, difference "
            f"{estimate(explained[rival], 3)}"
        )
    told = any(r2 <= bounds["trivial"] for r2 in embedding.values())
    exact = found.layers[found.last]
    return CRITERIA.claim(
        "rivals",
        id=f"{run.name}-rivals",
        statement=f"The last layer of {run.name} holds the exact belief rather than a shortcut's or another process's: what only "
        "the exact belief says is read better than what only the rival says, and more of the layer's variance is affine in it.",
        reference="no published comparison for this model",
        measured=f"{found.last}, prefix trees left out: R² {estimate(r2_over_trees(exact, found.counts), 4)} for the exact "
        f"belief\n{len(found.trees)} trees",
        control="\n".join(lines) or "no other oracle",
        numbers={
            "exact_r2": exact.r2,
            "embedding_r2": list(embedding.values()),
            "beyond_low": [gain.low for gain in beyond.values()],
            "explained_low": [gain.low for gain in explained.values()],
        } if told else None,
        figure=f"fig-{run.name}-beyond",
    )  # fmt: skip

"""What is read on prefix trees that no fit has seen: layer by layer, and the exact belief against each rival.

Many columns can hold two beliefs at once. Which of them a stage holds is asked in two ways that columns alone do not answer: how
well can be read what one belief says beyond the other, and how much of the activations' variance each explains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from analyses.shared.baselines import token_history
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, NAIVE, NEXT, OTHER, Corpus, stages
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.chain.prefix_trees import PrefixTrees, TreeErrors, held_out, r2_over_trees, residual

COMPONENTS = 8
"""Principal components of the last layer that targets are read from."""
SAME = 1e-6
"""A rival of whose variance a smaller share lies outside the exact belief is that belief in other coordinates."""
RANDOM = "random weights"
HISTORY = "token history"
FREE = (HISTORY, CONSTRAINED, NAIVE, RANDOM)
"""Features that no training has made."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Errors on prefix trees left out."""

    corpus: Corpus
    trees: PrefixTrees
    counts: Float64[np.ndarray, "resample tree"]
    """Resampled trees, the same for all intervals."""
    layers: dict[str, TreeErrors]
    """Layer -> the exact belief, read from it."""
    free: dict[str, TreeErrors]
    """Features of FREE -> the exact belief, read from them."""
    beyond: dict[str, tuple[TreeErrors, TreeErrors]]
    """Rival -> what the exact belief says beyond it, and what it says beyond the exact belief, read from the last layer."""
    explained: dict[str, TreeErrors]
    """Target, rivals too -> the activations of the last layer, from it."""
    components: dict[str, list[float]]
    """Target, rivals too -> R² from the first 1, 2, … principal components of the last layer."""

    @property
    def last(self) -> str:
        """The last layer."""
        return list(self.layers)[-1]


def study_held_out(study: Study, corpus: Corpus) -> HeldOut:
    """Fit on all trees but one, in turn."""
    run = corpus.run
    study.stage(f"{run.name}: prefix trees left out")
    trees = PrefixTrees.of(corpus.words)
    where = {name: hook for name, hook in stages(run, mid=False).items() if name.startswith("layer")}
    found = corpus.activations(run.model, where)
    full = corpus.targets[FULL]
    last = list(where)[-1]
    layers = {name: held_out(found[name], {FULL: full}, trees)[FULL] for name in where}
    features = {
        HISTORY: token_history(corpus.words),
        CONSTRAINED: corpus.targets[CONSTRAINED],
        NAIVE: corpus.targets[NAIVE],
        RANDOM: corpus.activations(run.untrained(1), {last: where[last]})[last],
    }
    free = {name: held_out(features[name], {FULL: full}, trees)[FULL] for name in FREE}
    rivals = {name: corpus.targets[name] for name in (CONSTRAINED, NAIVE, OTHER)}
    pairs = {name: (residual(full, rival, trees), residual(rival, full, trees)) for name, rival in rivals.items()}
    pairs = {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if _share(theirs, rivals[name], trees) > SAME}
    both = {f"{side} {name}": values for name, pair in pairs.items() for side, values in zip(("0", "1"), pair, strict=True)}
    read = held_out(found[last], both, trees) if both else {}
    targets = {name: corpus.targets[name] for name in (FULL, NEXT, CONSTRAINED, NAIVE, OTHER)}
    return HeldOut(
        corpus=corpus,
        trees=trees,
        counts=trees.counts(study.rng(run.name, "trees")),
        layers=layers,
        free=free,
        beyond={name: (read[f"0 {name}"], read[f"1 {name}"]) for name in pairs},
        explained={name: held_out(values, {last: found[last]}, trees)[last] for name, values in targets.items()},
        components=_by_components(found[last], targets, trees),
    )


def held_out_section(found: HeldOut) -> Section:
    """Return the section with its figures."""
    run = found.corpus.run
    text = (
        f"The prefixes of `{run.name}`'s words are cut into {len(found.trees)} trees by their first {found.trees.depth} tokens. "
        "No two trees share a prefix. Each is predicted by a fit on the others; intervals resample trees.",
        f"{found.last.capitalize()} is wide: it can hold the exact belief and a rival's at once. So each is first regressed on "
        "the other, and what is left, which only one of the two says, is read from the layer. And the other way round: how much "
        "of the layer's variance is an affine function of each belief? A target that is read from few principal components fills "
        "the layer; one that needs many is a small part of it.",
    )
    return Section(
        f"{run.name}-held-out", f"{run.name}: the exact belief or a rival's?", text, (_beyond(found), _components(found))
    )


def _beyond(found: HeldOut) -> FigureData:
    run = found.corpus.run
    rows = {}
    for rival, (mine, theirs) in found.beyond.items():
        rows[f"exact belief, beyond {rival}"] = mine
        rows[f"{rival}, beyond exact belief"] = theirs
    rows |= {f"variance of {found.last} explained by {name}": errors for name, errors in found.explained.items()}
    intervals = [r2_over_trees(errors, found.counts) for errors in rows.values()]
    return FigureData(
        id=f"fig-{run.name}-beyond",
        kind="dots",
        title=f"{run.name}: what only one belief says, read from {found.last}",
        caption=f"R² on prefix trees that were not fitted, with 95 % bootstrap intervals over {len(found.trees)} trees, every "
        "word and position counted once. Values below -0.2 are cut off in the picture, not in the table.",
        alt="R² of what the exact belief says beyond each rival, of what each rival says beyond it, and of the layer's "
        "activations from every belief.",
        data={
            "x_title": "R² on trees left out", "x_range": [-0.2, 1.02], "categories": list(rows),
            "series": [
                {"name": found.last, "x": [float(i.mean) for i in intervals], "low": [float(i.low) for i in intervals],
                 "high": [float(i.high) for i in intervals]},
            ],
        },
    )  # fmt: skip


def _components(found: HeldOut) -> FigureData:
    run = found.corpus.run
    return FigureData(
        id=f"fig-{run.name}-components",
        kind="lines",
        title=f"{run.name}: how many dimensions of {found.last} a target needs",
        caption="R² on prefix trees that were not fitted, from the first principal components of the layer alone, every word and "
        "position counted once.",
        alt="R² of every target against the number of principal components that it is read from.",
        data={
            "x_title": "principal components", "y_title": "R²",
            "series": [
                {"name": name, "x": list(range(1, len(values) + 1)), "y": np.maximum(values, -1), "markers": True,
                 **({} if name == FULL else {"dash": "dash"})}
                for name, values in found.components.items()
            ],
        },
    )  # fmt: skip


def _share(part: np.ndarray, whole: np.ndarray, trees: PrefixTrees) -> float:
    """Share of a target's variance, words counted once, that a part of it has; the part has mean 0."""
    mean = trees.weight @ whole / trees.weight.sum()
    return float(trees.weight @ np.square(part).sum(axis=1) / max(trees.weight @ np.square(whole - mean).sum(axis=1), 1e-300))


def _by_components(
    activations: Float32[np.ndarray, "prefix d"], targets: dict[str, Float64[np.ndarray, "prefix _column"]], trees: PrefixTrees
) -> dict[str, list[float]]:
    mean = trees.weight @ activations / trees.weight.sum()
    centred = activations - mean
    basis = np.linalg.eigh((centred * trees.weight[:, None]).T @ centred)[1][:, ::-1]
    found: dict[str, list[float]] = {name: [] for name in targets}
    for k in range(1, min(COMPONENTS, len(mean)) + 1):
        for name, errors in held_out(centred @ basis[:, :k], targets, trees).items():
            found[name].append(errors.r2)
    return found

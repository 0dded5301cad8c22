"""Is the geometry that is read that of the beliefs, or only that of the next-token predictions?

Beliefs that predict the same next token are told apart by what comes later. Where distances between what is read follow those
of beliefs and not those of predictives, the network keeps more than the next token needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from scipy.spatial.distance import pdist

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.shared.prefix_corpus import FULL, NEXT, Corpus, joined, stages
from mechbp.methods.probing.ridge_loo import fit_ridge_loo
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed
from mechbp.study import Study
from mechbp.theory.chain.distance_agreement import DistanceAgreement, distance_agreement
from mechbp.theory.chain.prefix_probe import word_probe
from mechbp.theory.chain.prefix_trees import PrefixTrees

MOST_ROWS = 4000
"""Rows drawn where there are more: pairs grow as their square."""
DRAWN = 400
"""Pairs in the picture."""
MOST_FITTED = 12_000
"""Rows of one ridge regression."""
PARTS = 5
"""Parts of the prefix trees, each read by a fit on the others."""
MOST_AGREED = 800
"""Prefixes of which distances are correlated once per resample."""
RESAMPLES = 400
SAME = 0.999
"""A rival whose exact distances agree with those of beliefs as well as this is the belief in other coordinates."""
PENALTIES = np.logspace(-6, 4, 11)
FITTED = "all words, as fitted"
HELD_OUT = "prefix trees not fitted"
RANDOM = "random weights, "


@dataclass(frozen=True, eq=False)
class Distances:
    """Squared correlations of distances between what is read, per way of reading: with beliefs, with next-token predictives."""

    corpus: Corpus
    belief: dict[str, float]
    next_token: dict[str, float]
    n_pairs: dict[str, int]
    pairs: Float64[np.ndarray, "3 pair"]
    """A sample for the picture: read, belief and next-token distance."""
    exact: dict[str, float]
    """Squared correlation of belief distances with those of each other target: what agrees by itself."""
    agreement: DistanceAgreement
    """Of what is read on trees not fitted, with every target."""
    untrained: DistanceAgreement
    """The same of random weights."""

    @property
    def rivals(self) -> list[str]:
        """Targets whose distances are not those of beliefs."""
        return [name for name, value in self.exact.items() if value < SAME]


def distances(study: Study, corpus: Corpus) -> Distances:
    """Read the belief from all stages together, and compare pairwise distances."""
    run = corpus.run
    words = corpus.words
    study.stage(f"{run.name}: distances")
    rng = study.rng(run.name, "distances")
    belief = corpus.targets[FULL]
    following = corpus.targets[NEXT]
    every = words.prefix.ravel()
    rows = every if len(every) <= MOST_ROWS + 500 else rng.choice(every, MOST_ROWS, replace=False)
    trees = PrefixTrees.of(words)
    distinct = np.flatnonzero(trees.tree >= 0)
    if len(distinct) > MOST_ROWS:
        distinct = np.sort(rng.choice(distinct, MOST_ROWS, replace=False))
    found: tuple[dict[str, float], dict[str, float], dict[str, int]] = ({}, {}, {})

    every_row, every_prefix = ((at, [_pairwise(values[at]) for values in (belief, following)]) for at in (rows, distinct))

    def compare(name: str, read: np.ndarray, among: tuple[Int[np.ndarray, " row"], list[np.ndarray]]) -> None:
        at, exact = among
        measured = _pairwise(read[at])
        for table, pairs in zip(found[:2], exact, strict=True):
            table[name] = float(measured @ pairs) ** 2
        found[2][name] = len(measured)

    few = distinct if len(distinct) <= MOST_AGREED else np.sort(rng.choice(distinct, MOST_AGREED, replace=False))
    counts = trees.counts(rng, RESAMPLES)
    every_target = {name: values[few] for name, values in corpus.targets.items()}
    agreement = {}
    for control, model in (("", run.model), (RANDOM, run.untrained(1))):
        columns = joined(corpus.activations(model, stages(run, mid=False)))
        read = word_probe(columns, {FULL: belief}, words, rng=rng, repeats=0)[FULL].map(columns)
        compare(control + FITTED, read, every_row)
        held_out = _held_out(columns, belief, distinct, trees, rng)
        compare(control + HELD_OUT, held_out, every_prefix)
        agreement[control] = distance_agreement(held_out[few], every_target, trees.tree[few], counts)
        if not control:
            trained = read
            compare("every prefix once, as fitted", read, every_prefix)
    first = rng.choice(rows, DRAWN)
    second = rng.choice(rows, DRAWN)
    shown = np.stack([np.linalg.norm(values[first] - values[second], axis=1) for values in (trained, belief, following)])
    exact = distance_agreement(belief[few], every_target, trees.tree[few], counts[:0]).value
    exact.pop(FULL)
    return Distances(corpus, *found, shown, exact, agreement[""], agreement[RANDOM])


def distance_section(found: Distances) -> Section:
    """Return the section with its figures."""
    run = found.corpus.run
    theirs = published.theirs(published.DISTANCES, run, None)
    said = "" if theirs is None else f" {published.NAME} give {theirs[0]:.2f} and {theirs[1]:.2f} for all words, as fitted."  # type: ignore[index]
    text = (
        f"The belief is read from embedding, layers and final LayerNorm of `{run.name}` side by side, and Euclidean distances "
        "between what is read for two words are compared with distances between their exact beliefs, and between their "
        f"next-token predictives.{said} Distances of exact beliefs and exact predictives agree by {found.exact[NEXT]:.2f} "
        "themselves.",
    )
    names = list(found.belief)
    bars = FigureData(
        id=f"fig-{run.name}-distances",
        kind="dots",
        title=f"{run.name}: do distances between what is read follow those of beliefs?",
        caption=f"Squared correlation of pairwise distances. `{HELD_OUT}`: trees of prefixes that begin alike are dealt into "
        f"{PARTS} parts, each read by a ridge regression on the others. Pairs: {found.n_pairs[FITTED]:,} of words and positions, "
        f"{found.n_pairs[HELD_OUT]:,} of prefixes.",
        alt="Squared correlations with distances of beliefs and of next-token predictives, for the model and for random weights.",
        data={
            "x_title": "squared correlation", "x_range": [0, 1.02], "categories": names,
            "series": [
                {"name": "distances of beliefs", "x": list(found.belief.values())},
                {"name": "distances of next-token predictives", "x": list(found.next_token.values())},
            ],
        },
    )  # fmt: skip
    read, belief, following = found.pairs
    picture = FigureData(
        id=f"fig-{run.name}-pairs",
        kind="scatter",
        title=f"{run.name}: read distance against exact distance",
        caption=f"{DRAWN} random pairs of words and positions, from the fit on all words.",
        alt="Scatter of exact distances, of beliefs and of next-token predictives, against distances between what is read.",
        data={
            "x_title": "distance between what is read", "y_title": "exact distance",
            "series": [
                {"name": "beliefs", "x": read, "y": belief},
                {"name": "next-token predictives", "x": read, "y": following},
            ],
        },
    )  # fmt: skip
    return Section(f"{run.name}-distances", f"{run.name}: beliefs or predictions?", text, (bars, picture))


def distance_claim(found: Distances) -> Claim:
    """Return whether distances follow those of beliefs more closely than those of any other target."""
    run = found.corpus.run
    lines = [f"{name}: {found.belief[name]:.3f} beliefs, {found.next_token[name]:.3f} next token" for name in found.belief]
    same = [name for name in found.exact if name not in found.rivals]
    rivals = listed(found.rivals) if found.rivals else "no other target"
    over = {name: found.agreement.over(FULL, name) for name in found.rivals}
    over_random = found.agreement.over(FULL, FULL, found.untrained)
    theirs = published.theirs(published.DISTANCES, run, None)
    return CRITERIA.claim(
        "distances",
        id=f"{run.name}-distances",
        statement=f"Distances between what is read from {run.name} on prefix trees that were not fitted follow those of exact "
        f"beliefs more closely than those of {rivals}, and than distances read from random weights do.",
        reference=f"{published.NAME}: {theirs[0]:.2f} beliefs, {theirs[1]:.2f} next token" if theirs else "no published number",  # type: ignore[index]
        measured="\n".join(lines[:3]) + f"\n{found.n_pairs[FITTED]:,} pairs of words",
        control="squared correlation with beliefs above that\n"
        + "".join(f"with {name}: {estimate(interval, 3)}\n" for name, interval in over.items())
        + f"of random weights: {estimate(over_random, 3)}\n"
        + (f"not a rival, its distances are those of beliefs: {listed(same)}\n" if same else "")
        + f"over {found.agreement.n_trees} prefix trees\n" + "\n".join(lines[3:]),
        numbers={"over_rivals_low": [interval.low for interval in over.values()], "over_random_low": over_random.low}
        if over else None,
        figure=f"fig-{run.name}-distances",
    )  # fmt: skip


def _held_out(
    columns: np.ndarray, target: np.ndarray, at: np.ndarray, trees: PrefixTrees, rng: np.random.Generator
) -> np.ndarray:
    """Predictions for the rows `at` by ridge regression on other trees; elsewhere 0."""
    columns = columns.astype(np.float64)
    part_of_tree = rng.permutation(len(trees)) % PARTS
    owner = part_of_tree[trees.tree]
    read = np.zeros_like(target)
    for part in range(PARTS):
        mine = at[owner[at] == part]
        if not len(mine):  # fewer trees than parts
            continue
        others = np.flatnonzero((owner != part) | (trees.tree < 0))
        fitted = others if len(others) <= MOST_FITTED else rng.choice(others, MOST_FITTED, replace=False)
        scale = columns[fitted].std(axis=0) + 1e-12
        read[mine] = fit_ridge_loo(columns[fitted] / scale, target[fitted], PENALTIES)(columns[mine] / scale)
    return read


def _pairwise(rows: np.ndarray) -> Float64[np.ndarray, " pair"]:
    """Distances between all pairs of rows, centred and of norm 1, so that the product of two is their correlation."""
    found = pdist(rows)
    found -= found.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        found /= np.linalg.norm(found)
    return found

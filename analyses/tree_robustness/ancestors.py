"""Ancestors read by the paper's two-layer probe, beside a linear one: does the hidden layer find what the linear probe misses?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.tree_robustness.criteria import CRITERIA
from mechbp.hooks import HookedModel, capture
from mechbp.methods.probing.logistic import fit_logistic
from mechbp.methods.probing.ridge import Spectrum
from mechbp.methods.probing.two_layer_probe import HIDDEN, fit_two_layer
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate, panel
from mechbp.study import Study
from mechbp.theory.tree.block_ceilings import block_ceilings

READERS = {"two-layer": "two-layer probe", "linear": "linear probe"}


@dataclass(frozen=True, eq=False)
class Ancestors:
    """Held-out hits per sequence, mean over leaves: [sequence, layer, depth]."""

    run: Run
    hits: dict[str, np.ndarray]
    """"two-layer", "linear", and "random": the two-layer probe on random weights."""
    ceilings: np.ndarray
    """What a block of 2^m leaves tells of the ancestor at depth d at best, [m, d]."""

    def tops(self, hits: np.ndarray) -> np.ndarray:
        """Return hits [sequence, layer] on the ancestor m levels up after layer m: the top of the block of 2^m leaves."""
        depth = self.run.process.depth
        layers = range(min(hits.shape[1], depth))
        return np.stack([hits[:, m, depth - m - 1] for m in layers], axis=1)


def study_ancestors(study: Study, runs: Sequence[Run]) -> tuple[list[Claim], list[Section]]:
    """Probe every run, and random weights once: the architecture is that of the first run."""
    claims: list[Claim] = []
    sections: list[Section] = []
    random: np.ndarray | None = None
    for run in runs:
        tree = run.process
        sample = tree.sample(study.size(1500, 120), study.rng("ancestors"))
        inputs = run.task.inputs(tree, sample.tokens)
        heights = tree.n_leaves // np.array([len(sample.nodes[d][0]) for d in range(tree.depth)])
        symbols = np.stack([np.repeat(sample.nodes[d], heights[d], axis=1) for d in range(tree.depth)])
        if random is None:
            study.stage(f"{run.name}: two-layer probes of random weights")
            random = _hits(study, run.untrained(seed=1), inputs, symbols, tree.vocab_size)["two-layer"]
        study.stage(f"{run.name}: two-layer probes")
        found = Ancestors(
            run, {**_hits(study, run.model, inputs, symbols, tree.vocab_size), "random": random}, block_ceilings(tree)
        )
        claims += _claims(study, found)
        sections.append(_section(study, found))
    return claims, sections


def _hits(study: Study, model: HookedModel, inputs: np.ndarray, symbols: np.ndarray, q: int) -> dict[str, np.ndarray]:
    """Fit both probes on four fifths of the sequences, all leaves together, and score them on the rest."""
    acts = capture(model, inputs, ["blocks.*.hook_resid_post"])
    _, n, leaves = symbols.shape
    cut = n - n // 5
    train, test = symbols[:, :cut].reshape(len(symbols), -1), symbols[:, cut:]
    found: dict[str, list[np.ndarray]] = {name: [] for name in READERS}
    for layer, activation in enumerate(acts.values()):
        rows = activation[:, :leaves].float().cpu().numpy()
        seen, unseen = (part.reshape(-1, part.shape[-1]) for part in (rows[:cut], rows[cut:]))
        two_layer = fit_two_layer(seen, train, q, study.rng("two-layer", layer)).predict(unseen)
        spectrum = Spectrum.of(seen.astype(np.float64))
        linear = fit_logistic(spectrum, np.eye(q)[train].transpose(2, 0, 1)).predict(spectrum.rotate(unseen.astype(np.float64)))
        for name, said in (("two-layer", two_layer), ("linear", linear.argmax(axis=0))):
            found[name].append((said.reshape(test.shape) == test).mean(axis=2).T)
    return {name: np.stack(layers, axis=1).astype(np.float64) for name, layers in found.items()}


def _claims(study: Study, found: Ancestors) -> list[Claim]:
    run = found.run
    depth = run.process.depth
    n = len(found.hits["linear"])

    def over(values: np.ndarray, label: str) -> Interval:
        return bootstrap_mean(values, study.rng(run.name, "ancestors", label))

    tops = {name: found.tops(hits) for name, hits in found.hits.items()}
    layers = range(tops["linear"].shape[1])
    half = np.array([found.ceilings[m, depth - m - 1] for m in layers])
    gain, beyond_half, beyond_random = (
        over(tops["two-layer"] - other, label)
        for other, label in ((tops["linear"], "gain"), (half, "half"), (tops["random"], "random"))
    )
    above = [(m, d) for m in range(1, found.hits["two-layer"].shape[1] + 1) for d in range(depth - m)]
    excess = [over(found.hits["two-layer"][:, m - 1, d] - found.ceilings[m, d], f"{m} {d}") for m, d in above]
    accuracy = over(tops["two-layer"], "top")
    top_lines = [
        f"layer {m + 1}, {m + 1} up: two-layer {estimate(accuracy[m], 3)}, linear {tops['linear'][:, m].mean():.3f}, half of "
        "the block "
        f"{half[m]:.3f}"
        for m in layers
    ]
    sampled = f"n = {n:,} held-out sequences, mean over leaves; one fit"
    random = "random weights, two-layer: " + ", ".join(f"{value:.2f}" for value in tops["random"].mean(axis=0))
    figure = f"fig-{run.name}-two-layer"
    exceeded = [f"layer {m}, depth {d}: {estimate(e, 3)}" for (m, d), e in zip(above, excess, strict=True) if e.low > 0]
    return [
        CRITERIA.claim(
            "more",
            id=f"{run.name}-two-layer-more",
            statement=f"In {run.name} a probe with a hidden layer names the ancestor m levels up after layer m more often than "
            "a linear "
            "one does, at every layer.",
            reference="the paper probes with two layers only",
            measured="two-layer less linear: "
            + ", ".join(f"layer {m + 1} {estimate(gain[m], 3)}" for m in layers)
            + "\n"
            + "\n".join([*top_lines, sampled]),
            control=random,
            numbers={"gain_low": gain.low},
            figure=figure,
        ),
        CRITERIA.claim(
            "blocks",
            id=f"{run.name}-two-layer-blocks",
            statement=f"After layer m of {run.name} a two-layer probe names the ancestor m levels up more often than half of "
            "its block of "
            "leaves allows, and than from random weights, at every layer.",
            reference="the paper: layer m knows ancestors up to m levels above the leaf",
            measured="\n".join([*top_lines, sampled]),
            control=random,
            numbers={"beyond_half_low": beyond_half.low, "beyond_random_low": beyond_random.low},
            figure=figure,
        ),
        CRITERIA.claim(
            "bounded",
            id=f"{run.name}-two-layer-bounded",
            statement=f"After layer m of {run.name} a two-layer probe names no ancestor above the leaf's block of 2^m more "
            "often than that "
            "block tells at best.",
            reference="no published reference: what a block tells is computed from the grammar",
            measured=f"{len(exceeded)} of {len(above)} cells above: {'; '.join(exceeded) or 'none'}\n{sampled}",
            control="what blocks tell of the root, from one leaf up: "
            + ", ".join(f"{value:.2f}" for value in found.ceilings[:, 0]),
            numbers={"excess_low": [float(e.low) for e in excess]},
            figure=figure,
        ),
    ]


def _section(study: Study, found: Ancestors) -> Section:
    run = found.run
    depth = run.process.depth
    rows = [f"layer {m + 1}" for m in range(found.hits["linear"].shape[1])]
    columns = [f"{depth - d} up" for d in range(depth)]
    titles = {**READERS, "random": "two-layer, random weights"}
    panels = [
        panel(titles[name], bootstrap_mean(hits, study.rng(run.name, "figure", name))) | {"rows": rows}
        for name, hits in found.hits.items()
    ]
    blocks = [f"2^{m} leaves" for m in range(1, len(rows) + 1)]
    ceilings = np.round(found.ceilings[1 : len(rows) + 1, :depth], DECIMALS)
    panels.append({"title": "what a block tells", "rows": blocks, "values": ceilings})
    text = (
        f"Probes of `{run.name}` read the residual stream after each layer, one probe for all leaves, on unmasked sequences of "
        "filter "
        f"level 0: d to {HIDDEN} to {run.process.vocab_size} with a ReLU, as in the paper, and a linear classifier, fitted on "
        "the same "
        "activations. The last panel is what the leaf's own aligned block of leaves could tell at best.",
    )
    figure = FigureData(
        id=f"fig-{run.name}-two-layer",
        kind="heatmap",
        title=f"{run.name}: symbols of a leaf's own ancestors, by kind of probe",
        caption=f"Held-out accuracy, n = {len(found.hits['linear']):,} test sequences, mean over leaf positions.",
        alt="Heatmaps of probe accuracy: layers in rows, levels above the leaf in columns; two kinds of probe, random weights, "
        "and what "
        "blocks of leaves tell.",
        data={
            "rows": rows,
            "columns": columns,
            "value_title": "accuracy",
            "cell_text": True,
            "panels": panels,
            "panel_columns": 2,
        },
    )
    return Section(f"two-layer-{run.name}", f"Ancestors by a two-layer probe: {run.name}", text, (figure,))

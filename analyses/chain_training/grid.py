"""Is the need for two heads one of a single block? Layers by heads, trained alike on exact answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.chain_training.criteria import CRITERIA
from analyses.shared.prefix_corpus import Corpus, trained_on
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.chain.exact_loss import exact_loss
from mechbp.theory.chain.prefix_activations import prefix_answers

PUBLISHED = "Piotrowski et al. 2025, Fig. A7: .0528 with one head in one block, at most .0082 in any other shape (unit unclear)"


def grids(runs: Sequence[Run]) -> list[list[Run]]:
    """Return sets of runs that differ in layers and heads alone and hold one block with one head and other shapes."""
    found: dict[tuple[object, ...], dict[tuple[int, int], Run]] = {}
    for run in runs:
        model = run.config.model
        if model.d_head:  # else more heads are smaller ones
            key = (run.config.process, run.config.objective, run.config.training, model.d_model, model.d_head, model.d_mlp)
            found.setdefault(key, {})[model.n_layers, model.n_heads] = run
    return [list(shapes.values()) for shapes in found.values() if len(shapes) > 1 and (1, 1) in shapes]


def grid_parts(study: Study, runs: list[Run], length: int) -> tuple[Claim, Section]:
    """Return the claim about one grid, and its section."""
    first = runs[0]
    corpus = Corpus.of(first, length)
    missed = {}
    for run in runs:
        study.stage(f"{run.name}: exact loss")
        missed[run.config.model.n_layers, run.config.model.n_heads] = exact_loss(
            prefix_answers(run.model, corpus.words), corpus.words, corpus.hmm
        ).relative
    layers, heads = (sorted({shape[axis] for shape in missed}) for axis in (0, 1))
    others = {shape: value for shape, value in missed.items() if shape != (1, 1)}
    worst = max(others, key=lambda shape: others[shape])
    name = first.config.process.name.rpartition(", ")[0]
    claim = CRITERIA.claim(
        "grid",
        id=f"{first.name}-grid",
        statement=f"One head is too few in one block alone: on {name} it misses at least {CRITERIA['grid'].bounds['least']:g} "
        "times what any other number of layers and heads misses.",
        reference=PUBLISHED,
        measured=f"one block, one head: {missed[1, 1]:.3%} of the nats\nworst other, {worst[0]} layers and {worst[1]} heads: "
        f"{others[worst]:.3%}\n{len(missed)} models, one seed each, on {trained_on(first)}, heads of {first.config.model.d_head}",
        control="every other shape",
        numbers={"one_head": missed[1, 1], "others": list(others.values())},
        figure="fig-grid",
    )
    figure = FigureData(
        id="fig-grid",
        kind="heatmap",
        title=f"{name}: what every shape misses",
        caption=f"Decimal logarithm of the share of the learnable nats missed, all words of {corpus.length} "
        "tokens; one seed a shape.",
        alt="Heat map of the logarithm of the share missed, layers by heads.",
        data={
            "rows": [f"{n} layers" for n in layers], "columns": [f"{n} heads" for n in heads],
            "value_title": "log10 of the share missed", "cell_text": True,
            "panels": [{
                "title": "missed",
                "values": [[_log(missed.get((layer, head))) for head in heads] for layer in layers],
            }],
        },
    )  # fmt: skip
    text = (
        "Two heads are needed where ζ < 0 because one block can look only once. A second layer can do what a second head does.",
    )
    return claim, Section("grid", "Layers and heads", text, (figure,))


def _log(share: float | None) -> float | None:
    return None if share is None else float(np.round(np.log10(max(share, 1e-12)), 2))

"""How exact the construction is: over depths, vocabularies, filter levels and kinds of evidence, and with ReLU for squares."""

from __future__ import annotations

import numpy as np
import torch

import mechbp
from analyses.compiled_bp.criteria import CRITERIA
from analyses.compiled_bp.limits import limits_text
from mechbp.divergence import kl_nats
from mechbp.models.compiled.bp import compile_bp
from mechbp.models.compiled.relu_width import WidthAccuracy, accuracy_by_width
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

KNOTS = (4, 8, 16, 32, 64, 128)
GRAMMAR_SEED = 0


def study_accuracy(study: Study) -> tuple[list[Claim], Section]:
    """Return the claims and the section on exactness."""
    depths = (2, 3, 4, 5)
    vocabularies = (2, 3, 4, 5, 6)
    n = study.size(200, 24)
    errors = {
        kind: np.zeros((len(depths), len(vocabularies)))
        for kind in ("leaves, masked data", "root, masked data", "leaves, uniform")
    }
    for i, depth in enumerate(depths):
        study.stage(f"accuracy at depth {depth}")
        for j, q in enumerate(vocabularies):
            found = answer_errors(study, FilteredTree(grammar(q), depth), n)
            for kind, error in zip(errors, found, strict=True):
                errors[kind][i, j] = error
    study.stage("filter levels")
    levels = [FilteredTree(grammar(4), 4, k) for k in range(5)]
    by_level = np.array([answer_errors(study, tree, n) for tree in levels])
    widths = [compile_bp(tree).model.cfg.d_mlp for tree in levels]
    text = (
        "Half of the evidence is masked on average, at a rate of its own for every sequence, from nothing to everything. The "
        "answer at an observed leaf is its posterior given all other leaves.",
        "Errors come from differences of squares of messages of unlike size, so improbable sequences lose digits: the messages "
        "of uniform ones differ by many orders of magnitude.",
        limits_text(study, CRITERIA["compiled-exact"].bounds["required"]),
        "Filter levels: the 2^k nodes of depth k hang from the root, and a binary tree of copies of the root's symbol joins them "
        f"two by two in the last k blocks. Hidden units per block at k = 0 to 4: {', '.join(f'{w:,}' for w in widths)}. The "
        "paper says that l − k blocks suffice with k > 0; here there are l at every k.",
    )
    rows = [f"depth {depth}" for depth in depths]
    figures = (
        _error_figure(
            "fig-compiled-errors",
            "Largest error over depths and vocabularies",
            f"log10 of the largest absolute error of a probability; {n} sequences per cell. Required: −5.",
            rows,
            [f"{q} symbols" for q in vocabularies],
            errors,
        ),
        _error_figure(
            "fig-compiled-levels",
            "Largest error at every filter level, depth 4, 4 symbols",
            f"log10 of the largest absolute error of a probability; {n} sequences per cell.",
            [f"k = {k}" for k in range(5)],
            list(errors),
            {"": by_level},
        ),
    )
    data_error = max(errors["leaves, masked data"].max(), errors["root, masked data"].max())
    claims = [
        CRITERIA.claim(
            "compiled-exact",
            id="compiled-exact",
            statement="The construction computes belief propagation: the posteriors of leaves and root, whatever is masked, at "
            "depths 2 to 5 and vocabularies of 2 to 6.",
            reference="the paper's App. F: exact inference in l blocks, one head",
            measured=f"largest error on masked data {data_error:.0e}\n"
            f"on uniform sequences {errors['leaves, uniform'].max():.0e}\n"
            f"{len(depths) * len(vocabularies)} models, n = {n} sequences each",
            control=f"with uniform attention instead: {_uniform_error(study):.2f}",
            numbers={"largest_error": data_error},
            figure="fig-compiled-errors",
        ),
        CRITERIA.claim(
            "compiled-levels",
            id="compiled-levels",
            statement="It does so at every filter level, with as many blocks.",
            reference="the paper: only that l − k blocks suffice",
            measured=f"largest error on masked data {by_level[:, :2].max():.0e}\nn = {n} sequences at each of 5 levels",
            control=f"the model of k = 0 on the same questions of k = 1 to 4: {_wrong_level_error(study, levels):.2f}",
            numbers={"largest_error": by_level[:, :2].max()},
            figure="fig-compiled-levels",
        ),
    ]
    return claims, Section("accuracy", "How exact it is", text, figures)


def study_relu(study: Study) -> tuple[list[Claim], Section]:
    """Return the claim and the section on the ReLU variant."""
    n = study.size(200, 24)
    knots = KNOTS[: 6 if not study.quick else 4]
    results: dict[int, WidthAccuracy] = {}
    for depth in (2, 3, 4):
        study.stage(f"ReLU at depth {depth}")
        tree = FilteredTree(grammar(4), depth)
        few = knots if depth < 4 else knots[:5]
        results[depth] = accuracy_by_width(tree, few, masked(study, tree, n, "relu"))
    deepest = FilteredTree(grammar(4), 4)
    study.stage("ReLU on uniform sequences")
    uniform = study.rng("relu uniform").integers(4, size=(n, 16))
    outside = accuracy_by_width(deepest, results[4].knots[-1:], uniform)
    tokens = masked(study, deepest, n, "relu")
    exact = deepest.leave_one_out(tokens)
    guessing = kl_nats(exact, np.full(exact.shape, 0.25)).mean()
    prior = kl_nats(exact, np.broadcast_to(deepest.priors[4], exact.shape).copy()).mean()
    last = results[4]
    text = (
        "Each square becomes K units: the piecewise-linear interpolation of z² between 0 and K nodes in geometric progression. "
        "The largest node is the largest argument that the exact model meets on a fixed sample, the smallest 10^depth times "
        "less, and still less beyond K = 32. The model is then an ordinary ReLU transformer, with K times as many hidden units.",
        f"Where it falls short: the error of a product is a share of the larger square, so small probabilities are wrong by a "
        f"large factor, and messages that should be 0 are not. At depth 4 and K = {last.knots[-1]} the largest error is "
        f"{last.leaf_max_error[-1]:.2g} on data and {outside.leaf_max_error[-1]:.2g} on uniform sequences, whose mean "
        f"divergence is {outside.leaf_kl_bp_to_model_nats[-1]:.2g} nats "
        f"({outside.undefined[-1]:.1%} of answers without a positive logit).",
    )
    claim = CRITERIA.claim(
        "compiled-relu",
        id="compiled-relu",
        statement="With plain ReLU in place of squares the model still comes close to BP on data, the closer the wider it is.",
        reference="the paper's remark on Eq. 23: ReLU approximates squares piecewise linearly",
        measured="mean KL(BP || model) at a leaf, nats, widest model\n"
        + "\n".join(
            f"depth {depth}, K = {r.knots[-1]} ({r.d_mlp[-1]:,} units): {r.leaf_kl_bp_to_model_nats[-1]:.1e}, largest error "
            f"{r.leaf_max_error[-1]:.3f}"
            for depth, r in results.items()
        )
        + f"\nn = {n} sequences each",
        control=f"depth 4: leaf frequencies {prior:.2f}, uniform guesses {guessing:.2f} nats",
        numbers={"widest_kl_nats": [result.leaf_kl_bp_to_model_nats[-1] for result in results.values()]},
        figure="fig-compiled-relu",
    )
    divergences = {"leaf": "leaf_kl_bp_to_model_nats", "root": "root_kl_bp_to_model_nats"}
    errors = {"largest": "leaf_max_error", "mean": "leaf_mean_error"}
    figures = (
        _width_figure(
            "fig-compiled-relu", "Divergence from BP against width", "mean KL(BP || model) (nats)", results, divergences, n
        ),
        _width_figure(
            "fig-compiled-relu-errors", "Error of a leaf's probabilities against width", "absolute error", results, errors, n
        ),
    )
    return [claim], Section("relu", "With plain ReLU", text, figures)


def grammar(vocab_size: int) -> mechbp.TreeGrammar:
    """The random grammar of these measurements; with 4 symbols it is the paper's."""
    return mechbp.TreeGrammar.random(vocab_size, seed=GRAMMAR_SEED)


def masked(study: Study, tree: FilteredTree, n: int, *labels: str) -> np.ndarray:
    """Sequences of the tree, each masked at a rate of its own."""
    draw = study.rng("masked", tree.depth, tree.vocab_size, tree.filter_level, *labels)
    tokens = tree.sample(n, draw).tokens
    return np.where(draw.random(tokens.shape) < draw.random((n, 1)), tree.mask_token, tokens)


def answer_errors(study: Study, tree: FilteredTree, n: int) -> tuple[float, float, float]:
    """Largest errors: leaf posteriors and root posteriors on masked data, leaf posteriors on uniform sequences."""
    tokens = masked(study, tree, n)
    uniform = study.rng("uniform", tree.depth, tree.vocab_size).integers(tree.vocab_size, size=(n, tree.n_leaves))
    compiled = compile_bp(tree)
    leaves, root = compiled.leaves_and_root(tokens)
    return (
        float(np.abs(leaves - tree.leave_one_out(tokens)).max()),
        float(np.abs(root - tree.beliefs(tokens).marginals[0]).max()),
        float(np.abs(compiled.answers(uniform) - tree.leave_one_out(uniform)).max()),
    )


def _uniform_error(study: Study) -> float:
    tree = FilteredTree(grammar(4), 4)
    compiled = compile_bp(tree)
    tokens = masked(study, tree, 50)
    with mechbp.edit(compiled.model, {"blocks.*.attn.hook_pattern": lambda pattern: torch.full_like(pattern, 1 / tree.n_leaves)}):
        return float(np.abs(compiled.answers(tokens) - tree.leave_one_out(tokens)).max())


def _wrong_level_error(study: Study, levels: list[FilteredTree]) -> float:
    """The smallest, over k >= 1, of the largest error of the model of level 0."""
    unfiltered = compile_bp(levels[0])
    errors = []
    for tree in levels[1:]:
        tokens = masked(study, tree, 50)
        errors.append(np.abs(unfiltered.answers(tokens) - tree.leave_one_out(tokens)).max())
    return float(min(errors))


def _error_figure(
    id: str, title: str, caption: str, rows: list[str], columns: list[str], errors: dict[str, np.ndarray]
) -> FigureData:
    return FigureData(
        id=id,
        kind="heatmap",
        title=title,
        caption=caption,
        alt="Heatmaps of the logarithm of the largest error, one per kind of evidence where there are several: depths or "
        "filter levels in rows.",
        data={
            "rows": rows,
            "columns": columns,
            "value_title": "log10 of the largest error",
            "cell_text": True,
            "panels": [
                {"title": name, "values": np.round(np.log10(np.maximum(values, 1e-17)), 1)} for name, values in errors.items()
            ],
        },
    )


def _width_figure(
    id: str, title: str, y_title: str, results: dict[int, WidthAccuracy], measures: dict[str, str], n: int
) -> FigureData:
    dashes = ("solid", "dot")
    return FigureData(
        id=id,
        kind="lines",
        title=title,
        caption=f"Paper grammar, 4 symbols, {n} sequences masked at rates from 0 to 100 %. Hidden units per block are 208 K.",
        alt="Lines against the ReLU units per square, both axes logarithmic: two measures at each depth, one colour per depth.",
        data={
            "x_title": "ReLU units per square, K",
            "y_title": y_title,
            "x_log": True,
            "y_log": True,
            "series": [
                {
                    "name": f"depth {depth}, {label}",
                    "x": list(result.knots),
                    "y": np.maximum(getattr(result, name), 1e-12),
                    "dash": dash,
                    "markers": True,
                    "color": color,
                }
                for color, (depth, result) in enumerate(results.items())
                for dash, (label, name) in zip(dashes, measures.items(), strict=True)
            ],
        },
    )

"""Where the construction stops being exact: sequences so improbable that squares in float64 lose their difference."""

from __future__ import annotations

import numpy as np
import torch

import mechbp
from mechbp.models.compiled.bp import CompiledBP, compile_bp
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.study import Study

RARE = (1e-2, 1e-3, 1e-4)
"""Weight of every rare rule, next to one frequent rule of weight 1 per parent."""
DEPTH = 5


def limits_text(study: Study, bound: float) -> str:
    """Return what becomes of uniform sequences at depth 5 if most rules are rare: a sentence per rarity, measured."""
    n = study.size(200, 50)
    parts = []
    for rare in RARE:
        tree = FilteredTree(rare_rules(rare), DEPTH)
        compiled = compile_bp(tree)
        draw = study.rng("limits")
        data = leaf_errors(compiled, tree.sample(n, draw).tokens)
        uniform = leaf_errors(compiled, draw.integers(2, size=(n, tree.n_leaves)))
        parts.append(
            f"with rare rules of {rare:g}, the largest error is {data.max():.0e} on data and {uniform.max():.0e} on uniform "
            f"sequences, {(uniform > bound).mean():.1%} of which are off by more than {bound:g}"
        )
    return (
        "It is not exact on every input. Under rules most of which are rare, uniform sequences are next to impossible, and "
        f"their messages can lose all digits (2 symbols, depth {DEPTH}, {n} sequences): {'; '.join(parts)}. Methods should be "
        "judged on data."
    )


def rare_rules(rare: float) -> mechbp.TreeGrammar:
    """Symbols 0 and 1 that become (0, 1) and (1, 0), and any other pair with the weight `rare`."""
    rules = np.full((2, 2, 2), rare)
    rules[0, 0, 1] = rules[1, 1, 0] = 1.0
    return mechbp.TreeGrammar(rules / rules.sum(axis=(1, 2), keepdims=True))


def leaf_errors(compiled: CompiledBP, tokens: np.ndarray) -> np.ndarray:
    """Largest absolute error of a leaf's posterior, per sequence; answers without a positive logit count as off by 1."""
    with torch.no_grad():
        answers = compiled.probabilities(compiled.model(torch.from_numpy(tokens))).cpu().numpy()
    defined = ~np.isnan(answers).any(axis=(1, 2))  # impossible evidence has no exact answer either
    errors = np.ones(len(tokens))
    errors[defined] = np.abs(answers[defined] - compiled.tree.leave_one_out(tokens[defined])).max(axis=(1, 2))
    return errors

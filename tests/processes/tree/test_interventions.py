"""Beliefs with a message replaced, against sums over the whole joint in which that message stands for its evidence."""

import itertools

import numpy as np
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.interventions import Intervened, intervene


def enumerated(tree: FilteredTree, tokens: np.ndarray, depth: int, node: int, upward=None, downward=None) -> dict:
    """Marginals of one example by brute force: joint weight x evidence outside x new message, or new prior x evidence inside."""
    q, k = tree.vocab_size, tree.filter_level
    names = [(d, j) for d in tree.depths for j in range(2**d)]
    below = {(d, j) for d, j in names if d > depth and j >> (d - depth) == node}
    marginals = {d: np.zeros((2**d, q)) for d in tree.depths}
    inside_changes = downward is not None
    for symbols in itertools.product(range(q), repeat=len(names)):
        x = dict(zip(names, symbols, strict=True))
        prior = tree.grammar.root_prior[x[0, 0]]
        for j in range(2**k if k else 0):
            prior *= tree.transitions[j, x[0, 0], x[k, j]]
        outside, inside = prior, 1.0
        for d in range(k, tree.depth):
            for j in range(2**d):
                factor = tree.grammar.rules[x[d, j], x[d + 1, 2 * j], x[d + 1, 2 * j + 1]]
                if (d, j) in below or (d, j) == (depth, node):
                    inside *= factor
                else:
                    outside *= factor
        for leaf, token in enumerate(tokens):
            if token != q and token != x[tree.depth, leaf]:
                if (tree.depth, leaf) in below or (tree.depth, leaf) == (depth, node):
                    inside = 0.0
                else:
                    outside = 0.0
        top = x[depth, node]
        for d, j in names:
            within = (d, j) in below
            if within:
                weight = inside * (downward[top] if inside_changes else outside)
            elif (d, j) == (depth, node):
                up = upward[top] * _once(x, below) if upward is not None else inside
                weight = up * (downward[top] * _once(x, set(names) - below - {(depth, node)}) if inside_changes else outside)
            else:
                weight = outside * (upward[top] * _once(x, below) if upward is not None else inside)
            marginals[d][j, x[d, j]] += weight
    return {d: level / level.sum(axis=-1, keepdims=True) for d, level in marginals.items()}


def _once(x: dict, free: set) -> float:
    """1 for a single assignment of the free nodes, so that they are not summed where a message stands for them."""
    return float(all(x[name] == 0 for name in free))


@pytest.mark.parametrize("filter_level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["upward", "downward", "both"])
def test_equals_enumeration(filter_level: int, kind: str) -> None:
    rng = mechbp.rng(0, "interventions", filter_level, kind)
    tree = FilteredTree(mechbp.TreeGrammar.random(2, 1.0, 3, ambiguity=0.3), 2, filter_level)
    tokens = rng.integers(0, 3, size=(3, 4))
    for depth in range(filter_level, 3):
        nodes = rng.integers(2**depth, size=3)
        up = rng.dirichlet(np.ones(2), size=3) if kind != "downward" else None
        down = rng.dirichlet(np.ones(2), size=3) if kind != "upward" else None
        found = intervene(tree, tokens, depth, nodes, upward=up, downward=down)
        for i in range(3):
            expected = enumerated(
                tree, tokens[i], depth, int(nodes[i]), None if up is None else up[i], None if down is None else down[i]
            )
            for d in tree.depths:
                np.testing.assert_allclose(found.marginals[d][i], expected[d], rtol=0, atol=1e-12, err_msg=f"{depth} {d} {i}")


@pytest.fixture(scope="module")
def case() -> tuple[FilteredTree, np.ndarray, np.ndarray]:
    tree = FilteredTree(mechbp.TreeGrammar.random(4), 4)
    rng = mechbp.rng(1, "interventions")
    base, source = tree.sample(50, rng).tokens, tree.sample(50, rng).tokens
    base[rng.random(base.shape) < 0.2] = tree.mask_token
    return tree, base, source


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_its_own_message_changes_nothing(case: tuple[FilteredTree, np.ndarray, np.ndarray], depth: int) -> None:
    tree, base, _ = case
    nodes, beliefs = np.arange(50) % 2**depth, tree.beliefs(base)
    own = {name: getattr(beliefs, name)[depth][np.arange(50), nodes] for name in ("upward", "downward")}
    found = intervene(tree, base, depth, nodes, **own)
    for d in tree.depths:
        for name in ("upward", "downward", "marginals"):
            np.testing.assert_allclose(getattr(found, name)[d], getattr(beliefs, name)[d], rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_donors_upward_message_is_a_donors_subtree(case: tuple[FilteredTree, np.ndarray, np.ndarray], depth: int) -> None:
    """Outside, replacing the message equals splicing the donor's leaves; inside, nothing moves."""
    tree, base, source = case
    nodes, ex = np.arange(50) % 2**depth, np.arange(50)
    found = intervene(tree, base, depth, nodes, upward=tree.beliefs(source).upward[depth][ex, nodes])
    below = np.arange(tree.n_leaves) >> (tree.depth - depth) == nodes[:, None]
    spliced = tree.beliefs(np.where(below, source, base)).marginals[tree.depth]
    np.testing.assert_allclose(found.marginals[tree.depth][~below], spliced[~below], rtol=0, atol=1e-12)
    if depth < tree.depth:
        own = tree.beliefs(base).marginals[tree.depth]
        np.testing.assert_allclose(found.marginals[tree.depth][below], own[below], rtol=0, atol=1e-12)


def test_a_constant_message_is_a_masked_subtree(case: tuple[FilteredTree, np.ndarray, np.ndarray]) -> None:
    tree, base, _ = case
    nodes = np.full(50, 1)
    found = intervene(tree, base, 2, nodes, upward=np.full((50, 4), 7.0))
    masked = base.copy()
    masked[:, 4:8] = tree.mask_token
    outside = np.r_[0:4, 8:16]
    np.testing.assert_allclose(found.marginals[4][:, outside], tree.beliefs(masked).marginals[4][:, outside], rtol=0, atol=1e-12)


def test_contradictions_are_marked() -> None:
    rules = np.zeros((2, 2, 2))
    rules[0, 0, 0] = rules[1, 1, 1] = 1
    tree = FilteredTree(mechbp.TreeGrammar(rules), 1)
    found = intervene(tree, np.array([[0, 0], [0, 0]]), 1, np.array([0, 0]), upward=np.array([[1.0, 0], [0, 1.0]]))
    assert found.possible.tolist() == [True, False]
    assert isinstance(found, Intervened) and np.isfinite(found.marginals[1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be in 1..2"),
        ({"depth": 3}, "depth must be in 1..2"),
        ({"nodes": np.array([0])}, "nodes must be 2 numbers in 0..1"),
        ({"nodes": np.array([0, 2])}, "nodes must be 2 numbers in 0..1"),
        ({"upward": None}, "nothing to replace"),
        ({"upward": np.ones((2, 3))}, r"upward must be \[2, 2\]"),
        ({"upward": np.array([[1.0, 1.0], [0.0, 0.0]])}, "not all zero"),
        ({"upward": None, "downward": -np.ones((2, 2))}, "downward must be"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    tree = FilteredTree(mechbp.TreeGrammar.random(2), 2, 1)
    call = {"depth": 1, "nodes": np.array([0, 1]), "upward": np.ones((2, 2))} | arguments
    with pytest.raises(InputError, match=message):
        intervene(tree, np.zeros((2, 4), np.int64), **call)

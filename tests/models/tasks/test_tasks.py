"""Exact answers equal enumeration for every task, and a model's answers are read where the task asks."""

import itertools

import numpy as np
import pytest
import torch

from mechbp.models.answers import model_answers
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.models.tasks.chain import CHAIN
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import own_oracle
from mechbp.models.tasks.tree import TREE
from mechbp.processes.chain.library import mess3
from mechbp.processes.tree.enumeration import enumerate_tree
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng

TREES = [(q, depth, level) for q, depth in ((2, 1), (3, 2), (2, 2)) for level in range(depth + 1)]


@pytest.mark.parametrize(("q", "depth", "level"), TREES)
@pytest.mark.parametrize("task", ["masked", "root", "next-token"])
def test_exact_answers_equal_enumeration_on_every_possible_word(task, q, depth, level):
    tree = FilteredTree(TreeGrammar.random(q, 1.0, seed=1), depth, level)
    joint = enumerate_tree(tree)
    words = np.array(list(itertools.product(range(q), repeat=tree.n_leaves)))[joint.words > 0]
    if task == "masked":
        expected = joint.beliefs(words).leave_one_out
    elif task == "root":
        expected = joint.beliefs(words).marginals[0]
    else:
        earlier = [np.broadcast_to(np.arange(tree.n_leaves) < t, words.shape) for t in range(1, tree.n_leaves)]
        expected = np.stack([joint.beliefs(words, e).marginals[depth][:, t + 1] for t, e in enumerate(earlier)], axis=1)
    np.testing.assert_allclose(TREE.tasks[task].exact(tree, words), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ["masked", "root", "next-token"])
def test_model_answers_are_read_one_query_at_a_time(task):
    tree = FilteredTree(TreeGrammar.random(3, 1.0, seed=0), 2)
    attention = "causal" if task == "next-token" else "bidirectional"
    config = ModelConfig(n_layers=1, n_heads=1, d_model=8, d_mlp=8, attention=attention)
    model = build_model(config, d_vocab=5, d_vocab_out=3, n_ctx=TREE.tasks[task].n_positions(tree), seed=0)
    sample = tree.sample(5, rng(0, "tasks"))
    found = model_answers(model, TREE.tasks[task], tree, sample.tokens, batch_size=3)
    for i, word in enumerate(sample.tokens):
        queries = {"masked": range(4), "root": [4], "next-token": range(3)}[task]
        for n, query in enumerate(queries):
            tokens = word.copy()
            if task == "masked":
                tokens[query] = tree.mask_token
            if task == "root":
                tokens = np.append(tokens, tree.root_token)
            probabilities = model(torch.from_numpy(tokens)[None])[0, query].double().softmax(-1).detach().numpy()
            np.testing.assert_allclose(found[i, n], probabilities, rtol=0, atol=1e-6)
    truth = TREE.tasks[task].questions(tree, sample).truth
    assert truth.shape == found.shape[:2]
    if task == "root":
        assert (truth[:, 0] == sample.nodes[0][:, 0]).all()
        assert (TREE.tasks["root"].inputs(tree, sample.tokens)[:, :4] == sample.tokens).all()
    else:
        assert (truth == sample.tokens[:, (task == "next-token") :]).all()


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("task", ["masked", "root", "next-token"])
def test_oracles_know_one_level_each_and_the_process_itself_is_one_of_them(task, level):
    tree = FilteredTree(TreeGrammar.random(3, 1.0, seed=0), 2, level)
    oracles = TREE.tasks[task].oracles(tree)
    assert {name: oracle.filter_level for name, oracle in oracles.items()} == {f"bp{k}": k for k in range(3)}
    assert own_oracle(TREE.tasks[task], tree) == f"bp{level}" and oracles[f"bp{level}"] is tree


def test_a_chain_is_asked_for_the_token_after_each():
    hmm = mess3(0.15, 0.6, length=4)
    task = CHAIN.tasks["next-token"]
    sample = task.draw(hmm, 3, rng(0, "chain"))
    asked = task.questions(hmm, sample)
    np.testing.assert_array_equal(asked.tokens, sample.tokens[:, :4])
    np.testing.assert_array_equal(asked.truth, sample.tokens[:, 1:])
    lesson = task.lesson(hmm, ObjectiveConfig("next-token"), sample, rng(0))
    np.testing.assert_array_equal(lesson.targets.reshape(3, 4), asked.truth)
    assert lesson.reads.all() and own_oracle(task, hmm) == "bp0"

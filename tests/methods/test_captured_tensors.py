"""What `capture` returns goes into every method as it is, in any precision, and gives what the same numbers as arrays give."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.hooks import to_array
from mechbp.methods.attention.comparison import compare_patterns
from mechbp.methods.attention.patterns import mean_pattern
from mechbp.methods.interchange.leace import leace, projection
from mechbp.methods.interchange.subspaces import at_leaves, mean_subspace, probe_subspace
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import quadratic
from mechbp.methods.probing.ridge_loo import fit_ridge_loo
from mechbp.methods.probing.transfer_probe import read_out
from mechbp.methods.probing.two_layer_probe import fit_two_layer
from mechbp.processes.chain.library import mess3
from mechbp.processes.chain.words import enumerate_words
from mechbp.theory.chain.prefix_probe import word_probe
from mechbp.theory.sorting.attention_classes import class_attention
from mechbp.theory.sorting.owner_attention import owner_attention
from tests.support.random_models import random_model
from tests.support.sorter_cases import every_list, untrained_sorter

N = 200
HOOK = "blocks.0.hook_resid_post"
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def activations(request):
    model = random_model(d_vocab=6)
    tokens = np.random.default_rng(0).integers(0, 6, size=(N, 4))
    found = mechbp.capture(model, tokens, HOOK)[HOOK].to(request.param)
    return found.transpose(1, 2).contiguous().transpose(1, 2)  # as captured, but not contiguous


@pytest.fixture(scope="module")
def messages():
    values = np.random.default_rng(1).random((N, 4, 3))
    return values / values.sum(axis=-1, keepdims=True)


def rows(values, position=0):
    return values[:, position]


LABELS = np.arange(4 * N)[None] % 3
METHODS = {
    "means": lambda acts, told: mean_subspace(acts, told, 2).basis,
    "probe": lambda acts, told: probe_subspace(acts, told, 2).basis,
    "leace": lambda acts, told: leace(acts, told).removed,
    "projection": lambda acts, told: projection(acts, mean_subspace(acts, told, 2)).mean,
    "ridge": lambda acts, told: fit_ridge_loo(rows(acts), rows(told), np.array([1.0]))(rows(acts)),
    "read out": lambda acts, told: read_out(acts, np.arange(N) % 3, acts[:9], 3).probabilities,
    "two layers": lambda acts, _: fit_two_layer(acts.reshape(-1, acts.shape[2]), LABELS, 3, mechbp.rng(0), epochs=1).mean,
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_tensors_as_arrays(name, activations, messages):
    told = torch.from_numpy(messages)
    found = METHODS[name](activations, told)
    np.testing.assert_array_equal(found, METHODS[name](to_array(activations), messages))
    assert np.isfinite(np.asarray(found)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_baselines_and_targets_of_probes_may_be_tensors(dtype):
    model = random_model(d_vocab=6)
    tokens = np.random.default_rng(0).integers(0, 6, size=(N, 4))
    belief = torch.softmax(torch.randn(N, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)
    features = torch.randn(N, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    found, expected = (
        mechbp.probe(model, tokens, {"b": b}, HOOK, rng=mechbp.rng(0), controls=(), baselines={"given": f}, resamples=5)
        for b, f in ((belief, features), (belief.numpy(), to_array(features)))
    )
    for source in ("model", "given"):
        np.testing.assert_array_equal(found.interval("r2", "b", source).mean, expected.interval("r2", "b", source).mean)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reference_patterns_are_broadcast_to_layers_and_heads(dtype):
    model = random_model(n_layers=3, attention_dir="bidirectional")
    tokens = np.random.default_rng(0).integers(0, 6, size=(20, 5))
    patterns = mean_pattern(model, tokens)
    kept = torch.softmax(torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)), dim=-1).to(dtype)

    def compared(reference):
        return compare_patterns(patterns, reference, rng=mechbp.rng(0), permutations=9, resamples=5).js_nats.mean

    whole = to_array(kept).astype(np.float64)
    whole /= whole.sum(axis=-1, keepdims=True)
    one, by_layer, by_head = whole[0, 0], whole[:, 0], whole[0]
    np.testing.assert_allclose(compared(kept), compared(whole), rtol=0, atol=1e-7)
    for given, meant in (
        (kept[0, 0], np.broadcast_to(one, whole.shape)),
        (kept[:, 0], np.broadcast_to(by_layer[:, None], whole.shape)),
        (kept[0], np.broadcast_to(by_head[None], whole.shape)),
    ):
        np.testing.assert_allclose(compared(given), compared(np.ascontiguousarray(meant)), rtol=0, atol=1e-7)


def test_references_that_could_be_two_things_or_none_are_refused():
    square = random_model(n_layers=2, attention_dir="bidirectional")  # two layers of two heads
    tokens = np.random.default_rng(0).integers(0, 6, size=(20, 5))
    uniform = np.full((5, 5), 0.2)
    with pytest.raises(InputError, match=r"may be layers or heads.\nPass reference\[:, None\] for one pattern per layer"):
        mechbp.compare_attention(square, tokens, np.stack([uniform] * 2))
    for given, message in (
        (
            np.stack([uniform] * 3),
            r"must be \[query, key\] = \[5, 5\], or that per layer or head, or .* = \[2, 2, 5, 5\], got \[3, 5, 5\]",
        ),
        (2 * uniform, r"must be a distribution over keys \(>= 0, sum 1\).\nOf a captured pattern pass its mean"),
        ({"pattern": uniform}, r"must be an array \[query, key\] or .*, got dict"),
    ):
        with pytest.raises(InputError, match=message):
            mechbp.compare_attention(square, tokens, given, permutations=9, resamples=5)
    for given in (uniform, torch.from_numpy(uniform), np.stack([uniform] * 2)[:, None], np.stack([uniform] * 2)[None]):
        found = mechbp.compare_attention(square, tokens, given, permutations=9, resamples=5)
        np.testing.assert_allclose(found.reference, 0.2)
        assert found.js_nats.mean.shape == (2, 2)


def test_attention_of_sorters_may_be_tensors():
    process, tokens = every_list(8, 3)
    patterns = mechbp.capture(untrained_sorter(), tokens[:, :-1], "blocks.0.attn.hook_pattern")["blocks.0.attn.hook_pattern"]
    found = class_attention(patterns.to(torch.bfloat16), tokens, process)
    np.testing.assert_allclose(found.mass, class_attention(to_array(patterns), tokens, process).mass, atol=2e-2)
    owner = np.arange(8) % 2
    taken = owner_attention(patterns, tokens, process, owner)
    np.testing.assert_array_equal(taken.larger, owner_attention(to_array(patterns), tokens, process, owner).larger)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_word_probes_take_tensors(dtype):
    hmm = mess3(0.05, 0.85, length=4)
    words = enumerate_words(hmm, 4)
    features = torch.randn(words.n_prefixes, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    targets = {"belief": words.of_prefixes(words.beliefs[:, 1:])}
    found, expected = (
        word_probe(given, targets, words, rng=mechbp.rng(0), repeats=3)["belief"] for given in (features, to_array(features))
    )
    assert found.r2 == expected.r2
    np.testing.assert_array_equal(found.map(features), expected.map(to_array(features)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_losses_of_either_precision_are_sampled(dtype):
    loss, parameters = quadratic(np.array([0.5, 1.0]))
    given = {name: value.to(dtype) for name, value in parameters.items()}
    found = llc(
        loss, given, [None], n_beta=20.0, localization=4.0, step_size=2e-3, chains=2, burn_in=5, draws=20, rng=mechbp.rng(0)
    )
    assert np.isfinite(found.estimate)


def test_messages_of_no_depth_are_refused_with_the_cure(activations):
    tree = mechbp.FilteredTree(mechbp.TreeGrammar.random(3, seed=0), 2)
    tokens = tree.sample(N, mechbp.rng(0)).tokens
    beliefs = tree.beliefs(tokens)
    cure = r"pass at_leaves\(beliefs.upward\[depth\], n_leaves\)"
    for given in (beliefs, beliefs.upward):
        with pytest.raises(InputError, match=cure):
            mean_subspace(activations, given, 2)
        with pytest.raises(InputError, match=cure):
            at_leaves(given, 4)
    with pytest.raises(InputError, match=cure):
        leace(activations, beliefs.upward[1][:, 0])
    with pytest.raises(InputError, match=r"Of a tree's beliefs pass those of one depth: beliefs.upward\[depth\]"):
        mechbp.probe(random_model(), tokens, {"up": beliefs.upward}, HOOK, rng=mechbp.rng(0))

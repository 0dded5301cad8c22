"""Beliefs of hidden Markov models equal sums over all paths of states, and the named models are those of the papers."""

import numpy as np
import pytest
from brute_chain import only, path_weights, posterior, random_chain
from hypothesis import given
from hypothesis import strategies as st

import mechbp
from mechbp.errors import ImpossibleEvidence, InputError
from mechbp.processes.chain.constrained import decay, influence, token_beliefs
from mechbp.processes.chain.filters import filtered_beliefs, naive_bayes_beliefs, truncated_beliefs
from mechbp.processes.chain.hmm import HiddenMarkovModel
from mechbp.processes.chain.library import even, golden_mean, mess3, rrxor, z1r
from mechbp.processes.chain.words import enumerate_words, mixed_states

EXACT = {"rtol": 0, "atol": 1e-12}
ZERO_ROWS = {"rrxor": rrxor(), "z1r": z1r(), "golden mean": golden_mean(), "even": even()}


def random_words(seed, n, sparse=False):
    """n random chains, each with one possible word of random length."""
    for i in range(n):
        rng = mechbp.rng(seed, "chain", i)
        steps, longest = random_chain(rng, sparse)
        hmm = HiddenMarkovModel(steps)
        yield hmm, hmm.sample(1, rng, int(rng.integers(1, longest + 1))).tokens


@pytest.mark.parametrize("chains", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_beliefs_equal_the_sum_over_all_paths_on_random_chains(chains):
    for i, (hmm, tokens) in enumerate(random_words(0, chains)):
        word = tokens[0].tolist()
        start = hmm.start
        np.testing.assert_allclose(start @ hmm.state_transitions, start, **EXACT)
        beliefs = hmm.beliefs(tokens)[0]
        d = i % (len(word) + 1)
        np.testing.assert_allclose(beliefs[d], posterior(hmm.transitions, start, word[:d], d), **EXACT)
        weights = path_weights(hmm.transitions, start, word)
        np.testing.assert_allclose(hmm.log_evidence(tokens)[0], np.log(weights.sum()), **EXACT)
        longer = [path_weights(hmm.transitions, start, [*word, z]).sum() for z in range(hmm.vocab_size)]
        np.testing.assert_allclose(hmm.predictive(beliefs[-1]), np.array(longer) / weights.sum(), **EXACT)


@pytest.mark.parametrize("sparse", [False, True])
def test_messages_on_the_comb_are_filter_evidence_and_smoother(sparse):
    for hmm, tokens in random_words(1, 150, sparse):
        rng = mechbp.rng(1, "mask", *tokens[0].tolist())
        seen = rng.random(tokens.shape) < 0.7
        word = [int(z) if shown else None for z, shown in zip(tokens[0], seen[0], strict=True)]
        messages = hmm.messages(tokens, seen)
        filtered = hmm.beliefs(tokens, seen)
        np.testing.assert_allclose(
            messages.log_evidence[0], np.log(path_weights(hmm.transitions, hmm.start, word).sum()), **EXACT
        )
        for d in range(len(word) + 1):
            np.testing.assert_allclose(messages.downward[d][0, 0], filtered[0, d], **EXACT)
            np.testing.assert_allclose(filtered[0, d], posterior(hmm.transitions, hmm.start, word[:d], d), **EXACT)
            np.testing.assert_allclose(messages.marginals[d][0, 0], posterior(hmm.transitions, hmm.start, word, d), **EXACT)
            ahead = path_weights(hmm.transitions, np.eye(hmm.n_states), word[d:])  # [given state, state, ..., state]
            ahead = ahead.reshape(hmm.n_states, -1).sum(axis=1)
            np.testing.assert_allclose(messages.upward[d][0, 0], ahead / ahead.sum(), **EXACT)


def test_oracles_see_exactly_the_tokens_that_they_should():
    for hmm, tokens in random_words(2, 200):
        word = tokens[0].tolist()
        steps = hmm.transitions
        pi = hmm.start
        d = len(word)
        alone = [posterior(steps, pi, only(word, {s}), d) for s in range(d)]
        np.testing.assert_allclose(hmm.constrained_beliefs(tokens)[0, d], pi + sum(a - pi for a in alone), **EXACT)
        product = pi * np.prod([a / pi for a in alone], axis=0)
        np.testing.assert_allclose(naive_bayes_beliefs(hmm, tokens)[0, d], product / product.sum(), rtol=0, atol=1e-11)
        memory = d // 2
        recent = posterior(steps, pi, only(word, set(range(d - memory, d))), d)
        np.testing.assert_allclose(truncated_beliefs(hmm, tokens, memory)[0, d], recent, **EXACT)
        past = posterior(steps, pi, only(word, set(range(d - memory))), d)
        mixed = past * np.prod([a / pi for a in alone[d - memory :]], axis=0)
        np.testing.assert_allclose(filtered_beliefs(hmm, tokens, memory)[0, d], mixed / mixed.sum(), rtol=0, atol=1e-11)
        row = sum(pi[i] * steps[word[-1]][i] / steps[word[-1]][i].sum() for i in range(hmm.n_states))
        np.testing.assert_allclose(token_beliefs(steps, pi, "row")[word[-1]], row, **EXACT)


def test_identities_between_oracles():
    words = enumerate_words(mess3(0.15, 0.6), 6)
    hmm = mess3(0.15, 0.6)
    full = hmm.beliefs(words.tokens)
    np.testing.assert_allclose(filtered_beliefs(hmm, words.tokens, 0), full, **EXACT)
    np.testing.assert_allclose(filtered_beliefs(hmm, words.tokens, 1), full, **EXACT)  # Mess3 names the state it moves to
    np.testing.assert_allclose(truncated_beliefs(hmm, words.tokens, 6), full, **EXACT)
    np.testing.assert_allclose(truncated_beliefs(hmm, words.tokens, 0), np.broadcast_to(hmm.start, full.shape), **EXACT)
    xor = enumerate_words(rrxor(), 6)
    assert np.abs(filtered_beliefs(rrxor(), xor.tokens, 1) - rrxor().beliefs(xor.tokens)).max() > 0.1
    last = token_beliefs(rrxor().transitions, rrxor().start, "bayes")[xor.tokens[:, -1]]
    np.testing.assert_allclose(rrxor().constrained_beliefs(xor.tokens)[:, -1], last, **EXACT)  # its tokens are uncorrelated


@pytest.mark.parametrize("evidence", ["bayes", "row"])
def test_constrained_belief_is_recursion_sum_and_spectral_form(evidence):
    for hmm in (mess3(0.15, 0.2), mess3(0.5, 0.6), mess3(0.05, 0.85)):
        tokens = enumerate_words(hmm, 7).tokens
        found = hmm.constrained_beliefs(tokens, evidence)
        table = influence(hmm.transitions, hmm.start, 7, evidence)
        spectrum = decay(hmm.transitions)
        g = token_beliefs(hmm.transitions, hmm.start, evidence)
        for d in range(8):
            added = hmm.start + sum(table[d - 1 - s][tokens[:, s]] - hmm.start for s in range(d))
            np.testing.assert_allclose(found[:, d], np.broadcast_to(added, found[:, d].shape), **EXACT)
            for n in range(d):
                np.testing.assert_allclose(g @ spectrum.power(n), table[n], **EXACT)
        assert spectrum.values[0] == pytest.approx(1) and len(spectrum.values) == 2


@pytest.mark.parametrize("name", ZERO_ROWS)
def test_spectral_form_holds_with_eigenvalue_zero_and_period_three(name):
    hmm = ZERO_ROWS[name]
    for n in range(8):
        np.testing.assert_allclose(
            decay(hmm.transitions).power(n), np.linalg.matrix_power(hmm.state_transitions, n), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("name", ZERO_ROWS)
def test_row_evidence_is_refused_where_a_state_cannot_emit_a_token(name):
    with pytest.raises(InputError, match="divides by 0"):
        ZERO_ROWS[name].constrained_beliefs(np.zeros((1, 2), int), "row")


def test_weighted_mean_of_the_constrained_belief_is_the_prior():
    for hmm in (mess3(0.5, 0.6), HiddenMarkovModel(random_chain(mechbp.rng(3, "mean"))[0])):
        words = enumerate_words(hmm, 6)
        mean = np.einsum("w,wds->ds", words.probability, hmm.constrained_beliefs(words.tokens))
        np.testing.assert_allclose(mean, np.broadcast_to(hmm.start, mean.shape), **EXACT)


REFERENCE_ENTROPY = {
    mess3(0.05, 0.85): "1.098612 .857719 .813356 .798118 .794740 .793783 .793543 .793480 .793463 .793459 .793458",
    mess3(0.15, 0.6): "1.098612 1.091068 1.089391 1.089004 1.088915 1.088894 1.088890 1.088889 1.088888 1.088888 1.088888",
    mess3(0.5, 0.6): "1.098612 1.092019 1.090659 1.090366 1.090303 1.090290 1.090287 1.090286 1.090286 1.090286 1.090286",
    even(): ".636514 .605939 .549306 .534019 .505702 .498058 .483900 .480078 .472999 .471088 .467549",
    golden_mean(): ".636514" + 10 * " .462098",
    z1r(): ".693147 .636514 .462098" + 8 * " .231049",
}


@pytest.mark.parametrize("hmm", REFERENCE_ENTROPY, ids=range(6))
def test_next_token_entropies_are_those_of_the_literature(hmm):
    words = enumerate_words(hmm, 10)
    ahead = hmm.predictive(words.beliefs)
    surprise = -np.where(ahead > 0, ahead * np.log(np.where(ahead > 0, ahead, 1)), 0).sum(axis=-1)
    np.testing.assert_allclose(
        words.probability @ surprise, np.array(REFERENCE_ENTROPY[hmm].split(), float), rtol=0, atol=1e-6
    )  # fmt: skip


def test_golden_rows():
    hmm = mess3(0.15, 0.6)
    word = np.array([[0, 1, 1, 2, 0]])
    rows = {
        "full": ".6 .2 .2 .31579 .51316 .17105 .17361 .69548 .13091 .17000 .36878 .46122 .49126 .23727 .27147",
        "row": ".52244 .23878 .23878 .34279 .47043 .18678 .24398 .59784 .15818 .18964 .38426 .42610 .44340 .26679 .28980",
        "bayes": ".6 .2 .2 .34667 .52667 .12667 .20733 .70633 .08633 .13070 .40515 .46415 .48855 .23950 .27195",
        "nb": ".6 .2 .2 .31579 .51316 .17105 .17770 .69654 .12576 .17793 .38235 .43973 .48411 .24846 .26743",
    }
    found = {
        "full": hmm.beliefs(word),
        "row": hmm.constrained_beliefs(word, "row"),
        "bayes": hmm.constrained_beliefs(word),
        "nb": naive_bayes_beliefs(hmm, word),
    }
    for name, row in rows.items():
        np.testing.assert_allclose(found[name][0, 1:].ravel(), np.array(row.split(), float), rtol=0, atol=1e-5)
    np.testing.assert_allclose(filtered_beliefs(hmm, word, 2)[0, 5], [0.47496, 0.24601, 0.27904], rtol=0, atol=1e-5)
    np.testing.assert_allclose(truncated_beliefs(hmm, word, 3)[0, 5], [0.49204, 0.21751, 0.29045], rtol=0, atol=1e-5)
    assert hmm.log_evidence(word)[0] == pytest.approx(-5.730494, abs=1e-6)


RATIOS = {(0.15, 0.2): 0.7484, (0.15, 0.6): 0.7091, (0.5, 0.2): 0.8333, (0.5, 0.6): 0.6250, (0.05, 0.85): 0.4758}


@pytest.mark.parametrize(("x", "alpha"), RATIOS)
def test_row_and_bayes_displacements_of_mess3_are_parallel_with_the_known_ratio(x, alpha):
    hmm = mess3(x, alpha)
    shifts = [token_beliefs(hmm.transitions, hmm.start, kind) - hmm.start for kind in ("row", "bayes")]
    ratio = shifts[0] / shifts[1]
    np.testing.assert_allclose(ratio, np.full((3, 3), RATIOS[x, alpha]), rtol=0, atol=1e-4)
    assert decay(hmm.transitions).values[1].real == pytest.approx(1 - 3 * x)


def test_eigenvalues_fall_in_modulus_from_1():
    symmetric = np.array([[0.5, 0.3, 0.2, 0.0], [0.3, 0.1, 0.4, 0.2], [0.2, 0.4, 0.3, 0.1], [0.0, 0.2, 0.1, 0.7]])
    found = decay(symmetric[None])
    assert len(found.values) == 4 and found.values[0].real == pytest.approx(1)
    assert (np.diff(np.abs(found.values)) < 0).all() and np.sign(found.values.real).min() == -1


def test_numbers_of_words_and_beliefs():
    assert [len(enumerate_words(rrxor(), length).tokens) for length in (10, 11)] == [436, 676]
    assert [enumerate_words(rrxor(), length).n_prefixes for length in (10, 11)] == [1046, 1722]
    for hmm, count in ((rrxor(), 36), (z1r(), 7), (golden_mean(), 3), (even(), 4)):
        found = mixed_states(hmm, 100)
        assert len(found.beliefs) == count and found.closed
    assert np.bincount(mixed_states(rrxor(), 9).depth).cumsum().tolist() == [1, 3, 7, 15, 27, 34, 36]
    for depth in range(5):  # of words of up to so many tokens, no more and no fewer
        assert np.bincount(mixed_states(mess3(0.05, 0.85), depth).depth).tolist() == [3**d for d in range(depth + 1)]
    fractal = mixed_states(mess3(0.05, 0.85), 10)
    assert len(fractal.beliefs) == 83_500 and not fractal.closed


def test_enumeration_is_complete_ordered_and_knows_its_prefixes():
    hmm = HiddenMarkovModel(random_chain(mechbp.rng(4, "words"), sparse=True)[0])
    words = enumerate_words(hmm, 5)
    assert words.probability.sum() == pytest.approx(1, abs=1e-12)
    assert words.tokens.tolist() == sorted(words.tokens.tolist()) and len(np.unique(words.tokens, axis=0)) == len(words.tokens)
    np.testing.assert_allclose(words.beliefs, hmm.beliefs(words.tokens), **EXACT)
    np.testing.assert_allclose(np.log(words.probability), hmm.log_evidence(words.tokens), **EXACT)
    same = {}
    for word, row in zip(words.tokens.tolist(), words.prefix.tolist(), strict=True):
        for t, number in enumerate(row):
            assert same.setdefault(number, word[: t + 1]) == word[: t + 1]
    assert len(same) == words.n_prefixes == len(words.first_of_prefix)


def test_sampling_follows_the_law_of_words():
    hmm = mess3(0.15, 0.6, length=4)
    words = enumerate_words(hmm, 4)
    sample = hmm.sample(200_000, mechbp.rng(5, "sample"))
    counts = np.bincount(sample.tokens @ 3 ** np.arange(3, -1, -1), minlength=81)
    expected = words.probability * 200_000
    assert ((counts - expected) ** 2 / expected).sum() < 80 + 5 * np.sqrt(2 * 80)  # chi-squared, five standard deviations
    moved = np.zeros((3, 3, 3))
    np.add.at(moved, (sample.tokens, sample.states[:, :-1], sample.states[:, 1:]), 1)
    np.testing.assert_allclose(moved / moved.sum(axis=(0, 2))[:, None], hmm.transitions, rtol=0, atol=0.01)


def test_ten_thousand_tokens_do_not_underflow():
    hmm = mess3(0.05, 0.85)
    sample = hmm.sample(1, mechbp.rng(6, "long"), length=10_000)
    beliefs = hmm.beliefs(sample.tokens)
    messages = hmm.messages(sample.tokens)
    assert np.isfinite(beliefs).all() and np.allclose(beliefs.sum(axis=-1), 1, rtol=0, atol=1e-12)
    assert np.allclose(hmm.log_evidence(sample.tokens) / 10_000, -0.793458, rtol=0, atol=0.05)
    assert np.isfinite(messages.marginals[0]).all() and np.isfinite(hmm.constrained_beliefs(sample.tokens)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_relabelling_states_and_tokens_permutes_beliefs(seed, length):
    rng = np.random.default_rng(seed)
    steps, _ = random_chain(rng)
    hmm = HiddenMarkovModel(steps)
    tokens = hmm.sample(4, rng, length).tokens
    states = rng.permutation(hmm.n_states)
    symbols = rng.permutation(hmm.vocab_size)
    renamed = HiddenMarkovModel(steps[np.argsort(symbols)][:, states][:, :, states])
    np.testing.assert_allclose(renamed.beliefs(symbols[tokens]), hmm.beliefs(tokens)[..., states], rtol=0, atol=1e-10)


def test_masked_tokens_leave_the_prior_and_impossible_ones_are_named():
    hmm = golden_mean()
    np.testing.assert_allclose(hmm.beliefs(np.full((1, 3), hmm.mask_token)), np.tile(hmm.start, (1, 4, 1)), **EXACT)
    with pytest.raises(ImpossibleEvidence, match="example 1 up to position 2"):
        hmm.beliefs(np.array([[0, 1, 0], [0, 1, 1]]))
    with pytest.raises(ImpossibleEvidence, match="example 1"):
        hmm.messages(np.array([[0, 1, 0], [0, 1, 1]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenMarkovModel(np.ones((2, 3))), "must be [token, from, to]"),
        (lambda: HiddenMarkovModel(np.full((1, 2, 2), 0.4)), "from state 0 sum to 0.8"),
        (lambda: HiddenMarkovModel(np.array([[[1.5, -0.5], [0.5, 0.5]]])), r"transitions[0, 0, 1] = -0.5 is no probability"),
        (lambda: HiddenMarkovModel(np.eye(2)[None]), "no single stationary law"),
        (lambda: HiddenMarkovModel(np.eye(2)[None], start=np.array([0.5, 0.2])), "start must be 2 probabilities"),
        (lambda: mess3(0.6, 0.5), "mess3: x must be a finite number > 0 and <= 0.5, got 0.6"),
        (lambda: mess3(0.1, float("nan")), "mess3: alpha must be"),
        (lambda: rrxor(1.0), "rrxor: p must be"),
        (lambda: mess3(0.1, 0.5).sample(3, mechbp.rng(0)), "say how long the sequences are"),
        (lambda: mess3(0.1, 0.5).sample(3, mechbp.rng(0), length=0), "length must be an integer >= 1"),
        (lambda: mess3(0.1, 0.5).beliefs(np.array([[0, 4]])), "token 4 of example 0, position 1 is out of range"),
        (lambda: mess3(0.1, 0.5).constrained_beliefs(np.array([[0]]), "none"), "evidence must be one of bayes, row"),
        (lambda: filtered_beliefs(mess3(0.1, 0.5), np.array([[0]]), -1), "expected a number of tokens >= 0"),
        (
            lambda: HiddenMarkovModel(mess3(0.1, 0.5).transitions, start=np.eye(3)[0]).constrained_beliefs(np.array([[0]])),
            "must be the stationary law",
        ),
        (lambda: enumerate_words(HiddenMarkovModel(np.full((100, 1, 1), 0.01)), 30), "too many words"),
    ],
)
def test_nonsense_is_refused_in_one_line(make, message):
    with pytest.raises(mechbp.errors.MechbpError) as caught:
        make()
    assert message in str(caught.value) and str(caught.value).count("\n") <= 2

"""The contract: every process keeps it, a toy family joins by its members alone, and every planted fault is found."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from coin import BiasedCoin, Flips
from scipy.stats import chi2, kstest

import mechbp
from mechbp.processes.chain.library import even, golden_mean, z1r
from mechbp.processes.evidence import checked_evidence
from mechbp.processes.laws.behaviour import _check_inputs
from mechbp.processes.laws.exactness import _by_summation
from mechbp.processes.laws.sampler import LEAST_EXPECTED, N_FIRST, _g_statistic, check_sampler
from mechbp.processes.laws.sequences import Sequences
from mechbp.processes.process import ABSENT, Joint, Process, Query, Sample
from mechbp.processes.tree.belief_propagation import TreeBeliefs

PAPER = mechbp.TreeGrammar.random(4)
SOFT = mechbp.TreeGrammar.random(2, seed=1, ambiguity=0.3)


PROCESSES = {
    **{f"tree, level {k}": mechbp.FilteredTree(PAPER, 3, k) for k in range(4)},
    "tree, released grammar": mechbp.FilteredTree(mechbp.TreeGrammar.random(4, recipe="released"), 4, 1),
    "tree, ambiguous grammar": mechbp.FilteredTree(SOFT, 2, 0),
    "tree, impossible leaves": mechbp.FilteredTree(mechbp.TreeGrammar.random(3, seed=5), 2, 1),
    "mess3": mechbp.mess3(0.15, 0.6, length=6),
    "mess3 of any length": mechbp.mess3(0.05, 0.85),
    "rrxor": mechbp.rrxor(length=12),
    "even": even(length=4),
    "golden mean": golden_mean(length=4),
    "z1r": z1r(length=4),
    "coin": BiasedCoin(),
    "one sequence": mechbp.HiddenMarkovModel(np.ones((1, 1, 1)), length=4),
    "coin, skewed prior": BiasedCoin(0.3, 2.5, length=4),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_keeps_the_contract(name, unchecked):
    process = PROCESSES[name]
    assert isinstance(process, Process) and isinstance(process.small().sample(2, mechbp.rng(0)), Sample)
    mechbp.check_process(process, mechbp.rng(1, "contract", name))


def tilted(distributions):
    """Move 1e-3 of probability from the likeliest outcome to the next one; sums stay 1."""
    result = np.array(distributions)
    order = np.argsort(result, axis=-1)
    for rank, shift in ((-1, -1e-3), (-2, 1e-3)):
        at = order[..., rank, None]
        np.put_along_axis(result, at, np.take_along_axis(result, at, -1) + shift, -1)
    return result


def noisy(tokens, rng):
    """Replace 3 % of the tokens by a random one."""
    hit = rng.random(tokens.shape) < 0.03
    return np.where(hit, rng.integers(2, size=tokens.shape), tokens)


class TiltedCoin(BiasedCoin):
    def beliefs(self, tokens):
        return tilted(super().beliefs(tokens))


class TiltedTree(mechbp.FilteredTree):
    def beliefs(self, tokens, observed=None):
        exact = super().beliefs(tokens, observed)
        marginals = {d: tilted(marginal) if d == 0 else marginal for d, marginal in exact.marginals.items()}
        return TreeBeliefs(exact.upward, exact.downward, marginals, exact.log_evidence)


class TiltedEvidence(mechbp.HiddenMarkovModel):
    def log_evidence(self, tokens, observed=None):
        return super().log_evidence(tokens, observed) + 1e-3


class UnnormalisedCoin(BiasedCoin):
    def beliefs(self, tokens):
        return super().beliefs(tokens) * (1 + 1e-9)


class NoisyCoin(BiasedCoin):
    def sample(self, n, rng):
        return Flips(noisy(super().sample(n, rng).tokens, rng))


class NoisyChain(mechbp.HiddenMarkovModel):
    def sample(self, n, rng, length=None):
        return Flips(noisy(super().sample(n, rng, length).tokens, rng))


class MovedChain(mechbp.HiddenMarkovModel):
    """One probability of the sampler is .01 higher, its row still sums to 1."""

    def sample(self, n, rng, length=None):
        steps = self.transitions.copy()
        steps[0, 0, 0] += 0.01
        return mechbp.HiddenMarkovModel(steps / steps.sum(axis=(0, 2))[:, None], self.start).sample(n, rng, length or self.length)


class MovedTree(mechbp.FilteredTree):
    def sample(self, n, rng):
        rules = self.grammar.rules.copy()
        rules[0, 0, 0] += 0.01
        rules[0, 1, 1] -= 0.01
        return mechbp.FilteredTree(mechbp.TreeGrammar(rules), self.depth, self.filter_level).sample(n, rng)


class EndingCoin(BiasedCoin):
    """Some of its sequences end early, of which it says nothing."""

    def sample(self, n, rng):
        tokens = super().sample(n, rng).tokens
        tokens[::2, -1] = ABSENT
        return Flips(tokens)


class GlobalCoin(BiasedCoin):
    def sample(self, n, rng):
        np.random.random()
        return super().sample(n, rng)


class EntropyCoin(BiasedCoin):
    def sample(self, n, rng):
        return super().sample(n, np.random.default_rng())


class DeafCoin(BiasedCoin):
    def sample(self, n, rng):
        return super().sample(n, np.random.default_rng(0))


class MutatingCoin(BiasedCoin):
    def beliefs(self, tokens):
        result = super().beliefs(tokens)
        tokens[0] = 0
        return result


class WritingCoin(BiasedCoin):
    """Writes into what it is given, and takes it back."""

    def beliefs(self, tokens):
        checked_evidence(tokens, "WritingCoin", vocab_size=1, length=self.length, place="flip")
        tokens += 1
        tokens -= 1
        return super().beliefs(tokens)


class BatchCoin(BiasedCoin):
    def beliefs(self, tokens):
        exact = super().beliefs(tokens)
        return exact + 1e-9 * (exact.mean(axis=0) - exact)


class RememberingCoin(BiasedCoin):
    kept = None

    def beliefs(self, tokens):
        if type(self).kept is None or not np.array_equal(type(self).kept[0], tokens):
            type(self).kept = (np.array(tokens), super().beliefs(tokens))
        return type(self).kept[1]


@dataclass(frozen=True, eq=False)
class KeepingCoin(BiasedCoin):
    table: np.ndarray = field(default_factory=lambda: np.zeros(3))


class OpenCoin(BiasedCoin):
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)


class HalfOpenCoin(BiasedCoin):
    """Its first attribute by name stays as it is."""

    def __setattr__(self, name, value):
        if name == "length":
            raise AttributeError(name)
        object.__setattr__(self, name, value)


class TrustingCoin(BiasedCoin):
    """Takes any tokens for flips."""

    def beliefs(self, tokens):
        with np.errstate(all="ignore"):
            return super().beliefs(np.asarray(tokens, float).astype(np.int64).clip(0, 1))


class CrashingCoin(BiasedCoin):
    def beliefs(self, tokens):
        return super().beliefs(np.array([0, 1, 9])[tokens])


class ForgivingChain(mechbp.HiddenMarkovModel):
    def beliefs(self, tokens, observed=None):
        try:
            return super().beliefs(tokens, observed)
        except mechbp.errors.ImpossibleEvidence:
            return np.tile(self.start, (len(tokens), tokens.shape[1] + 1, 1))


class WrongExample(mechbp.HiddenMarkovModel):
    def beliefs(self, tokens, observed=None):
        try:
            return super().beliefs(tokens, observed)
        except mechbp.errors.ImpossibleEvidence as refusal:
            raise mechbp.errors.ImpossibleEvidence(str(refusal), example=0) from None


class Wrapped:
    """Passes everything on: its small() would be checked in its place."""

    def __init__(self, process):
        self.process = process

    def __getattr__(self, name):
        return getattr(self.process, name)


def chain(cls, process, length=4):
    return cls(process.transitions, length=length)


FAULTS = {
    "beliefs tilted by 1e-3, coin": (TiltedCoin(), "enumeration: predictive"),
    "beliefs tilted by 1e-3, tree": (TiltedTree(SOFT, 3), r"enumeration: marginals\[0\]"),
    "evidence tilted by 1e-3": (chain(TiltedEvidence, mechbp.mess3(0.15, 0.6)), "enumeration: log_evidence"),
    "sums of beliefs": (UnnormalisedCoin(), r"probabilities: predictive: .* sums miss 1 by up to 1\.0e-09"),
    "3 % of the tokens, coin": (NoisyCoin(), "sampler: G = "),
    "3 % of the tokens, impossible ones too": (chain(NoisyChain, even()), "sampler: .* sequences have probability 0"),
    "3 % of the tokens, chain": (chain(NoisyChain, mechbp.rrxor(0.4, 0.4)), "sampler: "),
    "one probability moved by .01, chain": (chain(MovedChain, mechbp.mess3(0.05, 0.85)), "sampler: G = "),
    "one probability moved by .01, tree": (MovedTree(SOFT, 2), "sampler: G = "),
    "sequences that end unannounced": (EndingCoin(), "protocol: .*expected symbols"),
    "global generator": (GlobalCoin(), "randomness: sample moved a global generator"),
    "randomness of its own": (EntropyCoin(), "randomness: the same state of rng gave"),
    "generator ignored": (DeafCoin(), "randomness: rng moved on"),
    "inputs changed": (MutatingCoin(), "inputs: beliefs changed"),
    "inputs written into": (WritingCoin(), "inputs: beliefs: read-only raised ValueError"),
    "batch dependence": (BatchCoin(), r"batch independence: beliefs: .* differs by \d\.\de-(09|10) from the batch"),
    "results kept": (RememberingCoin(), "inputs: beliefs: .* is a result kept"),
    "writable arrays": (KeepingCoin(), r"frozen: KeepingCoin.table \[3\] can be written into"),
    "writable attributes": (OpenCoin(), "frozen: OpenCoin.* can be set"),
    "some writable attributes": (HalfOpenCoin(), "frozen: HalfOpenCoin.ones, HalfOpenCoin.zeros can be set"),
    "nonsense answered": (
        TrustingCoin(),
        r"named errors: beliefs answered the token -1, the token 3 of 2, .*, text; expected InputError\. Likewise predictive",
    ),
    "raw errors": (CrashingCoin(), "named errors: beliefs raised IndexError .* for the token 3 of 2, .*, text; expected"),
    "impossible evidence answered": (chain(ForgivingChain, even()), "impossible evidence: beliefs: .* was answered"),
    "impossible evidence misplaced": (chain(WrongExample, even()), "impossible evidence: .* is example 1, the error names 0"),
    "members missing": (Flips(np.zeros((2, 2), int)), "protocol: Flips lacks vocab_size, sample, beliefs, small, joint"),
    "small version of another class": (Wrapped(BiasedCoin()), "protocol: small.. is a BiasedCoin"),
}


CONSEQUENCES = {
    "batch dependence": ["batch independence", "enumeration"],
    "small version of another class": ["protocol", "frozen"],
}
"""Where one fault breaks further laws indeed."""
LONG = ("beliefs tilted by 1e-3, tree", "one probability moved by .01, chain")
"""Faults whose like is planted in a coin as well, where it is found sooner."""


@pytest.mark.parametrize("fault", [pytest.param(fault, marks=[pytest.mark.slow] * (fault in LONG)) for fault in FAULTS])
def test_every_planted_fault_is_found_and_its_law_named(fault):
    process, message = FAULTS[fault]
    with pytest.raises(mechbp.ContractError, match=message) as caught:
        mechbp.check_process(process, mechbp.rng(0, "fault", fault))
    assert str(caught.value).startswith(f"{caught.value.law}: ") and len(str(caught.value).splitlines()) <= 3
    assert [*caught.value.broken] == CONSEQUENCES.get(fault, [message.split(":")[0]]), "a fault drags no other law down"


class OpenNoisyCoin(BiasedCoin):
    """A table that anybody may write into, beliefs that are off and take anything, tokens that are off."""

    def __init__(self):
        super().__init__(length=5)
        object.__setattr__(self, "table", np.zeros(3))
        object.__setattr__(self, "other", np.zeros(2))

    def beliefs(self, tokens):
        return tilted(TrustingCoin(length=self.length).beliefs(tokens))

    def sample(self, n, rng):
        return NoisyCoin(length=self.length).sample(n, rng)

    def small(self):
        return self


class Uncountable(BiasedCoin):
    """Nothing of it can be drawn or listed."""

    def sample(self, n):
        return super().sample(n, mechbp.rng(0))

    def joint(self):
        raise NotImplementedError("later")


@pytest.mark.parametrize("n", [3, 4, 7, 8])
def test_a_sequence_beyond_all_that_are_listed_is_impossible(n):
    listed = Sequences(np.arange(n)[:, None] // [8, 4, 2, 1] % 2, np.arange(n), np.full(n, 1 / n), np.arange(n), 2)
    ones = SimpleNamespace(sample=lambda n, rng: SimpleNamespace(tokens=np.ones((n, 4), np.int64)))
    with pytest.raises(mechbp.ContractError, match=r"have probability 0, \[1 1 1 1\] is one"):
        check_sampler(ones, listed, mechbp.rng(0))


def test_one_error_names_every_law_that_is_broken():
    with pytest.raises(mechbp.ContractError) as caught:
        mechbp.check_process(OpenNoisyCoin(), mechbp.rng(0, "several"))
    message = str(caught.value)
    assert list(caught.value.broken) == ["named errors", "frozen", "enumeration", "sampler"]
    assert all(f"{law}: " in message for law in caught.value.broken) and len(message.splitlines()) == 3
    assert "OpenNoisyCoin.table [3], OpenNoisyCoin.other [2] can be written into" in caught.value.broken["frozen"]


def test_an_exception_of_the_process_is_a_finding_and_what_needs_its_result_is_left_out():
    with pytest.raises(mechbp.ContractError, match=r"protocol: sample raised TypeError \(.*\)\. Likewise joint\(\)\.") as caught:
        mechbp.check_process(Uncountable(), mechbp.rng(0))
    assert list(caught.value.broken) == ["protocol"] and isinstance(caught.value.__cause__, TypeError)


def test_what_is_kept_is_given_back_so_that_no_further_law_seems_broken():
    """The check of inputs writes into results, to see whether they are kept; a process that keeps them answers right after it."""
    coin = RememberingCoin()
    tokens = coin.sample(7, mechbp.rng(3)).tokens
    expected = BiasedCoin().beliefs(tokens)
    with pytest.raises(mechbp.ContractError, match="is a result kept"):
        _check_inputs("beliefs", coin.beliefs, tokens)
    assert np.array_equal(coin.beliefs(tokens), expected)


def test_the_p_values_of_faultless_samplers_are_uniform():
    """So the second sample is drawn in a fifth of all checks, and the verdict is wrong as rarely as promised."""
    probability = np.array([0.4, 0.3, 0.2, 0.09, 0.0099, 9e-5, 9e-6, 1e-6])
    draws = mechbp.rng(0, "p-values").multinomial(N_FIRST, probability, size=2000)
    p_values = [chi2.sf(*_g_statistic(counts, N_FIRST * probability)) for counts in draws]
    assert kstest(p_values, "uniform").pvalue > 1e-3
    assert _g_statistic(draws[0], N_FIRST * probability)[1] == 6  # eight outcomes, the two rarest counted together


def test_the_generator_is_checked():
    with pytest.raises(mechbp.errors.InputError, match="must be a numpy.random.Generator"):
        mechbp.check_process(BiasedCoin(), 0)


def test_states_that_cannot_be_leave_the_answers_of_others_alone():
    tokens = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    query = Query(lambda *_: None, np.array([[0], [1], [0], [1]]), np.array([[True, False]]))
    answers, marginal = _by_summation(Joint(tokens, np.array([0.25, 0.75, 0.0, 0.0]), {"q": query}), query, 0, 2, 2)
    np.testing.assert_array_equal(answers, [[0.25, 0.75], [0.25, 0.75], [0, 0], [0, 0]])
    np.testing.assert_array_equal(marginal, [0.25, 0.75])


def test_outcomes_that_are_expected_often_enough_are_counted_alone():
    expected = np.array([LEAST_EXPECTED, LEAST_EXPECTED, 2, 78])
    assert _g_statistic(np.array([9, 11, 2, 78]), expected)[1] == 2  # the rarest with one of the next, so that they suffice
    assert _g_statistic(np.array([9, 10, 81]), np.array([9.5, 9.5, 81]))[1] == 1  # 10 suffice, and no fewer


def test_tokens_that_need_no_change_are_not_copied():
    tokens = np.zeros((3, 4), np.int64)
    given = {"where": "test", "vocab_size": 2, "length": 4, "place": "position"}
    assert np.shares_memory(checked_evidence(tokens, **given), tokens)
    assert checked_evidence(tokens.astype(np.int8), **given).dtype == np.int64

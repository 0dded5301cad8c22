"""Laws of a process whose joint is listed: probabilities, enumeration, impossible evidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mechbp.errors import ContractError, ImpossibleEvidence
from mechbp.processes.laws.behaviour import Answer
from mechbp.processes.laws.findings import Findings
from mechbp.processes.laws.sequences import Sequences, number_of
from mechbp.processes.process import Joint, Query

SUM_TOLERANCE = 1e-12
"""Sums of probabilities may miss 1 by this much."""
EXACT_TOLERANCE = 1e-10
"""Answers may differ from the sums by this much."""
N_SEQUENCES = 2**12
"""If there could be more sequences than this, impossible ones among them are not looked for."""


def check_joint(joint: Joint) -> None:
    """Check that the joint is a distribution that some answer can be compared with."""
    if not joint.queries:
        raise ContractError("protocol", "the joint has no queries, so that no answer of the process can be checked.")
    _check_distributions("the joint", joint.probability)


def _check_distributions(name: str, values: np.ndarray) -> None:
    gap = np.abs(values.sum(axis=-1) - 1).max()
    if not values.min() >= 0 or not gap <= SUM_TOLERANCE:  # NaN fails too
        raise ContractError("probabilities", f"{name}: the least is {values.min():.3g}, sums miss 1 by up to {gap:.1e}.")


def check_exactness(joint: Joint, sequences: Sequences, answers: Mapping[str, Answer], findings: Findings) -> None:
    """Compare every answer, for all sequences of the joint, with sums over its states."""
    if "log_evidence" in answers:
        findings.passes("log_evidence", _check_evidence, answers["log_evidence"], sequences)
    for name, query in joint.queries.items():
        findings.passes(name, _check_query, name, answers[name], joint, query, sequences)


def _check_evidence(answer: Answer, sequences: Sequences) -> None:
    found = np.exp(answer(sequences.tokens.copy()))
    _check_equal("log_evidence, exponentiated", found, sequences.probability, sequences.tokens)
    _check_distributions("the evidence of all sequences", found)


def _check_query(name: str, answer: Answer, joint: Joint, query: Query, sequences: Sequences) -> None:
    found = answer(sequences.tokens.copy())
    if found.shape[:2] != (len(sequences.tokens), len(query.given)):
        raise ContractError("enumeration", f"{name}: {len(query.given)} variables gave the shape {list(found.shape)}.")
    _check_distributions(name, found)
    for v in range(len(query.given)):
        posterior, prior = _by_summation(joint, query, v, found.shape[-1], sequences.base)
        stated = found[:, v]
        if query.likelihood:  # times the prior, it is the posterior
            stated = stated * prior
            stated = stated / stated.sum(axis=-1, keepdims=True)
        _check_equal(f"{name} of variable {v}", stated, posterior[sequences.state], sequences.tokens)


def _by_summation(joint: Joint, query: Query, v: int, n_outcomes: int, base: int) -> tuple[np.ndarray, np.ndarray]:
    """P(variable = a | given tokens) [state, outcome], as in each state, and P(variable = a)."""
    variable = query.variables[:, v]
    _, seen = np.unique(number_of(joint.tokens, base, query.given[v]), return_inverse=True)
    table = np.bincount(seen * n_outcomes + variable, joint.probability, (seen.max() + 1) * n_outcomes).reshape(-1, n_outcomes)
    sums = table.sum(axis=1, keepdims=True)
    return np.divide(table, sums, out=np.zeros_like(table), where=sums > 0)[seen], table.sum(axis=0)


def _check_equal(name: str, found: np.ndarray, expected: np.ndarray, tokens: np.ndarray) -> None:
    gap = np.abs(found - expected)
    if not gap.max() <= EXACT_TOLERANCE:  # NaN fails too
        at = np.unravel_index(gap.argmax(), gap.shape)
        raise ContractError("enumeration", f"{name} for {tokens[at[0]]} is {found[at]:.12g}; the sums give {expected[at]:.12g}.")


def check_impossible(sequences: Sequences, answers: Mapping[str, Answer], findings: Findings) -> None:
    """Ask for beliefs and evidence given each sequence of probability 0, behind one that is possible."""
    base = sequences.base
    length = sequences.tokens.shape[1]
    if base**length > N_SEQUENCES:
        return
    numbers = np.setdiff1d(np.arange(base**length), sequences.number)
    impossible = np.stack(np.unravel_index(numbers, (base,) * length), axis=-1)
    for name in ("beliefs", "log_evidence"):
        if name in answers:
            findings.passes(name, _check_refusals, name, answers[name], sequences.tokens[0], impossible)


def _check_refusals(name: str, answer: Answer, possible: np.ndarray, impossible: np.ndarray) -> None:
    for word in impossible:
        _check_refusal(name, answer, np.stack([possible, word, word]))


def _check_refusal(name: str, answer: Answer, tokens: np.ndarray) -> None:
    """Check the answer to one possible sequence and two impossible ones."""
    law = "impossible evidence"
    try:
        answer(tokens)
    except ImpossibleEvidence as refusal:
        if refusal.example != 1:
            raise ContractError(law, f"{name}: the first such is example 1, the error names {refusal.example}.") from refusal
    except Exception as error:
        raise ContractError(law, f"{name}: {tokens[1]} has probability 0 and raised {type(error).__name__}.") from error
    else:
        raise ContractError(law, f"{name}: {tokens[1]} has probability 0 and was answered; expected ImpossibleEvidence.")

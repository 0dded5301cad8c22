"""The laws that every process keeps, as a function: tests and users call `check_process`, which knows no family.

protocol            the process has the members of `Process`, and they fit together
frozen              attributes cannot be set, and arrays that the process keeps cannot be written into
inputs              tokens stay as they are, read-only and strided ones are accepted, results belong to the caller
randomness          only from the generator given: the same state gives the same sample, global generators stay as they are
batch independence  the answer for an example does not depend on the batch around it
named errors        tokens that make no sense raise a MechbpError
probabilities       the joint and all answers are distributions: nothing below 0, sums of 1
enumeration         answers and evidence equal what Bayes' rule gives from the joint by plain summation
impossible evidence sequences of probability 0 raise ImpossibleEvidence, which names the first of them
sampler             sequences are drawn as often as the joint says (G-test)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mechbp.errors import ContractError, InputError
from mechbp.processes.laws.behaviour import Answer, check_behaviour
from mechbp.processes.laws.exactness import check_exactness, check_impossible, check_joint
from mechbp.processes.laws.findings import Findings
from mechbp.processes.laws.sampler import check_sampler
from mechbp.processes.laws.sequences import sequences_of
from mechbp.processes.process import Joint, Process
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as new_generator

ANSWERING = ("vocab_size", "sample", "beliefs")
MEMBERS = (*ANSWERING, "small", "joint")


def check_process(process: Process[Any], rng: np.random.Generator) -> None:
    """Raise one ContractError that names every law above that `process` breaks, with its numbers. Takes about a second.

    Exact values and the sampler are checked on `process.small()`, whose joint can be listed, the other laws on both. A law is
    left out where it cannot be checked because another is broken.

    >>> import mechbp
    >>> mechbp.check_process(mechbp.rrxor(), mechbp.rng(0, "laws"))
    """
    checked_generator(rng, "check_process")
    findings = Findings()
    findings.passes("members", _check_members, process)
    small = findings.value("small()", _small, process) if hasattr(process, "small") else None
    answering = small is not process and all(hasattr(process, name) for name in ANSWERING)
    if answering and findings.value("sample", _draws_unasked, process):
        check_behaviour(process, {"beliefs": process.beliefs}, rng, findings)
    if small is not None and all(hasattr(small, name) for name in MEMBERS):
        _check_small(small, rng, findings)
    findings.close()


def _check_members(process: Process[Any]) -> None:
    missing = [name for name in MEMBERS if not hasattr(process, name)]
    if missing:
        unasked = ", so that samples and answers are held to no law" if {"small", "joint"} & set(missing) else ""
        raise ContractError(
            "protocol",
            f"{type(process).__name__} lacks {', '.join(missing)}{unasked}; see mechbp.processes.process.Process.",
        )


def _small(process: Process[Any]) -> Process[Any]:
    small = process.small()
    if type(small) is not type(process):
        raise ContractError(
            "protocol", f"small() is a {type(small).__name__}, which cannot speak for a {type(process).__name__}."
        )
    return small


def _check_small(small: Process[Any], rng: np.random.Generator, findings: Findings) -> None:
    """Check a process whose joint can be listed; where the joint is wrong, nothing is held against it."""
    joint = findings.value("joint()", small.joint)
    answers = findings.value("joint()", _answers, small, joint) if joint is not None else None
    drawn = check_behaviour(small, answers or {"beliefs": small.beliefs}, rng, findings)
    if joint is None or answers is None or not findings.passes("joint()", check_joint, joint):
        return
    sequences = findings.value("joint()", sequences_of, joint)
    if sequences is not None:
        check_exactness(joint, sequences, answers, findings)
        check_impossible(sequences, answers, findings)
        if drawn:
            findings.passes("sample", check_sampler, small, sequences, rng)


def _draws_unasked(process: Process[Any]) -> bool:
    """Whether sequences can be drawn without saying how long; a process of any length is checked at its small one only."""
    try:
        process.sample(1, new_generator(0, "check_process"))
    except InputError:
        return False
    return True


def _answers(process: Process[Any], joint: Joint) -> dict[str, Answer]:
    """Every question that the process answers, as a function of tokens alone."""
    answers: dict[str, Answer] = {"beliefs": process.beliefs}
    for name, query in joint.queries.items():
        answers[name] = lambda tokens, answer=query.answer: answer(process, tokens)
    if joint.log_evidence is not None:
        answers["log_evidence"] = lambda tokens, answer=joint.log_evidence: answer(process, tokens)
    return answers

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
from mechbp.processes.laws.sampler import check_sampler
from mechbp.processes.laws.sequences import sequences_of
from mechbp.processes.process import Joint, Process
from mechbp.randomness import checked_generator
from mechbp.randomness import rng as new_generator

MEMBERS = ("vocab_size", "sample", "beliefs", "small", "joint")


def check_process(process: Process[Any], rng: np.random.Generator) -> None:
    """Raise ContractError, naming the law and its numbers, unless `process` keeps all laws above. Takes about a second.

    Exact values and the sampler are checked on `process.small()`, whose joint can be listed, the other laws on both.

    >>> import mechbp
    >>> mechbp.check_process(mechbp.rrxor(), mechbp.rng(0, "laws"))
    """
    checked_generator(rng, "check_process")
    missing = [name for name in MEMBERS if not hasattr(process, name)]
    if missing:
        raise ContractError(
            "protocol", f"{type(process).__name__} lacks {', '.join(missing)}; see mechbp.processes.process.Process."
        )
    small = process.small()
    if type(small) is not type(process):
        raise ContractError(
            "protocol", f"small() is a {type(small).__name__}, which cannot speak for a {type(process).__name__}."
        )
    if small is not process and _draws_unasked(process):
        check_behaviour(process, {"beliefs": process.beliefs}, rng)
    joint = small.joint()
    answers = _answers(small, joint)
    check_behaviour(small, answers, rng)
    check_joint(joint)
    sequences = sequences_of(joint)
    check_exactness(joint, sequences, answers)
    check_impossible(sequences, answers)
    check_sampler(small, sequences, rng)


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

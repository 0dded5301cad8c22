"""Laws of every process, however large: frozen, inputs, randomness, batch independence, named errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from inspect import getmembers_static
from random import getstate  # read only, to see that nobody else moves it
from typing import Any

import numpy as np

from mechbp.errors import ContractError, MechbpError, reason
from mechbp.processes.laws.findings import Findings
from mechbp.processes.process import ABSENT, Process, Sample

BATCH_TOLERANCE = 1e-13
"""Answers may move by this much, absolutely and relatively, with the batch: products of matrices add up in another order."""
N_DRAWN = 50
N_EXAMPLES = 7

Answer = Callable[[np.ndarray], Any]
"""tokens [n, length] -> arrays whose first axis is n, in any structure."""


def check_behaviour(process: Process[Any], answers: Mapping[str, Answer], rng: np.random.Generator, findings: Findings) -> bool:
    """Check the laws above on a few sequences drawn from the process, for each of its answers; return whether any were drawn."""
    samples = _drawn(process, rng, findings)
    if samples is not None:
        findings.passes("sample", _check_randomness, samples)
        tokens = np.array(samples[0][:N_EXAMPLES])
        for name, answer in answers.items():
            if _answered(name, answer, tokens, findings):
                findings.passes(name, _check_inputs, name, answer, tokens)
                findings.passes(name, _check_batches, name, answer, tokens)
                findings.passes(name, _check_nonsense, name, answer, tokens, process)
    findings.passes(type(process).__name__, _check_frozen, process)
    return samples is not None


def _drawn(process: Process[Any], rng: np.random.Generator, findings: Findings) -> list[np.ndarray] | None:
    """Return the tokens of several samples: the second from the state that the first was drawn from, the others later ones."""
    same = copy.deepcopy(rng)
    samples: list[np.ndarray] = []

    def draw() -> None:
        with _no_global_randomness("sample"):
            for generator in (rng, same, rng, rng, rng, rng):
                samples.append(_tokens(process, process.sample(N_DRAWN, generator)))

    findings.passes("sample", draw)
    return samples if len(samples) == 6 else None


def _tokens(process: Process[Any], sample: Any) -> np.ndarray:
    if not isinstance(sample, Sample):
        raise ContractError("protocol", f"a {type(sample).__name__} has no tokens.")
    found = sample.tokens
    symbols = isinstance(found, np.ndarray) and found.dtype.kind in "iu" and found.ndim == 2 and found.size > 0
    if not symbols or len(found) != N_DRAWN or found.min() < _least_token(process):
        raise ContractError("protocol", f"sample({N_DRAWN}).tokens: expected symbols [{N_DRAWN}, length], got {found!r:.80}.")
    return found


def _check_randomness(samples: list[np.ndarray]) -> None:
    first, again, *others = samples
    if not np.array_equal(first, again):
        raise ContractError("randomness", f"the same state of rng gave {(first != again).sum()} other tokens of {first.size}.")
    if (first != first[0]).any() and all(np.array_equal(first, other) for other in others):
        raise ContractError("randomness", f"rng moved on, but sample gave the same {first.size} tokens {len(others)} times more.")


def _answered(name: str, answer: Answer, tokens: np.ndarray, findings: Findings) -> bool:
    """Ask for an answer that there must be, and whose drawing of numbers shows; one that raises is asked nothing more."""
    answers: list[object] = []

    def ask() -> None:
        with _no_global_randomness(name):
            answers.append(answer(tokens.copy()))

    findings.passes(name, ask)
    return bool(answers)


def _check_inputs(name: str, answer: Answer, tokens: np.ndarray) -> None:
    expected = [(path, array.copy()) for path, array in _arrays(answer(tokens.copy()), name)]
    given = tokens.copy()
    given.setflags(write=False)
    strided = np.repeat(tokens, 2, axis=1)[:, ::2]
    overwritten: list[tuple[np.ndarray, np.ndarray]] = []
    try:
        for what, shown in (("the same", tokens.copy()), ("read-only", given), ("strided", strided)):
            for (path, before), (_, now) in zip(expected, _asked("inputs", name, answer, shown, what), strict=True):
                if not np.array_equal(before, now):
                    gap = _gap(before, now)
                    raise ContractError("inputs", f"{path}: {what} tokens, another answer, off by {gap:.1e}; is a result kept?")
                if now.flags.writeable:
                    overwritten.append((now, now.copy()))
                    now[...] = -1
            if not np.array_equal(shown, tokens):
                n_changed = (shown != tokens).sum()
                raise ContractError("inputs", f"{name} changed {n_changed} of the {tokens.size} tokens given to it.")
    finally:
        for array, content in overwritten:  # a process that keeps results shall not break further laws by this test
            array[...] = content


def _check_batches(name: str, answer: Answer, tokens: np.ndarray) -> None:
    n = len(tokens)
    together = list(_arrays(answer(tokens.copy()), name))
    law = "batch independence"
    for rows in [np.arange(n)[::-1], *(np.array([i]) for i in range(n))]:
        what = f"example {rows[0]} alone" if len(rows) == 1 else f"all {n} in reversed order"
        for (path, whole), (_, part) in zip(together, _asked(law, name, answer, tokens[rows], what), strict=True):
            if part.shape != (len(rows), *whole.shape[1:]):
                raise ContractError(law, f"{path}: {what} gave the shape {list(part.shape)}, the batch {list(whole.shape)}.")
            if not np.allclose(part, whole[rows], rtol=BATCH_TOLERANCE, atol=BATCH_TOLERANCE):
                raise ContractError(law, f"{path}: {what} differs by {_gap(part, whole[rows]):.1e} from the batch of {n}.")


def _least_token(process: Process[Any]) -> int:
    """The least token that means something: 0, or what stands after the end of shorter sequences."""
    return ABSENT if hasattr(process, "absent_token") else 0


def _check_nonsense(name: str, answer: Answer, tokens: np.ndarray, process: Process[Any]) -> None:
    vocab_size = process.vocab_size
    below = _least_token(process) - 1
    negative = tokens.copy()
    negative[0, 0] = below
    beyond = tokens.copy()
    beyond[-1, -1] = vocab_size + 1  # vocab_size itself may be MASK or a separator
    nonsense = {
        f"the token {below}": negative,
        f"the token {vocab_size + 1} of {vocab_size}": beyond,
        "float tokens": tokens.astype(float),
        "tokens that are NaN": np.full(tokens.shape, np.nan),
        "object tokens": tokens.astype(object),
        "text": tokens.astype(str),
        "tokens with one axis": tokens[0],
        "tokens with three axes": tokens[None],
    }
    answered, raised = [], {}
    for what, given in nonsense.items():
        try:
            answer(given)
        except MechbpError:
            continue
        except Exception as error:
            raised.setdefault(type(error).__name__, (error, []))[1].append(what)
        else:
            answered.append(what)
    wrong = [f"answered {', '.join(answered)}"] if answered else []
    wrong += [f"raised {kind} ({reason(error, 60)}) for {', '.join(what)}" for kind, (error, what) in raised.items()]
    if wrong:
        cause = next((error for error, _ in raised.values()), None)
        raise ContractError("named errors", f"{name} {' and '.join(wrong)}; expected InputError.") from cause


def _check_frozen(process: Process[Any]) -> None:
    cached = {name for name, member in getmembers_static(type(process)) if isinstance(member, cached_property)}
    for name in cached:
        getattr(process, name)  # so that what it keeps is looked at below
    name = type(process).__name__
    arrays = [f"{path} {list(array.shape)}" for path, array in _arrays(process, name) if array.flags.writeable]
    settable = []
    for attribute in sorted(set(getattr(process, "__dict__", {})) - cached):
        try:
            setattr(process, attribute, getattr(process, attribute))
        except (AttributeError, TypeError):
            continue
        settable.append(f"{name}.{attribute}")
    wrong = [f"{', '.join(arrays)} can be written into; setflags(write=False)."] if arrays else []
    wrong += [f"{', '.join(settable)} can be set; use a frozen dataclass."] if settable else []
    if wrong:
        raise ContractError("frozen", " ".join(wrong))


def _asked(law: str, name: str, answer: Answer, tokens: np.ndarray, what: str) -> list[tuple[str, np.ndarray]]:
    """Return the arrays of an answer that has to exist."""
    try:
        return list(_arrays(answer(tokens), name))
    except Exception as error:
        raise ContractError(law, f"{name}: {what} raised {type(error).__name__} ({error!s:.80}).") from error


def _arrays(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every array inside a value, in a fixed order, with the way to it."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _arrays(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _arrays(item, f"{path}[{index}]")
    elif not callable(value):
        for name, item in getattr(value, "__dict__", {}).items():
            yield from _arrays(item, f"{path}.{name}")


@contextmanager
def _no_global_randomness(name: str) -> Iterator[None]:
    before = _global_states()
    yield
    if _global_states() != before:
        raise ContractError("randomness", f"{name} moved a global generator of NumPy or Python; draw from the rng given.")


def _global_states() -> tuple[object, ...]:
    numpy_state: Any = np.random.get_state()
    return (numpy_state[1].tobytes(), *numpy_state[2:], getstate())


def _gap(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max()) if one.shape == other.shape else np.inf

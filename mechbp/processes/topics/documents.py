"""Documents: rows of words, each as long as it is, and how a document is drawn once its topics are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from mechbp.arguments import as_array, check_memory, checked_count, is_integer, told
from mechbp.brief import Brief
from mechbp.errors import InputError
from mechbp.processes.drawing import draw
from mechbp.processes.evidence import checked_evidence
from mechbp.processes.process import ABSENT
from mechbp.randomness import checked_generator

Length = int | tuple[int, int] | None
"""Words per document; (low, high) is uniform on low..high, both included; None leaves it to whoever asks for documents."""


@dataclass(frozen=True, eq=False, repr=False)
class DocumentSample(Brief):
    """Documents drawn from a process of topics, with everything hidden about them."""

    tokens: Int[np.ndarray, "n longest"]
    """Words; ABSENT after the end of a document. `longest` is the greatest length there could be."""
    proportions: Float64[np.ndarray, "n topic"]
    """theta, the probability of every topic in each document."""
    assignments: Int[np.ndarray, "n longest"]
    """z, the topic that each word was drawn from; ABSENT after the end of a document."""


def checked_length(length: object, where: str) -> Length:
    """Return the length as Python integers, or raise InputError in the name of `where`."""
    if length is None:
        return None
    if _is_count(length):
        return checked_count(length, where, "length")
    if isinstance(length, tuple | list) and len(length) == 2 and all(map(_is_count, length)) and length[0] <= length[1]:
        return (checked_count(length[0], where, "length"), checked_count(length[1], where, "length"))
    raise InputError(f"{where}: length must be an integer >= 1 or a pair (low, high) of them, low <= high, got {told(length)}.")


def _is_count(value: object) -> bool:
    return is_integer(value) and bool(value >= 1)  # type: ignore[operator]


def checked_request(n: object, rng: object, length: object, default: Length, where: str) -> Int[np.ndarray, " n"]:
    """Return the length of each of `n` documents, drawn where it is not fixed. Raises InputError in the name of `where`."""
    n = checked_count(n, where, "n", least=0)
    generator = checked_generator(rng, where)
    wanted = default if length is None else checked_length(length, where)
    if wanted is None:
        raise InputError(f"{where}: say how long the documents are, length=50 or length=(30, 60); this process has no length.")
    longest = longest_of(wanted, None)
    check_memory(40.0 * n * longest, where, f"{n:,} documents of up to {told(longest)} words", "Draw fewer, or shorter ones.")
    if isinstance(wanted, int):
        return np.full(n, wanted)
    return generator.integers(wanted[0], wanted[1], size=n, endpoint=True)


def longest_of(length: Length, default: Length) -> int:
    """Return the greatest length there could be."""
    wanted = default if length is None else length
    assert wanted is not None
    return int(wanted if isinstance(wanted, int | np.integer) else wanted[1])


def drawn_words(
    word_given_topic: Float64[np.ndarray, "topic word"],
    assignments: Int[np.ndarray, "n longest"],
    lengths: Int[np.ndarray, " n"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "n longest"], Int[np.ndarray, "n longest"]]:
    """Return a word drawn for every assignment, and the assignments; both ABSENT after the end of a document."""
    tokens = draw(word_given_topic, assignments, rng)
    present = np.arange(assignments.shape[1]) < lengths[:, None]
    return np.where(present, tokens, ABSENT), np.where(present, assignments, ABSENT)


@dataclass(frozen=True, eq=False, repr=False)
class Evidence(Brief):
    """The words that are seen of some documents, and how often; documents with the same words share one row of counts.

    So the answer depends on the counts alone, to the last bit, and not on the order of the words.
    """

    words: Int[np.ndarray, "n length"]
    """V stands where none is seen."""
    histogram: Int[np.ndarray, "distinct word"]
    """How often every word is seen."""
    row: Int[np.ndarray, " n"]
    """The row of `histogram` that each document has."""


def read_evidence(tokens: object, observed: object, vocab_size: int, where: str) -> Evidence:
    """Return what is seen: all tokens but ABSENT, MASK = vocab_size and those that `observed` leaves out.

    Raises InputError in the name of `where`.
    """
    array = as_array(tokens, where, "tokens", "integers [n, length]")
    if array.dtype.kind == "i" and (array == ABSENT).any():
        array = np.where(array == ABSENT, vocab_size, array)
    words = checked_evidence(array, where, vocab_size=vocab_size, length=None, place="position", observed=observed)
    n_columns = vocab_size + 1  # the last one counts what is not seen
    place = words + n_columns * np.arange(len(words))[:, None]
    counts = np.bincount(place.ravel(), minlength=len(words) * n_columns).reshape(len(words), n_columns)[:, :vocab_size]
    width = counts.shape[1] * np.min_scalar_type(words.shape[1]).itemsize
    packed = counts.astype(np.min_scalar_type(words.shape[1])).tobytes()
    rows: dict[bytes, int] = {}
    row = np.array([rows.setdefault(packed[i : i + width], len(rows)) for i in range(0, len(packed), width)], np.int64)
    first = np.unique(row, return_index=True)[1]
    return Evidence(np.array(words), counts[first], row)  # a copy: what is asked of it later must not follow the caller's array

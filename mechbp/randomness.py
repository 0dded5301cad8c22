"""Randomness as an argument: one seed and a path of labels name one independent stream."""

import hashlib

import numpy as np

from mechbp.arguments import told
from mechbp.errors import InputError


def rng(seed: int | np.integer, *labels: str | int | np.integer) -> np.random.Generator:
    """Return the NumPy generator named by `seed` and `labels`.

    Distinct (seed, labels) give statistically independent streams; equal ones give the same stream in every process.
    Labels are hashed with SHA-256, so their order and their types matter: `rng(0, "a", 1)` differs from `rng(0, "a", "1")`.
    Raises InputError unless seed is an integer >= 0 and every label is a string or an integer.

    >>> import mechbp
    >>> float(mechbp.rng(0, "a").random()) == float(mechbp.rng(0, "a").random())
    True
    >>> float(mechbp.rng(0, "a").random()) == float(mechbp.rng(0, "b").random())
    False
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"rng: seed must be an integer >= 0, got {told(seed)}.")
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, str | int | np.integer):
            raise InputError(f"rng: labels must be strings or integers, got {told(label)} of type {type(label).__name__}.")
    name = repr(tuple(label if isinstance(label, str) else int(label) for label in labels))
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), *words.tolist()])))


def checked_generator(generator: object, where: str) -> np.random.Generator:
    """Return `generator` if it is a NumPy Generator, or raise InputError in the name of `where`."""
    if not isinstance(generator, np.random.Generator):
        raise InputError(f"{where}: rng must be a numpy.random.Generator, got {type(generator).__name__}. Pass mechbp.rng(seed).")
    return generator

"""Check the symbols that an observer is shown, for every process alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mechbp.arguments import as_array
from mechbp.errors import InputError


def checked_evidence(
    tokens: object, where: str, *, vocab_size: int, length: int | None, place: str, observed: object = None, hint: str = ""
) -> Int[np.ndarray, "n length"]:
    """Return `tokens` as int64 [n, length], MASK = vocab_size where not observed, or raise InputError in the name of `where`.

    `length` None takes any; `place` is what one position is called, `hint` ends the message about a wrong shape.
    """
    array = as_array(tokens, where, "tokens", "integers [n, length]")
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: tokens must be integers, got dtype {array.dtype}.")
    if array.ndim != 2 or length not in (None, array.shape[1]):
        expected = "length" if length is None else length
        raise InputError(f"{where}: tokens must have shape [n, {expected}]{hint}, got {list(array.shape)}.")
    if observed is not None:
        array = np.where(_checked_mask(observed, array.shape, where), array.astype(np.int64), vocab_size)
    if array.size and (array.min() < 0 or array.max() > vocab_size):
        i, at = np.argwhere((array < 0) | (array > vocab_size))[0]
        raise InputError(
            f"{where}: token {array[i, at]} of example {i}, {place} {at} is out of range; "
            f"symbols are 0..{vocab_size - 1}, MASK is {vocab_size}."
        )
    return array.astype(np.int64, copy=False)


def _checked_mask(observed: object, shape: tuple[int, ...], where: str) -> Bool[np.ndarray, "n length"]:
    mask = as_array(observed, where, "observed", f"booleans {list(shape)}")
    if mask.dtype != np.bool_:
        raise InputError(f"{where}: observed must be boolean, got dtype {mask.dtype}.")
    if mask.shape != shape:
        raise InputError(f"{where}: observed must have the shape of tokens, {list(shape)}, got {list(mask.shape)}.")
    return mask

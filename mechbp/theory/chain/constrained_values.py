"""What a head must write, and what tokens must embed, if attention carries out the constrained belief update.

f is the affine map from the stream after attention to the constrained belief less its prior. Its offset is shared out so that
sources carry it: f(v) = W v + c, f(x_pre) = W x_pre, for the weights of a row of attention sum to 1. With k(z) = g(z) - pi:

- one head:   f(v_m) = zeta / A[m+1, m] k          f(x_pre_m) = (1 - zeta A[m, m] / A[m+1, m]) k                    (Eqs. 14, 15)
- two heads:  even  zeta^2 / A[m+2, m] k           odd  -|zeta| / A[m+1, m] k                                       (Eqs. 16-20)

With two heads c cannot be attributed, so that the mean over tokens is taken off at every position first; off embeddings always,
where an offset that all tokens share says nothing.
(Source: Piotrowski et al. 2025.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.theory.chain.constrained_attention import Lags
from mechbp.theory.chain.first_block import OneBlock

EARLY = 2
"""The paper reports the first two positions apart: there the prediction leaves the sign to small differences."""

Vectors = Float64[np.ndarray, "position token state"]


@dataclass(frozen=True, eq=False, repr=False)
class VectorFit(Shown):
    """Predicted and measured vectors in belief space."""

    predicted: Vectors
    measured: Vectors
    shift: Float64[np.ndarray, "token state"]
    """k(z), along which all of them should lie."""

    def r2(self, positions: slice = slice(None)) -> float:
        """Return 1 - SSE / SST, SST about the mean vector; negative where the mean would do better."""
        truth = self.measured[positions].reshape(-1, self.measured.shape[-1])
        guess = self.predicted[positions]
        total = np.square(truth - truth.mean(axis=0)).sum()
        return float(1 - np.square(truth - guess.reshape(truth.shape)).sum() / total) if total > 0 else float("nan")

    def cosine(self, positions: slice = slice(None)) -> float:
        """Return the mean cosine between predicted and measured vectors."""
        return float(_cosines(self.predicted[positions], self.measured[positions]).mean())

    @property
    def factors(self) -> tuple[Float64[np.ndarray, " position"], Float64[np.ndarray, " position"]]:
        """Least-squares multiples of k, position by position: predicted and measured."""
        square = np.square(self.shift).sum()
        along = [(vectors * self.shift).sum(axis=(1, 2)) / square for vectors in (self.predicted, self.measured)]
        return along[0], along[1]

    def picture(self) -> Picture:
        """Draw predicted and measured multiples of the shift k, position by position."""
        predicted, measured = self.factors
        x = np.arange(len(predicted))
        return Picture(
            kind="lines",
            title=f"Vectors in belief space: R² {self.r2():.3g}, cosine {self.cosine():.3g}",
            caption="Least-squares multiples of k(z), along which theory has all vectors; from the weights, no sampling. R² of "
            "all entries is about the mean vector.",
            alt="Two lines over positions: predicted and measured multiples.",
            data={
                "x_title": "position",
                "y_title": "multiple of k",
                "series": [
                    {"name": "predicted", "x": x, "y": predicted, "dash": "dash"},
                    {"name": "measured", "x": x, "y": measured},
                ],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per position: predicted and measured multiples of k, and the mean cosine of the vectors."""
        predicted, measured = self.factors
        cosines = [self.cosine(slice(at, at + 1)) for at in range(len(predicted))]
        return frame(
            {"position": range(len(predicted))}, {"predicted": predicted, "measured": measured, "cosine": np.array(cosines)}
        )

    def summary(self) -> str:
        """Return R² and mean cosine, of all positions and of those after the first two."""
        after = slice(EARLY, None)
        late = (
            f"; after position {EARLY - 1}: R² {self.r2(after):.3g}, cosine {self.cosine(after):.3g}"
            if len(self.measured) > EARLY
            else ""
        )
        return (
            f"predicted against measured vectors: R² {self.r2():.3g}, cosine {self.cosine():.3g}{late}\n"
            f"n = {self.measured.shape[0]} positions x {self.measured.shape[1]} tokens, read off the weights"
        )


def read_map(
    stream: Float64[np.ndarray, "row d"],
    target: Float64[np.ndarray, "row state"],
    components: int | None = 3,
    counts: Float64[np.ndarray, " row"] | None = None,
) -> tuple[Float64[np.ndarray, "d state"], Float64[np.ndarray, " state"]]:
    """Return W and c of the least-squares map from the leading principal components of the stream; None means all of them.

    Row i counts `counts[i]` times, once where they are not given.
    """
    share = np.full(len(stream), 1 / len(stream)) if counts is None else counts / counts.sum()
    root = np.sqrt(share)[:, None]
    mean = share @ stream
    middle = share @ target
    centred = (stream - mean) * root
    values, basis = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(values)[::-1]
    kept = order[: len(order) if components is None else components]
    kept = kept[values[kept] > 1e-12 * values[order[0]]]
    scores = centred @ basis[:, kept]
    weights = basis[:, kept] @ ((scores.T @ ((target - middle) * root)) / values[kept, None])
    return weights, middle - mean @ weights


def value_fits(
    block: OneBlock,
    pattern: Float64[np.ndarray, "head destination source"],
    shift: Float64[np.ndarray, "token state"],
    zeta: float,
    lags: Sequence[Lags],
    read: tuple[np.ndarray, np.ndarray],
) -> tuple[VectorFit, ...]:
    """Return, per head, what it writes in belief space beside the prediction; `shift` is k(z), `read` is (W, c).

    Positions whose first lag lies beyond the pattern drop out.
    """
    _check(pattern, lags)
    weights, offset = read
    fits = []
    for head, reach in enumerate(lags):
        last = pattern.shape[1] - reach.first
        measured = (block.written[head] + block.bias) @ weights + offset
        if len(lags) > 1:
            measured = measured - measured.mean(axis=1, keepdims=True)
        scale = value_factor(pattern[head], zeta, reach, last)
        fits.append(VectorFit(scale[:, None, None] * shift, measured[:last], shift))
    return tuple(fits)


def embedding_fit(
    block: OneBlock,
    pattern: Float64[np.ndarray, "head destination source"],
    shift: Float64[np.ndarray, "token state"],
    zeta: float,
    lags: Sequence[Lags],
    read: tuple[np.ndarray, np.ndarray],
) -> VectorFit:
    """Return what tokens embed in belief space beside the prediction."""
    _check(pattern, lags)
    last = pattern.shape[1] - max(reach.first for reach in lags)
    factor = np.ones(last)
    for head, reach in enumerate(lags):
        factor -= np.diagonal(pattern[head])[:last] * value_factor(pattern[head], zeta, reach, last)
    measured = block.embedded[:last] @ read[0]
    measured = measured - measured.mean(axis=1, keepdims=True)
    return VectorFit(factor[:, None, None] * shift, measured, shift)


def own_token_fit(
    block: OneBlock,
    pattern: Float64[np.ndarray, "head destination source"],
    shift: Float64[np.ndarray, "token state"],
    read: tuple[np.ndarray, np.ndarray],
) -> VectorFit:
    """Return what a token adds at its own position in all, embedding and own values by diagonal attention, beside k(z) (Eq. 10).

    The theory fixes no more than this sum: what one of the two gives up the other can take over, at any diagonal attention.
    """
    diagonal = np.diagonal(pattern, axis1=1, axis2=2)
    added = block.embedded + (diagonal[:, :, None, None] * block.written).sum(axis=0)
    measured = added @ read[0]
    measured = measured - measured.mean(axis=1, keepdims=True)
    return VectorFit(np.broadcast_to(shift, measured.shape).copy(), measured, shift)


def loose_fit(vectors: Float64[np.ndarray, "position token d"], predicted: Vectors, components: int = 3) -> tuple[float, float]:
    """Return R² of a new affine map from the vectors' leading components to their predictions, as fitted and leave-one-out.

    Weaker than `value_fits`, which reads all vectors by one map that has not seen the predictions: this one may turn and scale.
    """
    flat = vectors.reshape(-1, vectors.shape[-1])
    truth = predicted.reshape(-1, predicted.shape[-1])
    centred = flat - flat.mean(axis=0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    design = np.hstack([np.ones((len(flat), 1)), centred @ right[:components].T])
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    left = left[:, values > 1e-9 * values[0]]
    residual = truth - left @ (left.T @ truth)
    leverage = np.square(left).sum(axis=1)
    total = np.square(truth - truth.mean(axis=0)).sum()
    out = residual / np.maximum(1 - leverage, 1e-9)[:, None]
    return float(1 - np.square(residual).sum() / total), float(1 - np.square(out).sum() / total)


def parallel_cosine(vectors: Float64[np.ndarray, "position token d"]) -> float:
    """Return the mean cosine between one token's vectors at different positions, the mean over tokens taken off."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    units = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    products = np.einsum("ptd,qtd->tpq", units, units)
    n = products.shape[1]
    return float((products.sum() - n * len(products)) / (len(products) * n * (n - 1)))


def head_cosine(first: Float64[np.ndarray, "position token d"], second: Float64[np.ndarray, "position token d"]) -> float:
    """Return the mean cosine between what two heads write for one token at one position, the mean over tokens taken off."""
    return float(_cosines(*(v - v.mean(axis=1, keepdims=True) for v in (first, second))).mean())


def value_factor(pattern: np.ndarray, zeta: float, lags: Lags, last: int) -> Float64[np.ndarray, " position"]:
    """zeta^first / A[m + first, m]: the sign of zeta^first is that of the head."""
    place = np.arange(last)
    return zeta**lags.first / pattern[place + lags.first, place]


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (first * second).sum(axis=-1) / np.maximum(norms, 1e-300)


def _check(pattern: np.ndarray, lags: Sequence[Lags]) -> None:
    if len(pattern) != len(lags):
        raise InputError(f"vector theory: need one set of lags per head, got {len(lags)} for {len(pattern)} heads.")

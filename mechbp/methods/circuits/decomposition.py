"""Logits of a one-block attention-only model as an exact sum: what each head adds, the token itself, its position, and biases.

On the folded model, with u_s = LNPre(W_E[t_s] + W_pos[s]) and sigma_p the scale of the last norm,

    logits[p] = ( W_E[t_p] + W_pos[p] + b_O + sum_h sum_s A_h[p, s] u_s W_V^h W_O^h ) W_U / sigma_p + b_U

so that each head has a table of what it writes, u_s(t) W_V W_O: position s, attended token t. Attention of the first block
depends on no such table, which may therefore be edited: what follows is what the model would do if attention to a token wrote
something else. Edited in the stream, the table gives the logits of a real forward pass, with sigma_p as it was or as it then is.
Edited in the space of logits, OV_s[t] = u_s(t) W_V W_O W_U, it gives logits that in general no stream makes, since W_U may have a
rank below the number of outputs (weight decay leaves it a small one): no sigma belongs to them, and one is taken from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.circuits.tables import attended, checked_table
from mechbp.methods.shown import Shown

Scale = Literal["frozen", "recomputed"]


@dataclass(frozen=True)
class Norm:
    """The norm before the unembedding, its gains and biases folded away."""

    eps: float
    """What it adds to the mean square."""
    centred: bool
    """Whether it removes the mean first."""

    def scale(self, residual: Float64[np.ndarray, "*row d_model"]) -> Float64[np.ndarray, "*row"]:
        """Return what it divides rows of the stream by."""
        mean = residual.mean(axis=-1, keepdims=True) if self.centred else 0.0
        return np.sqrt(np.mean((residual - mean) ** 2, axis=-1) + self.eps)


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition(Shown):
    """Parts of the logits of every sequence at the positions asked, see above; all parts but `unembed_bias` are divided by sigma.

    Logits have mean 0 over outputs: they are the model's less a constant per position, which no softmax sees.
    """

    tokens: Int[np.ndarray, "n key"]
    positions: Int[np.ndarray, " position"]
    """Positions whose logits are taken apart."""
    heads: Float64[np.ndarray, "n position head output"]
    """What each head adds, value biases aside."""
    direct: Float64[np.ndarray, "n position output"]
    """What the embedding of the token at the position itself adds."""
    positional: Float64[np.ndarray, "n position output"]
    """What the embedding of the position adds."""
    output_bias: Float64[np.ndarray, "n position output"]
    """What b_O adds, value biases of all heads included."""
    unembed_bias: Float64[np.ndarray, " output"]
    """b_U, gains and biases of the last norm included."""
    sigma: Float64[np.ndarray, "n position"]
    """Scale of the last norm; 1 where the model has none."""
    patterns: Float64[np.ndarray, "n head position key"]
    """Attention."""
    writes: Float64[np.ndarray, "head key token d_model"]
    """What attention to a token at a position writes to the stream, value biases aside: position s, attended token."""
    residual: Float64[np.ndarray, "n position d_model"]
    """The stream before the last norm."""
    unembedding: Float64[np.ndarray, "d_model output"]
    """W_U, gains of the last norm included."""
    norm: Norm | None
    """The last norm."""

    @property
    def logits(self) -> Float64[np.ndarray, "n position output"]:
        """Sum of all parts: the folded model's logits."""
        return self.heads.sum(axis=2) + self._without_heads

    @property
    def ov(self) -> Float64[np.ndarray, "head key token output"]:
        """What attention to a token at a position adds to the logits, times sigma; mean 0 over outputs."""
        return self.writes @ self.unembedding

    def with_writes(self, writes: Float64[np.ndarray, "head key token d_model"], *, scale: Scale) -> Decomposition:
        """Return the parts as they are when attention to tokens writes something else, attention staying as it is.

        writes: as `self.writes`, for instance along_own(self.writes, self.unembedding). scale says what becomes of sigma:
        "frozen" leaves it, and the change is linear in the table; "recomputed" takes it from the edited stream, as a forward pass
        does.
        Raises InputError for a table of another shape or not finite.
        """
        if scale not in get_args(Scale):
            raise InputError(f"with_writes: scale must be 'frozen' or 'recomputed', got {scale!r:.40}.")
        edited = checked_table(writes, self.writes.shape, "with_writes: writes", "d_model")
        written = attended(self.patterns, edited, self.tokens)
        before = attended(self.patterns, self.writes, self.tokens)
        residual = self.residual + (written - before).sum(axis=2)
        sigma = self.sigma if scale == "frozen" or self.norm is None else self.norm.scale(residual)
        ratio = (self.sigma / sigma)[..., None]
        return replace(
            self,
            writes=edited,
            residual=residual,
            sigma=sigma,
            heads=written @ self.unembedding / sigma[..., None, None],
            direct=self.direct * ratio,
            positional=self.positional * ratio,
            output_bias=self.output_bias * ratio,
        )

    def logits_with_ov(
        self, ov: Float64[np.ndarray, "head key token output"], *, sigma: Float64[np.ndarray, "n position"] | None = None
    ) -> Float64[np.ndarray, "n position output"]:
        """Return the logits when attention to tokens adds what another table says, attention staying as it is.

        ov: as `self.ov`, for instance keep_diagonal(self.ov). sigma: the scale to divide all parts but b_U by, default the
        model's own, frozen; that of a matching edit of the stream is self.with_writes(.., scale="recomputed").sigma. Logits have
        mean 0 over outputs. Raises InputError for arrays of other shapes, not finite, or a sigma that is not positive.
        """
        edited = checked_table(ov, self.writes.shape[:-1] + self.unembed_bias.shape, "logits_with_ov: ov", "output")
        divisor = self.sigma if sigma is None else np.asarray(sigma, np.float64)
        if divisor.shape != self.sigma.shape or not (divisor > 0).all() or not np.isfinite(divisor).all():
            raise InputError(
                f"logits_with_ov: sigma must be positive, [n, position] = {list(self.sigma.shape)}, got {list(divisor.shape)}."
            )
        edited = edited - edited.mean(axis=-1, keepdims=True)
        added = attended(self.patterns, edited, self.tokens).sum(axis=2)
        others = (self._without_heads - self.unembed_bias) * (self.sigma / divisor)[..., None]
        return added / divisor[..., None] + others + self.unembed_bias

    @property
    def _without_heads(self) -> Float64[np.ndarray, "n position output"]:
        return self.direct + self.positional + self.output_bias + self.unembed_bias

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per position and part: root mean square over sequences and outputs of what the part adds, in nats."""
        rows = [
            {"position": int(position), "part": name, "rms_nats": float(np.sqrt(np.mean(part[:, at] ** 2)))}
            for name, part in self._parts().items()
            for at, position in enumerate(self.positions)
        ]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, object]:
        """Return sizes per position and part for JSON, without single sequences."""
        by_part = self.to_dataframe().groupby("part", sort=False)["rms_nats"].apply(list).to_dict()
        sigma = self.sigma.mean(axis=0).tolist()
        return {"n": len(self.tokens), "positions": self.positions.tolist(), "rms_nats": by_part, "mean_sigma": sigma}

    def picture(self) -> Picture:
        """Draw how much each part adds at each position."""
        n = len(self.tokens)
        sizes = self.to_dataframe().groupby("part", sort=False)
        series = [{"name": str(name), "x": part["position"].tolist(), "y": part["rms_nats"].tolist()} for name, part in sizes]
        return Picture(
            kind="lines",
            title="What each part adds to the logits",
            caption=f"Root mean square over n = {n:,} sequences and outputs, an exact sum taken apart: no interval.",
            alt="Lines over positions, one per head and part: root mean square of what it adds to the logits.",
            data={
                "x_title": "position",
                "y_title": "root mean square of what the part adds (nats)",
                "series": series,
            },
        )

    def summary(self) -> str:
        """Return how much each part adds over all positions, as lines of text."""
        lines = [f"logits of {len(self.tokens)} sequences at {len(self.positions)} positions; mean sigma {self.sigma.mean():.4g}"]
        for name, part in self._parts().items():
            lines.append(f"{name}: root mean square {np.sqrt(np.mean(part**2)):.4g} nats")
        return "\n".join(lines)

    def _parts(self) -> dict[str, np.ndarray]:
        """Every part [n, position, output] by name; b_U is the same everywhere."""
        bias = self.output_bias + self.unembed_bias
        heads = {f"head {head}": self.heads[:, :, head] for head in range(self.heads.shape[2])}
        return {**heads, "direct": self.direct, "position": self.positional, "biases": bias}

    def __repr__(self) -> str:
        n, positions, heads, outputs = self.heads.shape
        return f"Decomposition({n} sequences, {positions} positions, {heads} heads, {outputs} outputs)"

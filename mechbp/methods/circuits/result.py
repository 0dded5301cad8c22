"""Circuits between tokens, as arrays that know which variant they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import panel

Drawn = Literal["ov", "qk", "direct"]


@dataclass(frozen=True, eq=False, repr=False)
class Circuits(Shown):
    """OV, QK and direct circuits of one block.

    Axes of positions stand between head and tokens, and only in the variant "per position"; `at` picks one pair of positions.
    """

    variant: str
    """"raw", "mean position" or "per position"."""
    layer: int
    tokens: Int[np.ndarray, " token"]
    """Ids that queries and keys stand for, in order."""
    ov: Float64[np.ndarray, "head *_key_position token output"]
    """What attention to a token adds to the logits, times the scale of the last norm; mean 0 over outputs. Row: the token."""
    qk: Float64[np.ndarray, "head *_query_and_key_position query token"]
    """Attention score before the softmax; mean 0 over the keys, which are all of `tokens`, at all key positions together. Row:
    the query."""
    direct: Float64[np.ndarray, "token output"]
    """What a token's own embedding adds to the logits at its position, times the scale of the last norm; mean 0 over outputs."""
    key_positions: tuple[int, ...] | None
    """Positions of keys and values: averaged over, or an axis; None for raw."""
    query_positions: tuple[int, ...] | None
    """Positions of queries, likewise."""

    @property
    def n_heads(self) -> int:
        """Number of heads."""
        return len(self.ov)

    def at(self, query_position: int, key_position: int) -> Circuits:
        """Return the circuits of one query position and one key position. Raises InputError for a pair that was not asked for."""
        if self.variant != "per position" or self.ov.ndim == 3:
            raise InputError(f"at: these circuits are {self.variant!r} at one pair of positions or none. Ask for 'per position'.")
        queries = self.query_positions or ()
        keys = self.key_positions or ()
        if query_position not in queries or key_position not in keys:
            raise InputError(
                f"at: query position {query_position!r:.20} must be among {list(queries)!r:.90},\n"
                f"key position {key_position!r:.20} among {list(keys)!r:.90}."
            )
        key = keys.index(key_position)
        return replace(
            self,
            ov=self.ov[:, key],
            qk=self.qk[:, queries.index(query_position), key],
            key_positions=(key_position,),
            query_positions=(query_position,),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per entry: circuit, head (-1 for direct), positions (-1 where there is none), row, column and value.

        Rows and columns are ids: attended token and output for "ov", query and key for "qk", token and output for "direct".
        """
        outputs = range(self.direct.shape[1])
        several = self.ov.ndim == 4
        keys = (self.key_positions or ()) if several else (-1,)
        queries = (self.query_positions or ()) if several else (-1,)
        heads = range(self.n_heads)
        frames = [
            _table("ov", self.ov, [heads, (-1,), keys, self.tokens, outputs]),
            _table("qk", self.qk, [heads, queries, keys, self.tokens, self.tokens]),
            _table("direct", self.direct, [(-1,), (-1,), (-1,), self.tokens, outputs]),
        ]
        return pd.concat(frames, ignore_index=True)

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("tokens", "ov", "qk", "direct")}
        positions = {
            name: None if at is None else list(at)
            for name, at in (("key_positions", self.key_positions), ("query_positions", self.query_positions))
        }
        return {"variant": self.variant, "layer": self.layer, **positions, **arrays}

    def picture(self, circuit: Drawn = "ov", head: int | None = None) -> Picture:
        """Draw one circuit as heat maps about 0: "ov" (attended token x output), "qk" (query x key), or "direct".

        One panel per head, or that of one head. Raises InputError where there are several pairs of positions: draw
        `.at(query_position, key_position)`; and for a circuit or head that there is none of.
        """
        if self.ov.ndim != 3:
            raise InputError("plot: there is one picture per pair of positions. Draw circuits.at(query_position, key_position).")
        if circuit not in get_args(Drawn):
            raise InputError(f"plot: circuit must be one of {', '.join(get_args(Drawn))}, got {circuit!r:.20}.")
        if head is not None and head not in range(self.n_heads):
            raise InputError(f"plot: head must be in 0..{self.n_heads - 1} or None, got {head!r:.20}.")
        heads = range(self.n_heads) if head is None else [head]
        tokens = [str(token) for token in self.tokens]
        outputs = [str(output) for output in range(self.direct.shape[1])]
        down, across, columns, value = {
            "ov": ("attended token", "output", outputs, "OV (logits x scale of the last norm)"),
            "qk": ("query", "key", tokens, "QK (score)"),
            "direct": ("token", "output", outputs, "direct (logits x scale of the last norm)"),
        }[circuit]
        if circuit == "direct":
            panels = [panel("direct", self.direct)]
        else:
            maps = self.ov if circuit == "ov" else self.qk
            panels = [panel(f"{circuit.upper()}, head {which}", maps[which]) for which in heads]
        return Picture(
            kind="heatmap",
            title=f"{circuit.upper() if circuit != 'direct' else 'Direct'} circuit of block {self.layer}, {self.variant}",
            caption=f"{value}: {down}s down, {across}s across, read off the weights; no sampling. Colours are centred at 0 and "
            "shared by the heads. " + ("Mean 0 over keys." if circuit == "qk" else "Mean 0 over outputs."),
            alt=f"Heat maps of the {circuit} circuit between tokens: {down} down, {across} across, {len(panels)} panels.",
            data={
                "rows": tokens,
                "columns": columns,
                "value_title": value,
                "row_title": down,
                "column_title": across,
                "scale": "diverging",
                "panel_columns": min(2, len(panels)),
                "panels": panels,
            },
        )

    def summary(self) -> str:
        """Return what was computed, and per head the sizes and the diagonal of OV, as lines of text."""
        lines = [
            f"circuits of block {self.layer}, {self.variant}: {self.n_heads} heads, {len(self.tokens)} tokens, "
            f"{self.direct.shape[1]} outputs; OV in logits times the scale of the last norm, QK in scores"
        ]
        for name, at in (("keys", self.key_positions), ("queries", self.query_positions)):
            if at is not None:
                lines.append(f"positions of {name}: {_shown(at)}")
        named = np.flatnonzero(self.tokens < self.direct.shape[1])
        for head in range(self.n_heads):
            line = f"head {head}: root mean square OV {_size(self.ov[head]):.3g}, QK {_size(self.qk[head]):.3g}"
            if len(named):
                rows = self.ov[head][..., named, :].reshape(-1, len(named), self.direct.shape[1])
                diagonal = rows[:, np.arange(len(named)), self.tokens[named]]
                line += (
                    f"; OV of a token for itself {diagonal.mean():.3g} on average, the row's largest for "
                    f"{(diagonal >= rows.max(axis=-1)).mean():.0%}, its smallest for {(diagonal <= rows.min(axis=-1)).mean():.0%}"
                )
            lines.append(line)
        return "\n".join(lines)

    def __repr__(self) -> str:
        shape = f"{self.n_heads} heads, {len(self.tokens)} tokens, {self.direct.shape[1]} outputs"
        return f"Circuits({self.variant}, layer={self.layer}, {shape})"


def _table(name: str, values: np.ndarray, axes: list) -> pd.DataFrame:
    columns = ["head", "query_position", "key_position", "row", "column"]
    frame = pd.MultiIndex.from_product(axes, names=columns).to_frame(index=False)
    frame.insert(0, "circuit", name)
    frame["value"] = values.ravel()
    return frame


def _size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _shown(positions: tuple[int, ...]) -> str:
    first, last = positions[0], positions[-1]
    if len(positions) > 2 and positions == tuple(range(first, last + 1)):
        return f"{first}..{last}"
    return f"{', '.join(map(str, positions)):.80}"

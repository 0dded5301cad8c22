"""Finish patched runs with only the arithmetic that can change the metric.

A patch at one position of the residual stream before block l changes one row of queries, keys and values there: scores gain one
new row and one new column, and only the MLP runs everywhere. Blocks after it run in full, in causal models from the patched
position on; the last one, and the unembedding, only at the positions that the metric reads. Examples whose activation is the same
in both runs keep the unpatched answer. The rest is cut into chunks of examples, which may run on several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.brief import Brief
from mechbp.methods.patching.plain_transformer import MIXING, SCORES, Network, gathered
from mechbp.methods.patching.worker_threads import on_threads

CHUNK_BYTES = 2**23
"""Activations of one chunk of rows: enough for efficient products, little enough to stay near the processor."""
TOLERANCE = 1e-4
"""How far the rebuilt logits may be from the model's own, relative to their largest, in float32; float64 is held to 1e-9."""

Rows = slice | Tensor
"""Which examples."""
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Attention(NamedTuple):
    """One block's attention on the base run."""

    queries: Float[Tensor, "n P head e"]
    keys: Float[Tensor, "n P head e"]
    values: Float[Tensor, "n P head e"]
    scores: Float[Tensor, "n head P P"]


@dataclass(frozen=True, eq=False, repr=False)
class Finisher(Brief):
    """A base run, cached at every block, from which patched runs are finished."""

    network: Network
    residuals: tuple[Float[Tensor, "n P d"], ...]
    """Base residual stream before each block and after the last."""
    reads: Int[Tensor, "n r"]
    """Positions at which each example's logits are wanted."""
    base_logits: Float[Tensor, "n r q"]
    """The model's own logits there on the base run."""

    @classmethod
    def of(
        cls, model: object, residuals: Sequence[Tensor], reads: Int[Tensor, "n r"], logits: Float[Tensor, "n P q"]
    ) -> Finisher | None:
        """Return an engine that has reproduced every block of the base run and its logits; None where it cannot."""
        network = Network.of(model)
        if network is None or len(network.blocks) != len(residuals) - 1:
            return None
        finisher = cls(network, tuple(residuals), reads, gathered(logits, reads))
        close = TOLERANCE if logits.dtype == torch.float32 else 1e-9
        few = slice(0, 8)
        for layer, (before, after) in enumerate(pairwise(residuals)):
            if not _agree(network.through(layer, before[few]), after[few], close):
                return None
        found = network.logits(network.through_last(residuals[-2], reads))
        return finisher if _agree(found, finisher.base_logits, close) else None

    def patched(self, layer: int, positions: Sequence[Position], vectors: Float[Tensor, "n P d"]) -> list[Float[Tensor, "n r q"]]:
        """Return logits per entry of `positions`: the residual there, before block `layer`, replaced by that of `vectors`."""
        attention = self.attention[layer] if layer < len(self.network.blocks) else None  # made before threads share it
        differs = (vectors != self.residuals[layer]).any(dim=-1)
        pieces = [
            (cell, rows)
            for cell, position in enumerate(positions)
            for rows in self.chunks((differs.any(dim=-1) if position is None else differs[:, position]).nonzero()[:, 0])
        ]

        def finished(piece: tuple[int, Rows]) -> Tensor:
            position, rows = positions[piece[0]], piece[1]
            if not isinstance(position, int):
                return self._rest(layer, rows, vectors[rows], 0)
            if attention is None:
                here = (self.reads[rows] == position)[..., None]
                return torch.where(here, self.network.logits(vectors[rows, position])[:, None], self.base_logits[rows])
            return self._point(layer, rows, position, vectors[rows, position])

        results = [self.base_logits.clone() for _ in positions]
        for (cell, rows), logits in zip(pieces, self.map(finished, pieces), strict=True):
            results[cell][rows] = logits
        return results

    def chunks(self, examples: Int[Tensor, " k"]) -> list[Rows]:
        """Cut increasing numbers of examples into about equal chunks; runs of consecutive ones become slices, views of caches."""
        n_chunks = -(-len(examples) // self._chunk)
        parts = examples.tensor_split(n_chunks) if n_chunks else []
        return [slice(int(p[0]), int(p[-1]) + 1) if int(p[-1]) - int(p[0]) + 1 == len(p) else p for p in parts]

    def map(self, work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
        """Return work(piece) of every piece, on several threads where a processor does the arithmetic."""
        return on_threads(work, pieces) if self.reads.device.type == "cpu" else [work(piece) for piece in pieces]

    @property
    def _chunk(self) -> int:
        """Most rows per chunk."""
        _, length, d = self.residuals[0].shape
        block = self.network.blocks[0]
        width = 8 * d + (block.mlp[0].shape[1] if block.mlp else 0) + 2 * block.w_out.shape[0] * length
        return max(1, CHUNK_BYTES // (width * length * self.residuals[0].element_size()))

    @cached_property
    def attention(self) -> list[Attention]:
        """Of every block, on the base run."""
        every = self.chunks(torch.arange(len(self.reads), device=self.reads.device))

        def of(piece: tuple[int, Rows]) -> tuple[Tensor, ...]:
            query, key, value = self.network.blocks[piece[0]].qkv(self.residuals[piece[0]][piece[1]])
            return query, key, value, einsum(query, key, SCORES)

        layers = range(len(self.network.blocks))
        parts = self.map(of, [(layer, rows) for layer in layers for rows in every])
        of_layers = (parts[layer * len(every) : (layer + 1) * len(every)] for layer in layers)
        return [Attention(*(torch.cat(part) for part in zip(*chunks, strict=True))) for chunks in of_layers]

    def _point(self, layer: int, rows: Rows, position: int, vector: Float[Tensor, "R d"]) -> Float[Tensor, "R r q"]:
        """Patched at one position."""
        if layer == len(self.network.blocks) - 1:
            return self.network.logits(self._point_last(rows, position, vector))
        first = position if self.network.causal else 0
        return self._rest(layer + 1, rows, self._point_block(layer, rows, position, vector, first), first)

    def _rest(self, layer: int, rows: Rows, residual: Float[Tensor, "R p d"], first: int) -> Float[Tensor, "R r q"]:
        """All blocks from `layer` on, given the residual stream from position `first` on; before it stands the base run's."""
        n_blocks = len(self.network.blocks)
        for index in range(layer, n_blocks - 1):
            cached = self.attention[index]
            earlier = (cached.keys[rows, :first], cached.values[rows, :first]) if first else None
            residual = self.network.through(index, residual, earlier)
        if layer == n_blocks:
            return self.network.logits(gathered(residual, self.reads[rows]))
        if first:
            residual = torch.cat([self.residuals[-2][rows, :first], residual], dim=1)
        return self.network.logits(self.network.through_last(residual, self.reads[rows]))

    def _point_block(
        self, layer: int, rows: Rows, position: int, vector: Float[Tensor, "R d"], first: int
    ) -> Float[Tensor, "R p d"]:
        """One block, patched at one position, from `first` on: a new row and column of scores, one value exchanged."""
        block, attention = self.network.blocks[layer], self.attention[layer]
        keys, values = attention.keys[rows], attention.values[rows]
        query, key, value = block.qkv(vector)
        scores = attention.scores[rows, :, first:].clone()
        scores[:, :, position - first] = einsum(query, keys, "run head e, run key head e -> run head key")
        scores[..., position] = einsum(attention.queries[rows, first:], key, "run query head e, run head e -> run head query")
        scores[:, :, position - first, position] = (query * key).sum(dim=-1)
        z = _exchanged(self.network.pattern(scores), values, position, value)
        middle = block.mixed(z).add_(self.residuals[layer][rows, first:])
        middle[:, position - first] += vector - self.residuals[layer][rows, position]
        return block.after_attention(middle)

    def _point_last(self, rows: Rows, position: int, vector: Float[Tensor, "R d"]) -> Float[Tensor, "R r d"]:
        """The last block at the positions read, patched at one position."""
        block, reads = self.network.blocks[-1], self.reads[rows]
        keys, values = self.attention[-1].keys[rows], self.attention[-1].values[rows]
        at = torch.where((reads == position)[..., None], vector[:, None], gathered(self.residuals[-2][rows], reads))
        queries = block.qkv(at)[0]
        _, key, value = block.qkv(vector)
        scores = einsum(queries, keys, SCORES)
        scores[..., position] = einsum(queries, key, "run query head e, run head e -> run head query")
        pattern = self.network.pattern(scores, reads)
        return block.after_attention(block.mixed(_exchanged(pattern, values, position, value)).add_(at))


def _exchanged(
    pattern: Float[Tensor, "run head query key"],
    values: Float[Tensor, "run key head e"],
    position: int,
    value: Float[Tensor, "run head e"],
) -> Float[Tensor, "run query head e"]:
    """Mixed values, where that at `position` is another than in `values`, which is shared and stays as it is."""
    step = einsum(pattern[..., position], value - values[:, position], "run head query, run head e -> run query head e")
    return step.add_(einsum(pattern, values, MIXING))


def _agree(found: Tensor, expected: Tensor, close: float) -> bool:
    return bool((found - expected).abs().max() <= close * expected.abs().max().clamp_min(1))

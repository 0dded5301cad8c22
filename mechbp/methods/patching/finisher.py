"""Finish patched runs with only the arithmetic that can change the metric.

A patch at one position of the residual stream before block l changes one row of queries, keys and values there: scores gain one
new row and one new column, and only the MLP runs everywhere. Blocks after it run in full; the last one, and the unembedding, only
at the positions that the metric reads. Examples whose activation is the same in both runs keep the unpatched answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.methods.patching.plain_transformer import Network

CHUNK_BYTES = 2**23
"""Activations of one chunk of rows: enough for efficient products, little enough to stay near the processor."""
TOLERANCE = 1e-4
"""How far the rebuilt logits may be from the model's own, relative to their largest, in float32; float64 is held to 1e-9."""


Rows = slice | Tensor
"""Which examples."""


@dataclass(frozen=True, eq=False)
class Finisher:
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
        finisher = cls(network, tuple(residuals), reads, _gathered(logits, reads))
        close = TOLERANCE if logits.dtype == torch.float32 else 1e-9
        few = slice(0, 8)
        for layer, (before, after) in enumerate(pairwise(residuals)):
            if not _agree(network.through(layer, before[few]), after[few], close):
                return None
        return (
            finisher if _agree(network.logits(network.through_last(residuals[-2], reads)), finisher.base_logits, close) else None
        )

    def points(
        self, layer: int, positions: Sequence[int], vectors: Float[Tensor, "n cell d"]
    ) -> Iterator[Float[Tensor, "n r q"]]:
        """Yield logits for each of `positions`: its residual before block `layer` replaced by its column of `vectors`."""
        everything = torch.arange(len(self.reads))
        for cell, position in enumerate(positions):
            vector, results = vectors[:, cell], self.base_logits.clone()
            changed = everything[(vector != self.residuals[layer][:, position]).any(dim=-1)]
            for start in range(0, len(changed), self._chunk):
                ex = changed[start : start + self._chunk]
                # Rows in a row are a view of the caches, not a copy.
                rows = slice(int(ex[0]), int(ex[-1]) + 1) if int(ex[-1]) - int(ex[0]) + 1 == len(ex) else ex
                results[rows] = self._point(layer, rows, position, vector[rows])
            yield results

    @property
    def _chunk(self) -> int:
        """Rows per chunk."""
        _, length, d = self.residuals[0].shape
        block = self.network.blocks[0]
        width = 8 * d + (block.mlp[0].shape[1] if block.mlp else 0) + 2 * block.w_out.shape[0] * length
        return max(1, CHUNK_BYTES // (width * length * self.residuals[0].element_size()))

    @cached_property
    def _attention(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of every block on the base run: queries, keys, values and scores."""
        cached = []
        for block, residual in zip(self.network.blocks, self.residuals, strict=False):
            query, key, value = block.qkv(residual)
            cached.append((query, key, value, torch.einsum("nqhe,nkhe->nhqk", query, key)))
        return cached

    def _point(self, layer: int, rows: Rows, position: int, vector: Float[Tensor, "R d"]) -> Float[Tensor, "R r q"]:
        n_blocks, reads = len(self.network.blocks), self.reads[rows]
        if layer == n_blocks:
            return torch.where((reads == position)[..., None], self.network.logits(vector)[:, None], self.base_logits[rows])
        if layer == n_blocks - 1:
            return self.network.logits(self._point_last(rows, position, vector))
        residual = self._point_block(layer, rows, position, vector)
        for index in range(layer + 1, n_blocks - 1):
            residual = self.network.through(index, residual)
        return self.network.logits(self.network.through_last(residual, reads))

    def _point_block(self, layer: int, rows: Rows, position: int, vector: Float[Tensor, "R d"]) -> Float[Tensor, "R P d"]:
        """One block, patched at one position: a new row and column of scores, one value exchanged, the MLP everywhere."""
        block = self.network.blocks[layer]
        queries, keys, values, scores = (cached[rows] for cached in self._attention[layer])
        query, key, value = block.qkv(vector)
        scores = scores.clone()
        scores[:, :, position] = torch.einsum("rhe,rkhe->rhk", query, keys)
        scores[:, :, :, position] = torch.einsum("rqhe,rhe->rhq", queries, key)
        scores[:, :, position, position] = (query * key).sum(dim=-1)
        future = self.network.future(scores.shape[-1], scores)
        pattern = (scores if future is None else scores.add_(future)).softmax(dim=-1)
        z = torch.einsum("rhqk,rkhe->rqhe", pattern, values)
        z = z + torch.einsum("rhq,rhe->rqhe", pattern[..., position], value - values[:, position])
        middle = block.mixed(z).add_(self.residuals[layer][rows])
        middle[:, position] += vector - self.residuals[layer][rows, position]
        return block.after_attention(middle)

    def _point_last(self, rows: Rows, position: int, vector: Float[Tensor, "R d"]) -> Float[Tensor, "R r d"]:
        """The last block at the positions read, patched at one position."""
        block, reads = self.network.blocks[-1], self.reads[rows]
        _, keys, values, _ = (cached[rows] for cached in self._attention[-1])
        at = torch.where((reads == position)[..., None], vector[:, None], _gathered(self.residuals[-2][rows], reads))
        queries = block.qkv(at)[0]
        _, key, value = block.qkv(vector)
        scores = torch.einsum("rqhe,rkhe->rhqk", queries, keys)
        scores[..., position] = torch.einsum("rqhe,rhe->rhq", queries, key)
        future = self.network.future(keys.shape[1], scores)
        pattern = (scores if future is None else scores.add_(future[reads][:, None])).softmax(dim=-1)
        z = torch.einsum("rhqk,rkhe->rqhe", pattern, values)
        z = z + torch.einsum("rhq,rhe->rqhe", pattern[..., position], value - values[:, position])
        return block.after_attention(block.mixed(z).add_(at))


def _gathered(values: Float[Tensor, "R P d"], reads: Int[Tensor, "R r"]) -> Float[Tensor, "R r d"]:
    return values.gather(1, reads[..., None].expand(-1, -1, values.shape[-1]))


def _agree(found: Tensor, expected: Tensor, close: float) -> bool:
    return bool((found - expected).abs().max() <= close * expected.abs().max().clamp_min(1))

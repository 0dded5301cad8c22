"""The logits of a HookedTransformer, fast: what a pass shares is computed once, and the last block only where it is read.

Three savings, none of which changes the function:
- What attention of the first block projects depends on token and position alone: it is looked up in a table of all pairs.
- One wide head needs two products, not four: queries carried to the keys' inputs (QK circuit), values to the stream (OV circuit).
- Of the last block, a reader of one position needs one query, one pattern and one MLP per sequence. Keys and values are linear in
  their inputs, so the query is carried to the inputs, and the pattern mixes inputs.
The keys' bias adds the same to every score of a query and drops out of the softmax; a pattern sums to 1, so the values' bias is
added after mixing. Products accumulate in place: fresh memory for the hidden layer costs nearly as much as its products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "gelu": F.gelu,
    "relu2": lambda hidden: torch.relu_(hidden).square_(),
}
"""Activation functions that may overwrite what they are given."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A model, and what all batches of inputs of one length share. Holds for the weights as they are; use it under no_grad."""

    model: Any
    attentions: tuple[_Attention, ...]
    offsets: Int[Tensor, " position"]
    """Row of token 0 at each position in the tables."""
    embedded: Float[Tensor, "position_token d"]
    """The residual stream before the first block."""
    projected: tuple[Tensor, Tensor, Tensor]
    """What attention of the first block projects."""

    @staticmethod
    def of(model: Any, length: int) -> Reader:
        """Prepare a model for inputs of `length` positions."""
        causal = model.cfg.attention_dir == "causal"
        attentions = tuple(_Attention.of(block.attn, length, causal) for block in model.blocks)
        pairs = model.pos_embed.W_pos[:length, None] + model.embed.W_E
        embedded = rearrange(pairs, "position token d -> (position token) d")
        projected = attentions[0].project(_norm(embedded, model.blocks[0], "ln1"))
        return Reader(model, attentions, torch.arange(length, device=embedded.device) * len(model.embed.W_E), embedded, projected)

    def logits(self, tokens: Int[Tensor, "batch position"], read: Int[Tensor, " batch"] | None) -> Tensor:
        """Return logits [batch, q] at `read`, or [batch, position, q] at all positions."""
        batch, length = tokens.shape
        rows = rearrange(tokens + self.offsets, "batch position -> (batch position)")
        residual = self.embedded[rows]
        for layer, (block, attention) in enumerate(zip(self.model.blocks, self.attentions, strict=True)):
            if read is not None and layer == len(self.attentions) - 1:
                normed = _norm(residual, block, "ln1")
                residual = residual[torch.arange(batch, device=read.device) * length + read]
                attention.write_at(residual, normed, read)
            elif layer == 0:
                attention.write(residual, *(table[rows] for table in self.projected))
            else:
                attention.write(residual, *attention.project(_norm(residual, block, "ln1")))
            self._write_mlp(residual, block)
        found = torch.addmm(self.model.unembed.b_U, _norm(residual, self.model, "ln_final"), self.model.unembed.W_U)
        return found if read is not None else rearrange(found, "(batch position) q -> batch position q", batch=batch)

    def _write_mlp(self, residual: Float[Tensor, "row d"], block: Any) -> None:
        if self.model.cfg.attn_only:
            return
        hidden = torch.addmm(block.mlp.b_in, _norm(residual, block, "ln2"), block.mlp.W_in)
        residual.add_(block.mlp.b_out).addmm_(IN_PLACE[self.model.cfg.act_fn](hidden), block.mlp.W_out)


@dataclass(frozen=True, eq=False)
class _Attention:
    """Attention of one block, its weights laid out for as few products as its shape allows."""

    part: Any
    length: int
    future: Float[Tensor, "query key"] | None
    """-inf where a key lies ahead of its query; None where attention looks both ways."""
    circuit: bool
    """Whether queries are carried to the keys' inputs, and values to the residual stream."""
    weight: Float[Tensor, "d columns"]
    """Queries, keys and values of all heads side by side; of a circuit queries and values."""
    bias: Float[Tensor, " columns"]
    constant: Float[Tensor, " d"]
    """What the biases of values and output add at every position."""

    @staticmethod
    def of(part: Any, length: int, causal: bool) -> _Attention:
        heads, d_model, d_head = part.W_Q.shape
        future = part.W_Q.new_full((length, length), -torch.inf).triu(1) if causal else None
        circuit = heads == 1 and d_model < 2 * d_head
        query, key, value, output = (weight.double() for weight in (part.W_Q / part.attn_scale, part.W_K, part.W_V, part.W_O))
        query_bias = part.b_Q.double() / part.attn_scale
        if circuit:
            weights = [query @ key.transpose(1, 2), value @ output]
            bias = torch.cat([(query_bias @ key[0].T)[0], query_bias.new_zeros(d_model)])
        else:
            weights = [query, key, value]
            bias = torch.cat([query_bias.flatten(), query_bias.new_zeros(2 * heads * d_head)])
        weight = rearrange(weights, "kind head d column -> d (kind head column)")
        constant = part.b_O + einsum(part.b_V, part.W_O, "head d_head, head d_head d -> d")
        dtype = part.W_Q.dtype
        return _Attention(part, length, future, circuit, weight.to(dtype).contiguous(), bias.to(dtype), constant)

    def project(self, x: Float[Tensor, "row d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries, keys and values of all heads side by side."""
        products = torch.addmm(self.bias, x, self.weight)
        if self.circuit:
            query, value = products.chunk(2, dim=1)
            return query, x, value
        query, key, value = products.chunk(3, dim=1)
        return query, key, value

    def write(self, residual: Float[Tensor, "row d"], query: Tensor, key: Tensor, value: Tensor) -> None:
        """Add to the residual stream what attention writes from these queries, keys and values."""
        query, key, value = (self._by_head(rows) for rows in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2))
        pattern = (scores if self.future is None else scores.add_(self.future)).softmax(dim=-1)
        residual.add_(self.constant)
        if self.circuit:
            residual.view(len(value), self.length, -1).baddbmm_(pattern, value)
            return
        mixed = rearrange(
            torch.bmm(pattern, value), "(batch head) position d -> (batch position) (head d)", head=len(self.part.W_O)
        )
        residual.addmm_(mixed, rearrange(self.part.W_O, "head d_head d -> (head d_head) d"))

    def write_at(self, residual: Float[Tensor, "batch d"], x: Float[Tensor, "row d"], read: Int[Tensor, " batch"]) -> None:
        """Add to the residual stream at one position per sequence what attention writes there, given its inputs at all."""
        part, inputs = self.part, rearrange(x, "(batch position) d -> batch position d", position=self.length)
        reading = inputs[torch.arange(len(read), device=read.device), read]
        query = einsum(reading, part.W_Q, "batch d, head d d_head -> head batch d_head") + part.b_Q[:, None]
        asked = einsum(query, part.W_K, "head batch d_head, head d d_head -> batch head d") / part.attn_scale
        scores = torch.bmm(asked, inputs.transpose(1, 2))
        pattern = (scores if self.future is None else scores.add_(self.future[read, None])).softmax(dim=-1)
        value = einsum(torch.bmm(pattern, inputs), part.W_V, "batch head d, head d d_head -> head batch d_head")
        written = einsum(value, part.W_O, "head batch d_head, head d_head d -> batch d")
        residual.add_(self.constant).add_(written)

    def _by_head(self, rows: Float[Tensor, "row columns"]) -> Tensor:
        heads = 1 if self.circuit else len(self.part.W_Q)
        return rearrange(rows, "(batch position) (head d) -> (batch head) position d", position=self.length, head=heads)


def _norm(residual: Tensor, owner: Any, name: str) -> Tensor:
    norm = getattr(owner, name, None)
    if norm is None or not hasattr(norm, "w"):
        return residual
    return F.layer_norm(residual, norm.w.shape, norm.w, norm.b, norm.eps)

"""An encoder that normalises after every addition, with fixed sinusoidal positions: the architecture of the hierarchical paper.

A block computes, on its input x,

    middle = LN1(x + attention(x))        output = LN2(middle + MLP(middle))

with biases everywhere; after the last block there is no further norm. A linear read-out gives logits at every position or, where
the task asks for the whole sequence, once: from the final tokens of all positions side by side. There is no dropout.
(Source: Garnier-Brun, Mézard, Moscato and Saglietti, "How transformers learn structured data", ICML 2025, section 3.)

Hook names are TransformerLens's, and each is what the next part reads: `hook_resid_mid` is the stream after LN1, which the MLP
and its skip connection read, and `hook_resid_post` the stream after LN2, which the next block or the read-out reads. The sums
before the norms have no hook; `ln1.hook_normalized` and `ln2.hook_normalized` are normalised and not yet scaled, as everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechbp.models.architectures import MLP, Attention, HookedRootModule, HookedTransformerConfig, HookPoint, LayerNorm
from mechbp.models.config import PostNormConfig

EPS = 1e-5
"""What layer norms add to a variance."""
SLOWEST = 1e4
"""Wavelength, over 2 pi, towards which those of the sinusoidal positions grow."""


class PostNormBlock(nn.Module):
    """Attention and MLP, each followed by its skip connection and then its layer norm."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.hook_resid_pre = HookPoint()
        self.attn: Any = Attention(cfg)
        self.hook_attn_out = HookPoint()
        self.ln1: Any = LayerNorm(cfg)
        self.hook_resid_mid = HookPoint()
        self.mlp: Any = MLP(cfg)
        self.hook_mlp_out = HookPoint()
        self.ln2: Any = LayerNorm(cfg)
        self.hook_resid_post = HookPoint()

    def forward(self, residual: Float[Tensor, "batch position d"]) -> Float[Tensor, "batch position d"]:
        """Return what the block hands on."""
        residual = self.hook_resid_pre(residual)
        mixed = self.hook_attn_out(self.attn(residual, residual, residual))
        middle = self.hook_resid_mid(self.ln1(residual + mixed))
        return self.hook_resid_post(self.ln2(middle + self.hook_mlp_out(self.mlp(middle))))


class PostNormEncoder(HookedRootModule):
    """See the module for what it computes; weights are uninitialised memory until `draw_weights`."""

    # torch types every submodule as Tensor | Module.
    embed: Any
    pos_embed: Any
    blocks: Any
    unembed: Any

    def __init__(self, cfg: HookedTransformerConfig, *, concatenated: bool) -> None:
        """Take the sizes, and whether the read-out sees all final tokens at once instead of each by itself."""
        super().__init__()
        self.cfg: Any = cfg
        self.concatenated = concatenated
        self.embed = nn.Module()
        self.embed.W_E = nn.Parameter(torch.empty(cfg.d_vocab, cfg.d_model))
        self.hook_embed = HookPoint()
        self.pos_embed = nn.Module()
        self.pos_embed.register_buffer("W_pos", sinusoids(cfg.n_ctx, cfg.d_model), persistent=False)
        self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList([PostNormBlock(cfg) for _ in range(cfg.n_layers)])
        self.unembed = nn.Module()
        self.unembed.W_U = nn.Parameter(torch.empty(cfg.d_model * (cfg.n_ctx if concatenated else 1), cfg.d_vocab_out))
        self.unembed.b_U = nn.Parameter(torch.empty(cfg.d_vocab_out))
        self.hook_logits = HookPoint()
        self.setup()

    def forward(
        self,
        input: Int[Tensor, "batch position"] | Float[Tensor, "batch position d"],
        start_at_layer: int | None = None,
        stop_at_layer: int | None = None,
    ) -> Float[Tensor, "batch answer q"] | Float[Tensor, "batch position d"]:
        """Return logits, at every position or once per sequence; with `stop_at_layer` the input of that block instead.

        With `start_at_layer`, `input` is the input of that block. Raises ValueError for fewer positions than a concatenated
        read-out has weights for.
        """
        if start_at_layer is None:
            residual = self.hook_embed(self.embed.W_E[input]) + self.hook_pos_embed(self._positions(input))
        else:
            residual = input
        for block in self.blocks[start_at_layer or 0 : stop_at_layer]:
            residual = block(residual)
        return residual if stop_at_layer is not None else self.hook_logits(self._logits(residual))

    def read(self, tokens: Int[Tensor, "batch position"], reads: Bool[Tensor, "batch position"]) -> Float[Tensor, "answer q"]:
        """Return the logits where `reads` says, with gradients: without hooks where nobody listens to one.

        A concatenated read-out answers once per sequence; its answer is read at position 0.
        """
        heard = any(part._forward_hooks or part._forward_pre_hooks for part in self.modules())
        logits = self(tokens) if heard else self._plain(tokens)
        return logits[reads[:, : logits.shape[1]]]

    def _plain(self, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch answer q"]:
        """The same function with as few operations as its shape allows."""
        batch, width = len(tokens), (self.cfg.d_model,)
        residual = rearrange(self.embed.W_E[tokens] + self._positions(tokens), "batch position d -> (batch position) d")
        for block in self.blocks:
            middle = F.layer_norm(residual + _mixed(block.attn, residual, batch), width, block.ln1.w, block.ln1.b, EPS)
            hidden = torch.relu(torch.addmm(block.mlp.b_in, middle, block.mlp.W_in))
            written = torch.addmm(block.mlp.b_out, hidden, block.mlp.W_out)
            residual = F.layer_norm(middle + written, width, block.ln2.w, block.ln2.b, EPS)
        return self._logits(rearrange(residual, "(batch position) d -> batch position d", batch=batch))

    def _positions(self, tokens: Int[Tensor, "batch position"]) -> Float[Tensor, "batch position d"]:
        return self.pos_embed.W_pos[: tokens.shape[1]].expand(len(tokens), -1, -1)

    def _logits(self, residual: Float[Tensor, "batch position d"]) -> Float[Tensor, "batch answer q"]:
        if self.concatenated:
            if residual.shape[1] != self.cfg.n_ctx:
                raise ValueError(f"a concatenated read-out needs all {self.cfg.n_ctx} positions, got {residual.shape[1]}.")
            residual = rearrange(residual, "batch position d -> batch 1 (position d)")
        return residual @ self.unembed.W_U + self.unembed.b_U


def build_post_norm(config: PostNormConfig, task: Any, process: Any, *, n_outputs: int, seed: int) -> PostNormEncoder:
    """Return the encoder at step 0, in eval mode, its weights drawn from `seed`; no global random state is read or moved.

    Its read-out is concatenated where the task says that it asks once about a whole sequence.
    """
    cfg = HookedTransformerConfig(
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_head=config.d_model // config.n_heads,
        d_mlp=config.d_mlp,
        act_fn="relu",
        normalization_type="LN",
        eps=EPS,
        attention_dir="bidirectional",
        positional_embedding_type="sinusoidal",  # tells whoever reads weights that this is no HookedTransformer
        n_ctx=task.n_positions(process),
        d_vocab=task.n_input_tokens(process),
        d_vocab_out=n_outputs,
        init_weights=False,
        device="cpu",
    )
    model = PostNormEncoder(cfg, concatenated=getattr(task, "asks_once", False))
    draw_weights(model, torch.Generator().manual_seed(seed))
    return model.eval()


@torch.no_grad()
def draw_weights(model: PostNormEncoder, generator: torch.Generator) -> None:
    """Draw all weights as PyTorch's encoder does: every block starts as a copy of the first.

    Queries, keys and values are Xavier-uniform as one matrix with outputs 3 d, embeddings N(0, 1), all other weights and the
    biases of MLP and read-out uniform within 1 / sqrt(inputs); biases of attention are 0, gains 1.
    """
    d_model = model.cfg.d_model
    model.embed.W_E.normal_(generator=generator)
    first = model.blocks[0]
    xavier = (6 / (d_model + 3 * d_model)) ** 0.5
    for weight in (first.attn.W_Q, first.attn.W_K, first.attn.W_V):
        weight.uniform_(-xavier, xavier, generator=generator)
    for inputs, weights in (
        (d_model, (first.attn.W_O, first.mlp.W_in, first.mlp.b_in)),
        (model.cfg.d_mlp, (first.mlp.W_out, first.mlp.b_out)),
        (len(model.unembed.W_U), (model.unembed.W_U, model.unembed.b_U)),
    ):
        for weight in weights:
            weight.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    for bias in (first.attn.b_Q, first.attn.b_K, first.attn.b_V, first.attn.b_O, first.ln1.b, first.ln2.b):
        bias.zero_()
    for gain in (first.ln1.w, first.ln2.w):
        gain.fill_(1)
    for block in model.blocks[1:]:
        block.load_state_dict(first.state_dict())


def sinusoids(n_positions: int, d_model: int) -> Float[Tensor, "position d"]:
    """Return the fixed position embedding: sines at even, cosines at odd coordinates, wavelengths from 2 pi up."""
    rate = SLOWEST ** -(torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = torch.arange(n_positions, dtype=torch.float64)[:, None] * rate
    both = rearrange([angle.sin(), angle.cos()], "kind position pair -> position (pair kind)")
    return both[:, :d_model].to(torch.get_default_dtype())


def _mixed(attention: Any, x: Float[Tensor, "row d"], batch: int) -> Float[Tensor, "row d"]:
    """What attention writes, from three products in one."""
    heads = len(attention.W_Q)
    weights = rearrange([attention.W_Q, attention.W_K, attention.W_V], "kind head d e -> d (kind head e)")
    biases = rearrange([attention.b_Q, attention.b_K, attention.b_V], "kind head e -> (kind head e)")
    query, key, value = rearrange(
        torch.addmm(biases, x, weights),
        "(batch position) (kind head e) -> kind (batch head) position e",
        batch=batch,
        kind=3,
        head=heads,
    )
    pattern = (torch.bmm(query, key.transpose(1, 2)) / attention.attn_scale).softmax(dim=-1)
    mixed = rearrange(torch.bmm(pattern, value), "(batch head) position e -> (batch position) (head e)", head=heads)
    return torch.addmm(attention.b_O, mixed, rearrange(attention.W_O, "head e d -> (head e) d"))

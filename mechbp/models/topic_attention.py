"""The one-layer topic model of theory as a hooked model: softmax attention between embedding and unembedding, and nothing else.

No residual stream, layer norm, MLP, positions, output matrix or attention biases (Li, Li and Risteski 2023, section 3). Hook
names and the shapes of weights are TransformerLens's, rows being vectors:

    h = W_E[id]      scores = (h W_Q)(h W_K)' / sqrt(d_head)      z = softmax(scores) h W_V      output = z W_U + b_U

A token says what is shown and whether it is seen: id w is a key for all queries, id w + n_ids shows w to its own query alone, and
PAD is never a key. The order of the other tokens does not matter.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mechbp.errors import InputError
from mechbp.models.architectures import HookedRootModule, HookedTransformerConfig, HookPoint
from mechbp.models.config import TopicAttentionConfig

TRAINED = {
    "emb": ("W_E",),
    "wv": ("W_V",),
    "kq": ("W_Q", "W_K"),
    "joint": ("W_V", "W_Q", "W_K"),
    "both": ("W_E", "W_Q", "W_K"),
}
"""What each regime trains; all else stands still and is no parameter."""


class TopicAttention(HookedRootModule):
    """One head of bidirectional attention over tokens without positions; see the module for what it computes."""

    # torch types every submodule as Tensor | Module.
    cfg: Any
    embed: Any
    blocks: Any
    unembed: Any

    def __init__(
        self, weights: dict[str, Tensor], trained: tuple[str, ...], *, n_ids: int, pad: int, d_vocab: int, n_ctx: int
    ) -> None:
        """Take the weights W_E, W_Q, W_K, W_V, b_U and, unless the unembedding is the embedding transposed, W_U."""
        super().__init__()
        d_model, _ = weights["W_V"].shape[1:]
        self.cfg = HookedTransformerConfig(
            n_layers=1,
            n_heads=1,
            d_model=d_model,
            d_head=weights["W_Q"].shape[-1],
            n_ctx=n_ctx,
            d_vocab=d_vocab,
            d_vocab_out=len(weights["b_U"]),
            attn_only=True,
            normalization_type=None,
            attention_dir="bidirectional",
            init_weights=False,
            device="cpu",
        )
        self.cfg.outputs = "logits"
        self.n_ids = n_ids
        self.pad = pad
        self.embed = _part({"W_E": weights["W_E"]}, trained)
        attention = _part({name: weights[name] for name in ("W_Q", "W_K", "W_V")}, trained)
        for hook in ("hook_q", "hook_k", "hook_v", "hook_attn_scores", "hook_pattern", "hook_z"):
            setattr(attention, hook, HookPoint())
        block: Any = nn.Module()
        block.attn = attention
        block.hook_attn_out = HookPoint()
        self.blocks = nn.ModuleList([block])
        self.unembed = _part({name: weights[name] for name in ("W_U", "b_U") if name in weights}, trained)
        self.hook_embed = HookPoint()
        self.setup()

    def forward(
        self,
        tokens: Int[Tensor, "batch position"],
        key_mask: Bool[Tensor, "batch key"] | None = None,
        log_key_weight: Float[Tensor, "batch key"] | None = None,
    ) -> Float[Tensor, "batch position q"]:
        """Return the output at every position.

        key_mask: which positions can be seen, beside what the tokens say. log_key_weight: added to the scores, so that one token
        stands for many of its kind; log frequencies of the kinds make the document infinitely long.
        Raises InputError where a document has no position that can be seen.
        """
        ids, seen = self._seen(tokens, key_mask)
        attention = self.blocks[0].attn
        embedded = self.hook_embed(self.embed.W_E[ids])
        query = attention.hook_q(_by_head(embedded, attention.W_Q))
        key = attention.hook_k(_by_head(embedded, attention.W_K))
        value = attention.hook_v(_by_head(embedded, attention.W_V))
        scores = einsum(query, key, "batch query head d, batch key head d -> batch head query key") / self.cfg.attn_scale
        if log_key_weight is not None:
            scores = scores + rearrange(log_key_weight, "batch key -> batch 1 1 key")
        unseen = rearrange(~seen, "batch key -> batch 1 1 key")
        scores = attention.hook_attn_scores(scores.masked_fill(unseen, -torch.inf))
        pattern = attention.hook_pattern(scores.softmax(dim=-1))
        mixed = einsum(pattern, value, "batch head query key, batch key head d -> batch query head d")
        z = attention.hook_z(mixed)
        written = self.blocks[0].hook_attn_out(rearrange(z, "batch query 1 d -> batch query d"))
        return written @ self.W_U + self.unembed.b_U

    def read(self, tokens: Int[Tensor, "batch position"], reads: Bool[Tensor, "batch position"]) -> Float[Tensor, "read q"]:
        """Return the output where `reads` says, without hooks, to rounding what `forward` gives there: tens of times faster.

        Scores and values depend on ids alone, so a document is its counts of ids: attention to an id is attention to a token of
        it, times its count.
        """
        ids, seen = self._seen(tokens, None)
        counts = self.W_E.new_zeros(len(tokens), self.n_ids).scatter_add_(1, ids, seen.to(self.W_E.dtype))
        document = reads.nonzero()[:, 0]
        pattern = (self.scores().T[ids[reads]] + counts.log()[document]).softmax(dim=-1)
        return pattern @ self.values().T + self.unembed.b_U

    def _seen(
        self, tokens: Int[Tensor, "batch position"], key_mask: Bool[Tensor, "batch key"] | None
    ) -> tuple[Int[Tensor, "batch position"], Bool[Tensor, "batch position"]]:
        """What is shown, and which positions are keys."""
        ids = tokens % self.n_ids
        seen = (tokens < self.n_ids) & (ids != self.pad)
        if key_mask is not None:
            seen = seen & key_mask
        if not bool(seen.any(dim=1).all()):
            row = int((~seen.any(dim=1)).nonzero()[0])
            raise InputError(f"topic attention: no token of document {row} can be seen, so there is nothing to attend to.")
        return ids, seen

    @property
    def W_E(self) -> Float[Tensor, "id d"]:
        """Embedding, one row per id."""
        return self.embed.W_E

    @property
    def W_U(self) -> Float[Tensor, "d q"]:
        """Unembedding: its own matrix, or the words of the embedding transposed."""
        return self.unembed.W_U if hasattr(self.unembed, "W_U") else self.embed.W_E[: self.cfg.d_vocab_out].T

    @property
    def W_Q(self) -> Float[Tensor, "layer head d d_head"]:
        """Query weights."""
        return self.blocks[0].attn.W_Q[None]

    @property
    def W_K(self) -> Float[Tensor, "layer head d d_head"]:
        """Key weights."""
        return self.blocks[0].attn.W_K[None]

    @property
    def W_V(self) -> Float[Tensor, "layer head d d_value"]:
        """Value weights."""
        return self.blocks[0].attn.W_V[None]

    def values(self) -> Float[Tensor, "word id"]:
        """Return what attention to an id adds to the output of a word: theory's W^V."""
        return (self.W_E @ self.W_V[0, 0] @ self.W_U).T

    def scores(self) -> Float[Tensor, "key query"]:
        """Return the score of every key id for every query id: theory's (W^K)' W^Q / sqrt(d_a)."""
        return (self.W_E @ self.W_K[0, 0]) @ (self.W_E @ self.W_Q[0, 0]).T / self.cfg.attn_scale


def build_topic_attention(config: TopicAttentionConfig, task: Any, process: Any, seed: int) -> TopicAttention:
    """Return the model at step 0, in eval mode. Raises InputError for a task that does not say which tokens can be seen."""
    if not hasattr(task, "vocabulary"):
        raise InputError("model.kind 'topic-attention' reads documents; its task must be one of topics, such as 'mask-a'.")
    vocabulary = task.vocabulary(process)
    n_ids, n_words = vocabulary.n_ids, process.vocab_size
    trained = TRAINED[config.regime] + (("b_U",) if config.bias else ())
    generator = torch.Generator().manual_seed(seed)
    identity = torch.eye(n_ids)
    d_head = n_ids if "W_Q" in trained else 1
    weights = {
        "W_E": identity,
        "W_Q": torch.zeros(1, n_ids, d_head),
        "W_K": torch.zeros(1, n_ids, d_head),
        "W_V": identity[None].clone(),
        "b_U": torch.zeros(n_words),
    }
    if "W_E" not in trained:
        weights["W_U"] = identity[:, :n_words].clone()
    if config.regime == "kq":
        weights["W_V"] = _fixed_values(config, process, n_ids, vocabulary.mask)[None]
    for name in TRAINED[config.regime]:
        weights[name] = config.sigma * torch.randn(weights[name].shape, generator=generator)
    model = TopicAttention(
        weights,
        trained,
        n_ids=n_ids,
        pad=vocabulary.pad,
        d_vocab=task.n_input_tokens(process),
        n_ctx=task.n_positions(process),
    )
    model.cfg.outputs = config.outputs
    return model.eval()


def _fixed_values(config: TopicAttentionConfig, process: Any, n_ids: int, mask: int) -> Float[Tensor, "id d"]:
    """Values that are constant on blocks of topics, as rows; 0 for ids that are no word nor MASK."""
    topic = torch.from_numpy(process.topic_of_word)
    n_words = len(topic)
    values = torch.zeros(n_ids, n_ids)
    values[:n_words, :n_words] = torch.where(topic[:, None] == topic, config.same, config.different)
    values[mask, :n_words] = config.mask
    return values


def _part(weights: dict[str, Tensor], trained: tuple[str, ...]) -> Any:
    """A module that holds some weights, those trained as parameters."""
    part = nn.Module()
    for name, weight in weights.items():
        if name in trained:
            part.register_parameter(name, nn.Parameter(weight.clone()))
        else:
            part.register_buffer(name, weight, persistent=False)
    return part


def _by_head(rows: Float[Tensor, "batch position d"], weight: Float[Tensor, "head d d_head"]) -> Tensor:
    return einsum(rows, weight, "batch position d, head d d_head -> batch position head d_head")

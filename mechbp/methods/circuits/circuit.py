"""Token-level circuits: what each head's weights alone say of every token as query, key and value.

    OV[k] = x_k W_V W_O W_U      QK[q, k] = (x_q W_Q + b_Q)(x_k W_K + b_K)' / sqrt(d_head)      direct = W_E W_U

x is a token's row as the head reads it. Three variants differ in what they take for it:

"raw"            x = W_E of the weights as they stand, without biases, norms or positions: the maps W_E W_Q W_K' W_E' and
                 W_E W_V W_O W_U of Urdshals and Urdshals 2025. Gains of norms are left out, so that heads may be misranked.
"mean position"  x = LNPre(W_E + mean of W_pos) of the folded model, the mean taken over key positions for keys and values and
                 over query positions for queries.
"per position"   x = LNPre(W_E + W_pos[s]) of the folded model: one circuit per pair of positions. In the first block that is what
                 heads read: their patterns are the softmax of QK over the keys that a query sees.

In later blocks all of them follow one path, from the embedding past all earlier blocks straight to the head. OV and direct leave
out later blocks and divide by no scale of the last norm, which differs from position to position: their entries are logits times
that scale, sigma_f, exact in a model without norms, and comparable with each other at one position.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from mechbp.arguments import as_array, checked_choice, told
from mechbp.errors import InputError
from mechbp.finite import check_parameters
from mechbp.hooks import HookedModel
from mechbp.methods.circuits.folding import check_foldable, check_weights, folded
from mechbp.methods.circuits.result import Circuits
from mechbp.methods.circuits.rows import Indices, centred, check_size, mean_position_rows, ov_circuit, qk_circuit, token_rows

Variant = Literal["raw", "mean position", "per position"]
SCORES_BARRED = {
    "use_qk_norm": "queries and keys are normalised",
    "use_logn_attn": "queries are scaled by their position",
}
"""Settings under which a score is no bilinear form of two rows, and why."""


@torch.no_grad()
def circuits(
    model: HookedModel,
    *,
    layer: int = 0,
    variant: Variant = "mean position",
    key_positions: Indices | None = None,
    query_positions: Indices | None = None,
    tokens: Indices | None = None,
) -> Circuits:
    """Return OV, QK and direct circuits of one block's heads between tokens, float64; see above for the variants.

    key_positions and query_positions: default all of 0..n_ctx-1; positions never trained on do not belong there. tokens: the ids
    to take as queries and keys, default all; means over keys, which no softmax sees, are then over these. Outputs are always all.
    Raises HookError for a model without heads between embeddings, InputError for one whose scores or positions are of another
    kind (only "raw" is then defined, if anything) and for arguments that do not fit, LimitExceeded before allocating more than
    1 GiB. Source: Urdshals and Urdshals 2025 for the raw form, plain derivation otherwise.

    >>> import mechbp
    >>> found = mechbp.circuits(mechbp.load("sorting-small-decay-s1").model)
    >>> found.ov.shape, found.qk.shape, found.direct.shape
    ((2, 33, 33), (2, 33, 33), (33, 33))
    """
    checked_choice(variant, "circuits", "variant", get_args(Variant))
    check_weights(model)
    check_parameters("circuits", model)
    cfg: Any = model.cfg
    (layer,) = _indices("layer", [layer], cfg.n_layers)
    ids = _indices("tokens", tokens, cfg.d_vocab)
    if variant == "raw":
        if key_positions is not None or query_positions is not None:
            raise InputError("circuits: the raw variant knows no positions. Leave key_positions and query_positions out.")
        _check_sizes(cfg, len(ids), 1, 1)
        return _raw(model, layer, ids)
    check_foldable(model)
    check_scores(model, layer, f"circuits: {variant!r}")
    key_at = _indices("key_positions", key_positions, cfg.n_ctx)
    query_at = _indices("query_positions", query_positions, cfg.n_ctx)
    apart = variant == "per position"
    _check_sizes(cfg, len(ids), len(key_at) if apart else 1, len(query_at) if apart else 1)
    source = folded(model)
    rows_of = token_rows if apart else mean_position_rows
    where = torch.tensor(ids, device=source.embed.W_E.device)
    keys = rows_of(source, layer, where, key_at)
    queries = rows_of(source, layer, where, query_at)
    return Circuits(
        variant=variant,
        layer=layer,
        tokens=np.array(ids),
        ov=_array(ov_circuit(source, layer, keys)),
        qk=_array(qk_circuit(source, layer, queries, keys)),
        direct=_array(centred(source.embed.W_E[where] @ source.unembed.W_U)),
        key_positions=key_at,
        query_positions=query_at,
    )


def _raw(model: Any, layer: int, ids: tuple[int, ...]) -> Circuits:
    attention = model.blocks[layer].attn
    weights = {name: getattr(attention, name).detach().double() for name in ("W_Q", "W_K", "W_V", "W_O")}
    rows = model.embed.W_E.detach().double()[torch.tensor(ids, device=model.embed.W_E.device)]
    unembedding = model.unembed.W_U.detach().double()
    query, key, value = (rows @ weights[name] for name in ("W_Q", "W_K", "W_V"))
    scores = query @ rearrange(key, "head key d_head -> head d_head key") / float(attention.attn_scale)
    return Circuits(
        variant="raw",
        layer=layer,
        tokens=np.array(ids),
        ov=_array(centred(value @ (weights["W_O"] @ unembedding))),
        qk=_array(centred(scores)),
        direct=_array(centred(rows @ unembedding)),
        key_positions=None,
        query_positions=None,
    )


def check_scores(model: Any, layer: int, what: str) -> None:
    """Raise InputError where positions or scores are such that a token's row, or a pair of them, does not give the score."""
    reasons = [f"{name}: {why}" for name, why in SCORES_BARRED.items() if getattr(model.cfg, name, None)]
    kind = getattr(model.cfg, "positional_embedding_type", None)
    if kind != "standard":
        reasons.append(f"positions are {kind!r}, not added to the embedding")
    elif "pos_embed.W_pos" not in model.state_dict():
        reasons.append("it has no W_pos")
    if (getattr(model.cfg, "attn_scores_soft_cap", None) or 0) > 0:
        reasons.append("attn_scores_soft_cap bends the scores")
    if getattr(model.blocks[layer].attn, "q_norm", None) is not None and not reasons:
        reasons.append("queries and keys are normalised")
    if reasons:
        raise InputError(
            f"{what} is not defined for this {type(model).__name__}: {'; '.join(reasons)}.\n"
            f"circuits(model, variant='raw') takes the weights alone."
        )


def _indices(name: str, given: Indices | None, size: int) -> tuple[int, ...]:
    """The indices given, or all of 0..size-1. Raises InputError unless they are distinct integers in that range, at least one."""
    if given is None:
        return tuple(range(size))
    array = as_array(given, "circuits", name, f"distinct integers in 0..{size - 1}")
    whole = array.ndim == 1 and array.dtype.kind in "iu" and 0 < len(array) == len(np.unique(array))
    if not whole or array.min() < 0 or array.max() >= size:
        raise InputError(f"circuits: {name} must be distinct integers in 0..{size - 1}, at least one, got {told(given, 80)}.")
    return tuple(array.tolist())


def _check_sizes(cfg: Any, n_tokens: int, n_keys: int, n_queries: int) -> None:
    outputs = cfg.d_vocab_out
    ov = cfg.n_heads * n_keys * n_tokens * outputs
    qk = cfg.n_heads * n_keys * n_queries * n_tokens**2
    check_size(ov + qk + n_tokens * outputs, "circuits: the maps", "Name fewer tokens, or fewer positions.")


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()

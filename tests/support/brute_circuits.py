"""Circuits and one-block forward passes by loops over tokens, positions and heads, from weights as they were trained.

Shares no code with mechbp: norms are applied with their gains and biases instead of being folded.
"""

from __future__ import annotations

import numpy as np


class Weights:
    """A model's weights in float64 under their own names: w["embed.W_E"]."""

    def __init__(self, model):
        self.kind = model.cfg.normalization_type
        self.eps = model.cfg.eps
        self.state = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}

    def __getitem__(self, name):
        return self.state[name]

    def unit(self, x):
        """What a norm makes of a row before gains and biases."""
        if self.kind in ("LN", "LNPre"):
            x = x - x.mean()
        return x if self.kind is None else x / np.sqrt((x * x).mean() + self.eps)

    def normed(self, x, name):
        """A norm with its gains and biases."""
        return self.gain(name) * self.unit(x) + self.state.get(f"{name}.b", 0.0)

    def gain(self, name):
        return self.state.get(f"{name}.w", 1.0)

    def score(self, x, y, layer, head, scale):
        """Attention score of a query that reads x for a key that reads y, rows of the stream."""
        at = f"blocks.{layer}"
        query = self.normed(x, f"{at}.ln1") @ self[f"{at}.attn.W_Q"][head] + self[f"{at}.attn.b_Q"][head]
        key = self.normed(y, f"{at}.ln1") @ self[f"{at}.attn.W_K"][head] + self[f"{at}.attn.b_K"][head]
        return query @ key / scale

    def value(self, y, layer, head):
        """What attention to a row y of the stream adds to the logits times sigma, less what is the same for all rows."""
        at = f"blocks.{layer}"
        written = (self.gain(f"{at}.ln1") * self.unit(y)) @ self[f"{at}.attn.W_V"][head] @ self[f"{at}.attn.W_O"][head]
        return self.unembedded(written)

    def unembedded(self, x):
        """A row of the stream through the gains of the last norm and W_U, mean over outputs removed."""
        if self.kind in ("LN", "LNPre"):
            x = x - x.mean()
        logits = (self.gain("ln_final") * x) @ self["unembed.W_U"]
        return logits - logits.mean()


def mean_position_circuits(model, layer, key_positions, query_positions):
    """OV [head, token, output], QK [head, query, key] and direct [token, output], entry by entry."""
    w = Weights(model)
    embed, place = w["embed.W_E"], w["pos_embed.W_pos"]
    at_key = sum(place[s] for s in key_positions) / len(key_positions)
    at_query = sum(place[s] for s in query_positions) / len(query_positions)
    scale = float(model.blocks[layer].attn.attn_scale)
    heads, tokens = range(model.cfg.n_heads), range(len(embed))
    ov = np.array([[w.value(embed[t] + at_key, layer, h) for t in tokens] for h in heads])
    qk = np.array(
        [[[w.score(embed[q] + at_query, embed[k] + at_key, layer, h, scale) for k in tokens] for q in tokens] for h in heads]
    )
    direct = np.array([w.unembedded(embed[t]) for t in tokens])
    return ov, qk - qk.mean(axis=2, keepdims=True), direct


def raw_circuits(model, layer):
    """The same from W_E and the weights as they stand."""
    w = Weights(model)
    embed, unembed = w["embed.W_E"], w["unembed.W_U"]
    part = {name: w[f"blocks.{layer}.attn.W_{name}"] for name in "QKVO"}
    ov, qk = [], []
    for h in range(model.cfg.n_heads):
        ov.append(embed @ part["V"][h] @ part["O"][h] @ unembed)
        qk.append(embed @ part["Q"][h] @ part["K"][h].T @ embed.T / np.sqrt(model.cfg.d_head))
    rows = [np.array(ov), np.array(qk), embed @ unembed]
    return [row - row.mean(axis=-1, keepdims=True) for row in rows]

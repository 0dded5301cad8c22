"""Other arguments that may be right, beside those of the valid call, by function and parameter name."""

import numpy as np
import torch

import mechbp

HMM = "HiddenMarkovModel"
SANE = {
    "n": (0, 1, 2, np.int32(3)),
    "length": (1, 2, np.uint8(3)),
    "depth": (1, 2, np.int64(2)),
    "filter_level": (0, 1, 2),
    "vocab_size": (2, 3, 5),
    "seed": (0, 7, np.uint32(3)),
    "sigma": (0, 0.0, 2.5, 1e4, np.float32(1)),
    "ambiguity": (0, 0.5, 1),
    "recipe": ("paper", "released"),
    "evidence": ("bayes", "row"),
    "split": (None, "train", "validation", "test"),
    "window": (0, 3, 4),
    "gap": (1, 2),
    "repeats": (True, False),
    "x": (0.01, 0.3, 0.5),
    "p": (0.1, 0.9),
    "q": (0.1, 0.9),
    "alpha": (0.05, 1, np.float64(0.3)),
    "n_topics": (2, 3),
    "words_per_topic": (1, 2, 3),
    "shared": (1, 2),
    "share": (0, 0.5),
    "n_words": (0, 1, 4),
    "batch_size": (1, 3, 100, 10**12),
    "hooks": ("blocks.0.hook_resid_mid", ["hook_embed", "blocks.*.hook_resid_post"], "blocks.*.attn.hook_z"),
    "patterns": ("*", "hook_embed", ["blocks.1.attn.hook_pattern", "blocks.0.hook_mlp_out"], "blocks.*.attn.hook_attn_scores"),
    "hook": ("hook_embed", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid"),
    "direction": ("denoising", "noising"),
    "positions": (None, [0], [-1, 1], [(0, 1)], (2,)),
    "heads": (True, False),
    "controls": ((), "shuffled", ("tokens", "shuffled")),
    "only_own": (False, True),
    "own": (None, {"parent": np.array([0, 0, 1, 1])}),
    "groups": (None, np.arange(120) // 2),
    "penalties": ((0.1,), [1e-6, 1e3], np.geomspace(1e-4, 1, 3)),
    "floor": (1e-9, 1e-3),
    "resamples": (2, 30),
    "permutations": (1, 7),
    "reference": ("uniform", "sibling-subtree", "block-average", np.full((4, 4), 0.25), torch.full((2, 2), 0.5)),
    "subspace": ("means", "probe"),
    "eraser": ("leace", "means"),
    "message": ("upward", "downward"),
    "task": ("masked", "root", "next-token"),
    "dims": (None, 1, 3),
    "mask_rates": ((0.0, 0.0), [0.1, 0.5], np.array([0.2, 0.3])),
    "n_fit": (40, 60),
    "layer": (0, 1),
    "variant": ("raw", "mean position", "per position"),
    "key_positions": (None, [0], (1, 2)),
    "query_positions": (None, [3], range(2)),
    "chains": (2, 3),
    "burn_in": (1, 4),
    "draws": (8, 12),
    "sampler": ("sgld", "averaged noise", "mala"),
    "centre_gradients": (True, False),
    "vectorise": (None, True, False),
    "curvature": (None, 2.0),
    "loss_limit": (None, 1e6),
    "kind": ("localisation", "probing", "interchange"),
    "sites": ("streams",),
    "budget": (None, 1, 10**6),
    "first": (0, 3),
    "answer": ("leaf", "root"),
    "activation": ("relu2", "relu"),
    "knots": (None, 16),
    "observed": (None, np.ones((3, 4), bool), np.zeros((3, 4), bool), np.eye(3, 4, dtype=bool)),
    "rng": (),
    "start": (None, np.array([1.0, 0, 0])),
    "root_prior": (None, [0.25, 0.75]),
    "labels": ("a", 1, np.int64(2)),
    "step": (0,),
}
"""Parameter name -> values; a generator is made anew for every call."""
MASKED = {
    "FilteredTree.beliefs": np.array([[0, 4, 2, 4], [4, 4, 4, 4]]),
    "FilteredTree.check_tokens": np.array([[0, 4, 2, 4]]),
    f"{HMM}.beliefs": np.array([[0, 3, 2], [3, 3, 3]]),
    f"{HMM}.log_evidence": np.empty((0, 5), int),
    f"{HMM}.messages": np.empty((0, 2), int),
    "TopicModel.beliefs": np.array([[0, 4, -1], [1, 2, 3]]),
    "capture": np.asfortranarray(np.arange(8).reshape(2, 4) % 6),
    "patch": np.arange(12).reshape(4, 3).T % 4,
}
"""Tokens that some functions take, and others may refuse."""


def sane(name, parameter):
    """Values of a parameter that this function may take."""
    if parameter == "rng":
        return (mechbp.rng(1, "sane"),)
    extra = (MASKED[name],) if parameter in ("tokens", "clean") and name in MASKED else ()
    return (*SANE.get(parameter, ()), *extra)

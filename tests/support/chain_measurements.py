"""Measurements of made-up runs on chains, for tests of verdicts."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

import mechbp
from mechbp.models.config import ModelConfig, ObjectiveConfig, TrainingConfig
from mechbp.models.tasks.chain import ChainRecipe
from mechbp.theory.chain.prefix_probe import AffineMap, WordScore

RECIPE = ChainRecipe("mess3", length=10, x=0.5, alpha=0.6)
MODEL = ModelConfig(n_layers=1, n_heads=2, d_model=64, d_mlp=256, attention="causal")


def named(name, n_heads=2, batch_size=128, **others):
    """A run of this name, as far as judging needs one."""
    config = SimpleNamespace(
        process=RECIPE, model=replace(MODEL, n_heads=n_heads), objective=ObjectiveConfig("next-token"),
        training=TrainingConfig(16000, batch_size, 1e-3),
    )  # fmt: skip
    return SimpleNamespace(name=name, config=config, **others)


RUN = named("own")
WORDS = SimpleNamespace(tokens=np.zeros((9, 3)), n_prefixes=30)
STUDY = SimpleNamespace(rng=lambda *labels: mechbp.rng(0, *labels))


def score(mse=1e-4, r2=0.999, held_out_mse=1e-4, held_out_r2=0.999):
    return WordScore(
        r2, mse, held_out_r2, held_out_r2, held_out_r2, held_out_mse, 0.1, AffineMap(np.zeros((4, 3)), np.zeros(3), 4), 30, 4
    )

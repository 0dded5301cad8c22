"""Tiny runs on hidden Markov models, of every architecture that the pages about beliefs tell apart."""

from pathlib import Path

from small_runs import recipe, toml

from mechbp.models.runs import Run, load
from mechbp.models.training import train

ARCHITECTURES = {
    "one-head": ({"kind": "mess3", "x": 0.15, "alpha": 0.6}, {"n_heads": 1}),
    "one-head-again": ({"kind": "mess3", "x": 0.15, "alpha": 0.6}, {"n_heads": 1}),
    "two-heads": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 2}),
    "one-head-less": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 1}),
    "two-heads-exact": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 2}),
    "two-heads-again": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 2}),
    "two-heads-exact-again": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 2}),
    "grid": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 1, "d_head": 8}),
    "grid-deep": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 1, "n_layers": 2, "d_head": 8}),
    "golden-mean": ({"kind": "golden-mean"}, {"n_heads": 1}),
    "even": ({"kind": "even"}, {"n_heads": 1}),
    "silent": ({"kind": "mess3", "x": 0.2, "alpha": 1 / 3}, {"n_heads": 1}),
    "attention-only": ({"kind": "mess3", "x": 0.2, "alpha": 0.6}, {"n_heads": 1, "d_mlp": 0}),
    "many-heads": ({"kind": "mess3", "x": 0.5, "alpha": 0.6}, {"n_heads": 4}),
    "short": ({"kind": "mess3", "x": 0.2, "alpha": 0.6}, {"n_heads": 1}),
    "deep": ({"kind": "mess3", "x": 0.05, "alpha": 0.85}, {"n_heads": 1, "n_layers": 2}),
    "deep-exact": ({"kind": "mess3", "x": 0.05, "alpha": 0.85}, {"n_heads": 1, "n_layers": 2}),
    "parity": ({"kind": "rrxor"}, {"n_heads": 1}),
}


def chain_run(root: Path, name: str, length: int = 5, steps: int = 12) -> Run:
    """Train one of them for a few steps."""
    process, model = ARCHITECTURES[name]
    tables = recipe(
        objective__task="next-token", model__attention="causal", training__steps=steps, training__warmup_steps=2,
        training__seed=1 if name.endswith("again") else 0,
        objective__targets="posteriors" if "exact" in name else "tokens",
        **{f"model__{key}": value for key, value in model.items()},
    )  # fmt: skip
    tables["process"] = {"length": length, **process}
    tables["objective"].pop("mask")
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(toml(tables))
    train(folder)
    return load(folder)

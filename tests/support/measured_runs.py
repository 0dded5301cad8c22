"""A tiny sorter with measurements in its recipe, trained in a second and measured in two."""

from __future__ import annotations

import json
from pathlib import Path

from small_runs import toml

SORTER = {
    "process": {"kind": "sorting", "vocab_size": 6, "length": 3},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "d_mlp": 0, "attention": "causal"},
    "objective": {"task": "sort"},
    "training": {
        "steps": 60,
        "batch_size": 16,
        "learning_rate": 0.02,
        "warmup_steps": 0,
        "stored_steps": 2,
        "measured_steps": 2,
    },
}
FEW = {"localization": 50.0, "chains": 2, "burn_in": 3, "draws": 6, "batch_size": 8, "n_batches": 3}
AUTO = {"name": "auto", "n_beta": 20.0, **FEW}
FIXED = {"name": "fixed", "n_beta": 10.0, **FEW, "step_size": 1e-4, "steps": [32, 60], "seed": 3}
FIXED |= {"sampler": "averaged noise", "centre_gradients": True, "l2": 0.01}
"""Nothing left at its default that changes the number."""
UNREPEATABLE = ("seconds", "sha256")


def write_sorter(folder: Path, *settings: dict[str, object]) -> Path:
    """Create a run folder that holds only a recipe, with a table [[llc]] for each of the settings."""
    folder.mkdir(parents=True)
    set_settings(folder, *settings)
    return folder


def set_settings(folder: Path, *settings: dict[str, object]) -> None:
    """Replace the tables [[llc]] of a recipe."""
    tables = [toml({"llc": setting}).replace("[llc]", "[[llc]]") for setting in settings]
    (folder / "run.toml").write_text(toml(SORTER) + "".join(tables))


def lines(folder: Path) -> list[dict[str, object]]:
    """The lines of llc.jsonl, whole."""
    return [json.loads(line) for line in (folder / "llc.jsonl").read_text().splitlines()]


def repeatable(folder: Path) -> list[dict[str, object]]:
    """The lines of llc.jsonl without what no two measurements share: the time they took, and what depends on it."""
    return [{key: value for key, value in line.items() if key not in UNREPEATABLE} for line in lines(folder)]

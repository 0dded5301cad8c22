"""A model for those who do not have mechbp: its weights, its configuration, and a loader that needs TransformerLens alone."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from mechbp.errors import InputError
from mechbp.models.architectures import HookedTransformer
from mechbp.models.runs import Run
from mechbp.storage import atomic_write, make_folder

SETTINGS = (
    *("n_layers", "n_heads", "d_model", "d_head", "d_mlp", "attn_only", "act_fn", "normalization_type", "attention_dir"),
    *("n_ctx", "d_vocab", "d_vocab_out"),
)
"""Of a HookedTransformerConfig: what tells our models apart; the rest is TransformerLens's default."""
SPECIAL = ("mask_token", "root_token", "separator")
LOADER = Path(__file__).resolve().parent / "templates" / "load_model.py.txt"
"""What whoever loads an export runs; it needs TransformerLens, of any line, and nothing of mechbp."""
OWN = Path(__file__).resolve().parent / "own_transformer.py"
"""The model class where TransformerLens has none."""


def export(run: Run, folder: Path) -> list[Path]:
    """Write model.safetensors, config.json, load_model.py and hooked_transformer.py of a run's last step, and return them.

    config.json says under "model" what HookedTransformerConfig takes, under "run" where the weights come from, and under
    "process" what the data were and which tokens are no symbols of it. Raises InputError where the model is no plain
    HookedTransformer, or the folder holds a file of these names.
    """
    if (folder / "run.toml").exists():
        raise InputError(f"export: {folder} is a run folder, whose files are its own. Give another folder.")
    model = run.model
    if type(model) is not HookedTransformer:
        raise InputError(
            f"export: {run.name} is a {type(model).__name__}, which TransformerLens alone cannot load.\n"
            "Share the run folder instead: mechbp.load reads it."
        )
    config = {
        "model": {name: getattr(model.cfg, name) for name in SETTINGS},
        "run": {"name": run.name, "step": run.steps[-1], "task": run.config.objective.task, "sha256": run.digest},
        "process": {"name": run.config.process.name, **run.config.process.provenance(), **_special_tokens(run)},
    }
    contents = {
        "model.safetensors": save({name: value.detach().contiguous() for name, value in model.named_parameters()}),
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "load_model.py": LOADER.read_bytes(),
        "hooked_transformer.py": OWN.read_bytes(),
    }
    if held := [name for name in contents if (folder / name).exists()]:
        raise InputError(f"export: {folder} holds {held[0]} already. Name a new folder.")
    make_folder(folder)
    for name, data in contents.items():
        atomic_write(folder / name, data)
    return [folder / name for name in contents]


def _special_tokens(run: Run) -> dict[str, int]:
    return {name: int(getattr(run.process, name)) for name in SPECIAL if hasattr(run.process, name)}

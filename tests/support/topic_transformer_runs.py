"""Tiny transformers on documents of topics, disjoint or in a ring, and the theory's own model."""

from pathlib import Path

from small_runs import toml

from mechbp.models.runs import Run, load
from mechbp.models.training import train

RING = {"n_topics": 3, "words_per_topic": 4, "shared": 2, "share": 0.3, "alpha": 0.3, "length_low": 16, "length_high": 16}
DISJOINT = {"n_topics": 3, "words_per_topic": 4, "alpha": 0.3, "length_low": 16, "length_high": 16}
SMALL = {"n_layers": 1, "n_heads": 1, "d_model": 16, "d_mlp": 0}
KINDS = {
    "ring": (RING, SMALL, "masked"),
    "disjoint": (DISJOINT, {**SMALL, "n_layers": 2, "n_heads": 2, "d_mlp": 32}, "masked"),
    "uneven": ({**DISJOINT, "length_low": 10}, SMALL, "masked"),
    "supports": ({**DISJOINT, "topics_per_document": 2}, SMALL, "masked"),
    "seen-noise": (DISJOINT, SMALL, "mask-a"),
    "brief": ({**DISJOINT, "length_low": 3}, SMALL, "masked"),
    "one-topic": ({**DISJOINT, "n_topics": 1}, SMALL, "masked"),
    "single-words": ({**DISJOINT, "words_per_topic": 1, "n_topics": 6}, SMALL, "masked"),
    "theory": (DISJOINT, {"kind": "topic-attention", "regime": "joint"}, "masked"),
}


def topic_run(root: Path, name: str, steps: int = 12) -> Run:
    """Train one of them for a few steps; for none, leave it a recipe."""
    process, model, task = KINDS[name]
    training = {"steps": max(steps, 2), "batch_size": 32, "learning_rate": 1e-2, "warmup_steps": 2}
    training |= {"stored_steps": 2, "measured_steps": 2}
    tables = {"process": {"kind": "topics", **process}, "model": model, "objective": {"task": task}, "training": training}
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(toml(tables))
    if steps:
        train(folder)
    return load(folder)

"""Tiny sorters with steps stored along training, measured at three settings; and trajectories made up for single parts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measured_runs import SORTER
from small_runs import toml

from analyses.sorting_development.trajectory import Trajectory
from mechbp.measuring.measure import measure
from mechbp.models.llc_config import LLCConfig
from mechbp.models.llc_records import LLCRecord
from mechbp.models.runs import Run, load
from mechbp.models.training import train

FEW = {"localization": 50.0, "chains": 2, "burn_in": 2, "draws": 6, "batch_size": 16, "n_batches": 2}
ENDS = [32, 120]
"""The first and the last stored step after 0, however many are stored between."""
SETTINGS = (
    {"name": "units", "n_beta": 30.0, "coordinates": "units", "sampler": "averaged noise", **FEW},
    {"name": "sharp", "n_beta": 90.0, "coordinates": "units", "sampler": "averaged noise", **FEW, "steps": ENDS},
    {"name": "absolute", "n_beta": 90.0, "sampler": "averaged noise", **FEW, "steps": ENDS},
)


def developing_run(root: Path, name: str, *, settings: int = 0, decays: bool = True, stored: int = 6, **model: Any) -> Run:
    """Train a sorter of three out of six values, and measure it at the first so many settings."""
    folder = root / name
    folder.mkdir(parents=True)
    training = {**SORTER["training"], "steps": 120, "stored_steps": stored, "l2": 0.0025 if decays else 0.0}
    tables = {**SORTER, "model": {**SORTER["model"], **model}, "training": training}
    llc = "".join(toml({"llc": setting}).replace("[llc]", "[[llc]]") for setting in SETTINGS[:settings])
    (folder / "run.toml").write_text(toml(tables) + llc)
    train(folder)
    if settings:
        measure(folder)
    return load(folder)


def record(step: int, per_chain: tuple[float, ...], loss: float, setting: str = "units") -> LLCRecord:
    """A measurement with these numbers."""
    rest: dict[str, Any] = {
        "digest": "", "step_size": 0.1, "burn_in": 1, "curvature": 1.0, "standard_error": 0.1, "early_draws": 4,
        "plain_estimate": 0.0, "variance_ratio": None, "effective_draws": (), "rhat": None, "acceptance": (),
        "negative_share": 0.0, "n_parameters": 1, "vectorised": True, "cautions": (), "torch": "", "seconds": 0.0,
    }  # fmt: skip
    estimate = sum(per_chain) / len(per_chain)
    config = LLCConfig(setting, 300.0, 100.0)
    return LLCRecord(
        setting=config, step=step, per_chain=per_chain, early_per_chain=per_chain, estimate=estimate, start_loss=loss, **rest
    )


def made_up(name: str, labels: dict[int, str], *records: LLCRecord) -> Trajectory:
    """A trajectory of steps with these labels and measurements."""
    snapshots = tuple(SimpleNamespace(step=step, modes=SimpleNamespace(label=label)) for step, label in labels.items())
    held: dict[str, dict[int, LLCRecord]] = {}
    for one in records:
        held.setdefault(one.setting.name, {})[one.step] = one
    run: Any = SimpleNamespace(name=name)
    return Trajectory(run, snapshots, held)  # type: ignore[arg-type]

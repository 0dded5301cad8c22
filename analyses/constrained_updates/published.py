"""Numbers that Piotrowski et al. 2025 print or plot, by setting (x, alpha). One model per setting, one seed."""

from __future__ import annotations

from mechbp.models.runs import Run

NAME = "Piotrowski et al. 2025"
ATTENTION_R2 = 0.95
"""Fig. 2C, x .15, alpha .6."""
VALUES_R2 = {"all": 0.997, "late": 0.999, "early": 0.997}
EMBEDDING_R2 = {"all": 0.042, "late": 0.803, "early": 0.652}
"""Fig. A2; late: positions after the second."""
MID_MSE = {(0.15, 0.2): 2.1e-4, (0.15, 0.6): 5.1e-4, (0.5, 0.2): 8.1e-5, (0.5, 0.6): 1.9e-4}
POST_MSE = {(0.15, 0.2): 1.0e-4, (0.15, 0.6): 8.5e-5, (0.5, 0.2): 9.9e-5, (0.5, 0.6): 2.5e-4}
"""Fig. A4; Mid against the row-normalised constrained belief, Post against the full one."""
MID_R2 = {(0.15, 0.2): 0.969, (0.15, 0.6): 0.979, (0.5, 0.2): 0.990, (0.5, 0.6): 0.989}
POST_R2 = {(0.15, 0.2): 0.992, (0.15, 0.6): 0.998, (0.5, 0.2): 0.991, (0.5, 0.6): 0.994}
"""Those over the variance of their targets."""
VARIANCE = {
    ("Mid", (0.15, 0.6)): (0.4648, 0.8894, 0.9859, 0.9903, 0.9929, 0.9942, 0.9955),
    ("Mid", (0.5, 0.6)): (0.4074, 0.8028, 0.8913, 0.9455, 0.9848, 0.9978, 0.9986),
    ("Final", (0.15, 0.6)): (0.4947, 0.7681, 0.9811, 0.9897, 0.9916, 0.9931, 0.9945),
    ("Final", (0.5, 0.6)): (0.4596, 0.7096, 0.8855, 0.9189, 0.9428, 0.9586, 0.9723),
}
"""Table 1: cumulative explained variance of the first seven components."""
FINAL_SHARE = {
    ("Mid", (0.15, 0.2)): 0.37, ("Mid", (0.15, 0.6)): 0.17, ("Mid", (0.5, 0.2)): 0.066, ("Mid", (0.5, 0.6)): 0.07,
    ("Post", (0.15, 0.2)): 0.08, ("Post", (0.15, 0.6)): 0.02, ("Post", (0.5, 0.2)): 0.044, ("Post", (0.5, 0.6)): 0.035,
}  # fmt: skip
"""Fig. A3: last MSE over that of random weights."""
HEAD_KL = {(0.5, 0.6): (0.0528, 0.0050), (0.5, 0.2): (0.0218, 0.0043)}
"""Fig. A7, one head and two heads; its unit cannot be nats per token, so only the order counts."""
OBSERVERS_MSE = {
    (0.15, 0.2): (2.6e-4, 7.1e-4), (0.15, 0.6): (7.2e-4, 1.5e-3), (0.5, 0.2): (9.6e-5, 3.0e-4), (0.5, 0.6): (3.6e-4, 2.7e-3),
}  # fmt: skip
"""Fig. A6, four layers: MSE at the first Mid against the constrained and the full belief."""


def setting_of(run: Run) -> tuple[float, float] | None:
    """Return (x, alpha) of a Mess3 run, None for other processes."""
    recipe = run.config.process
    return (recipe.x, recipe.alpha) if recipe.kind == "mess3" else None

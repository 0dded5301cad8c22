"""Which oracle a run is nearest to along training, and how far it is from its own."""

from __future__ import annotations

from mechbp.models.runs import Run
from mechbp.report.document import FigureData
from mechbp.theory.tree.oracle_table import OracleTable


def training_figures(run: Run, oracles: OracleTable | None) -> list[FigureData]:
    lines = [line for line in run.metrics if 0 < line["step"] <= run.steps[-1]]
    if not lines:
        reason = "the run was trained elsewhere" if run.given else "the run has no metrics.jsonl"
        name = f"fig-{run.name}-staircase"
        return [FigureData(name, "lines", f"{run.name}: training", "", "", status="skipped", reason=reason)]
    level = run.config.process.filter_level
    depth = run.process.depth
    sequences = [line["sequences"] for line in lines]
    series = [
        {
            "name": f"BP_{k}",
            "x": sequences,
            "y": [max(line[f"kl_model_to_bp{k}_nats"], 1e-4) for line in lines],
            "color": k,
        }
        for k in range(depth + 1)
    ]
    plateaus = []
    marked = ""
    if oracles is not None:
        ladder = oracles.kl_bp_data_to_bp_oracle_nats[:, level]
        plateaus = [{"name": f"BP_{k}", "y": float(ladder[k])} for k in range(depth + 1) if k != level and 1e-4 < ladder[k] < 2]
        marked = f" Marked: KL(BP_{level} || BP_k), where a model would stand that computes BP_k, from {oracles.n:,} sequences."
    return [
        FigureData(
            id=f"fig-{run.name}-staircase",
            kind="lines",
            title=f"{run.name}: which oracle is nearest, along training",
            caption="KL(model || BP_k) on 512 held-out sequences; less than 1e-4 is drawn at 1e-4. The lowest curve names "
            "the oracle most like the model.",
            alt=f"During training the nearest oracle changes in the order {arrows(order_along_training(run))}.",
            data={
                "x_title": "training sequences",
                "x_log": True,
                "y_title": "KL(model || BP_k) (nats)",
                "y_log": True,
                "series": series,
            },
        ),
        FigureData(
            id=f"fig-{run.name}-ladder",
            kind="lines",
            title=f"{run.name}: distance from the exact answer, along training",
            caption=f"KL(BP_{level} || model) on 512 held-out sequences.{marked}",
            alt="The model's divergence from BP in nats against training sequences, both axes logarithmic, and reference "
            "lines of mismatched oracles.",
            data={
                "x_title": "training sequences",
                "x_log": True,
                "y_title": f"KL(BP_{level} || model) (nats)",
                "y_log": True,
                "series": [
                    {
                        "name": "model",
                        "x": sequences,
                        "y": [line[f"kl_bp{level}_to_model_nats"] for line in lines],
                        "markers": True,
                    }
                ],
                "references": plateaus,
            },
        ),
    ]


def order_along_training(run: Run) -> list[int]:
    """The nearest oracles in the order in which training passes them, repeats dropped."""
    found: list[int] = []
    for line in run.metrics:
        level = min(range(run.process.depth + 1), key=lambda k: line[f"kl_model_to_bp{k}_nats"])
        if line["step"] and (not found or found[-1] != level):
            found.append(level)
    return found


def arrows(order: list[int]) -> str:
    return " → ".join(map(str, order)) or "not recorded"

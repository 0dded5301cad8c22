"""When training takes in each level of the hierarchy."""

from __future__ import annotations

from mechbp.models.runs import Run


def inclusions(run: Run) -> dict[int, float]:
    """Return {k: sequences seen when the model becomes nearer to BP_k than to BP_(k+1) for good}; absent if it never does."""
    lines, found = [line for line in run.metrics if line["step"]], {}
    for k in range(run.config.process.filter_level, run.process.depth):
        nearer = [line[f"kl_model_to_bp{k}_nats"] < line[f"kl_model_to_bp{k + 1}_nats"] for line in lines]
        if nearer and nearer[-1]:
            found[k] = lines[len(nearer) - nearer[::-1].index(False) if False in nearer else 0]["sequences"]
    return found

"""Does the theory describe what is best, or what training on tokens finds? Runs of one shape, brought nearer to the optimum.

Exact answers have the expected gradient of sampled tokens and none of their noise, so that a run trained on them comes closer to
the exact observer. What the theory derives from the process alone should be there as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from analyses.constrained_updates.attention import Attention
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.heads import HeadPair
from analyses.constrained_updates.substitutions import BOTH, UNIFORM, SubstitutionCosts
from analyses.shared.prefix_corpus import trained_on_exact
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.theory.chain.exact_loss import ExactLoss


def token_twin(run: Run, others: Sequence[Run]) -> Run | None:
    """Return a run with the same process and architecture that was trained on tokens; None where there is none."""
    wanted = (run.config.process, run.config.model)
    same = [other for other in others if (other.config.process, other.config.model) == wanted and not trained_on_exact(other)]
    return same[0] if same else None


def optimum_claim(
    found: Attention, cost: SubstitutionCosts, twin: tuple[Attention, SubstitutionCosts] | None, exact: dict[str, ExactLoss]
) -> Claim:
    """Return whether the theory describes a run trained on exact answers, beside its twin on tokens, where it is nearer."""
    name = found.group.name
    nearer = twin is not None and exact[name].mean_nats < exact[twin[0].group.name].mean_nats
    bounds = CRITERIA["optimum"].bounds
    control = "no run of this shape was trained on tokens" if twin is None else _line(twin[0].group.name, *twin, exact)
    numbers = {
        "heads": found.settings[0].n_heads,
        "attention_r2": found.r2("decay")[0],
        "least_parity": _least_parity(found),
        "missed_both": cost.missed[BOTH],
        "missed_uniform": cost.missed[UNIFORM],
    }
    return CRITERIA.claim(
        "optimum",
        id=f"{name}-optimum",
        statement=f"The theory describes {name} as well, which was trained on exact answers and misses less than its twin "
        f"trained on tokens: attention is as predicted (R² at least {bounds['least']} for one head, {bounds['parity']:.0%} on "
        "their own parity for two), and predicted attention and lengths can stand in for the model's own (at most "
        f"{bounds['worth']:.0%} missed).",
        reference="the paper derives attention from the process; its models were trained on tokens",
        measured=_line(name, found, cost, exact),
        control=f"the twin trained on tokens: {control}; uniform pattern: {cost.missed[UNIFORM]:.1%} missed",
        numbers=numbers if nearer else None,
        figure="fig-worth",
    )


def _least_parity(found: Attention) -> float | None:
    """Return the lesser share of a head's off-diagonal attention on its own parity; None for one head."""
    setting = found.settings[0]
    return min(HeadPair.of(setting).parity) if setting.n_heads > 1 else None


def _line(name: str, found: Attention, cost: SubstitutionCosts, exact: dict[str, ExactLoss]) -> str:
    parity = _least_parity(found)
    law = f"attention R² {found.r2('decay')[0]:.3f}"
    if parity is not None:
        law += f", least share on a head's own parity {parity:.3f}"
    return (
        f"{name}: {exact[name].mean_nats:.2e} nats missed ({exact[name].relative:.2%} of all), {law}, "
        f"{cost.missed[BOTH]:.1%} missed with predicted attention and values"
    )

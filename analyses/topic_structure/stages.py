"""Joint training from near zero: values move first, then attention; when, how surely, and what breaks the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.topic_structure.criteria import CRITERIA
from analyses.topic_structure.setting import (
    CE_STEPS,
    LONG_SEEDS,
    LONG_STEPS,
    QUICK_CE_STEPS,
    QUICK_LONG_SEEDS,
    QUICK_SEEDS,
    QUICK_STEPS,
    SEEDS,
    SIGMAS,
    SMALLER,
    STEPS,
    THEORY,
    joint_runs,
)
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.attention import best_attention
from mechbp.theory.topics.bounds import population_bound
from mechbp.theory.topics.dynamics import Trajectories, train_population
from mechbp.theory.topics.population_run import PopulationRun
from mechbp.theory.topics.setting import TopicSetting
from mechbp.theory.topics.values import setting_values

POWERS = (1e-5, 1e-4, 1e-3)
DESCENT_RATE = 30.0
DESCENT_STEPS, QUICK_DESCENT_STEPS = 1500, 150
DESCENT_SEEDS = 2
EARLY_STEP = 150
"""Where the long runs are read a first time: both stages are over, the own word has not grown yet."""


@dataclass(frozen=True, eq=False)
class Stages:
    """Population runs of one page: joint ones by (loss, sigma), long ones, and by plain descent."""

    joint: dict[tuple[str, float], Trajectories]
    long: Trajectories
    descent: Trajectories
    slopes: np.ndarray
    """Of log(gradient of keys / gradient of values) against log(sigma) at step 0, per seed."""


def study_stages(study: Study) -> tuple[list[Claim], Section]:
    """Train values, queries and keys on the population and time both stages."""
    study.stage("two stages")
    found = measure(study)
    text = (
        "Loss and gradients here are those of the population: infinite documents, every set of two topics, so a curve has no "
        "noise but that of its start. Values count as moved at the first step whose contrast is half of the optimum, "
        "attention at the first step whose ratio of same to different topics reaches the square root of its optimum. Norms "
        "would not do: late growth of attention to the own word moves the final norm.",
        f"Squared loss: ten topics of ten words. Cross-entropy: {SMALLER.n_topics} topics of {SMALLER.words_per_topic} words.",
    )
    claims = [_stages_claim(found), _power_claim(found), _descent_claim(study, found), _own_word_claim(found)]
    figures = (_curves_figure(found), _norms_figure(found), _gaps_figure(found))
    return claims, Section("stages", "Two stages", text, figures)


def measure(study: Study) -> Stages:
    """Run everything that the section shows."""
    seeds = study.size(SEEDS, QUICK_SEEDS)
    steps = {"squared": study.size(STEPS, QUICK_STEPS), "ce": study.size(CE_STEPS, QUICK_CE_STEPS)}
    joint = {(loss, sigma): joint_runs(loss, sigma, seeds, steps[loss]) for loss in ("squared", "ce") for sigma in SIGMAS}
    long = joint_runs("squared", SIGMAS[0], study.size(LONG_SEEDS, QUICK_LONG_SEEDS), study.size(LONG_STEPS, QUICK_STEPS))
    runs = [PopulationRun(THEORY, "joint", DESCENT_RATE, "sgd", seed=seed) for seed in range(study.size(DESCENT_SEEDS, 1))]
    descent = train_population(runs, study.size(DESCENT_STEPS, QUICK_DESCENT_STEPS), precision="float32")
    return Stages(joint, long, descent, _slopes(seeds))


def _slopes(seeds: int) -> np.ndarray:
    ratios = []
    for sigma in POWERS:
        runs = [PopulationRun(THEORY, "joint", 1.0, sigma=sigma, seed=seed) for seed in range(seeds)]
        start = train_population(runs, 0).gradient_norms
        ratios.append(np.log(start["key"][:, 0] / start["value"][:, 0]))
    return np.polyfit(np.log(POWERS), np.array(ratios), 1)[0]


def _label(loss: str, sigma: float) -> str:
    return f"{'squared loss' if loss == 'squared' else 'cross-entropy'}, sigma {sigma:g}"


def _stages_claim(found: Stages) -> Claim:
    lines = []
    shares = []
    for (loss, sigma), runs in found.joint.items():
        later = np.isfinite(runs.attention_step) & (runs.stage_gap > 0)  # attention that never moved proves no order
        shares.append(float(later.mean()))
        values = f"{np.median(runs.value_step):g}"
        attention = f"{np.median(runs.attention_step):g}"
        lines.append(f"{_label(loss, sigma)}: {int(later.sum())} of {len(later)} seeds; median steps {values} and {attention}")
    return CRITERIA.claim(
        "stages",
        id="topics-stages",
        statement="From near-zero weights values move first and attention later, over seeds, starts and losses.",
        reference="two stages of training (published); steps 20 and 94 to 100 for squared loss (computed before)",
        measured="\n".join(lines),
        control="weights alone do not order the stages: with one rate of plain descent attention does not move, below",
        numbers={"share": shares},
        figure="fig-topics-stages",
    )


def _power_claim(found: Stages) -> Claim:
    return CRITERIA.claim(
        "power-law",
        id="topics-power-law",
        statement="At step 0 the gradient of keys is smaller than that of values by the square of the spread of the start.",
        reference="slope 2 (theory), sigma from 1e-5 to 1e-3",
        measured=f"slope {estimate(seed_mean(found.slopes), 3)}\n{len(found.slopes)} seeds",
        control="at weights of exactly 0 the gradient of keys and queries is 0, that of values is not",
        numbers={"slope": found.slopes.tolist()},
    )


def _descent_claim(study: Study, found: Stages) -> Claim:
    moved = np.isfinite(found.descent.attention_step)
    ratio = found.descent.same_over_different[:, -1]
    return CRITERIA.claim(
        "plain-descent",
        id="topics-plain-descent",
        statement="Plain gradient descent at one rate for all weights goes through both stages as Adam does.",
        reference="said to hold for gradient descent (published); its rates are not known",
        measured=f"rate {DESCENT_RATE:g}, {found.descent.steps[-1]:,} steps: values moved at step "
        f"{np.median(found.descent.value_step):g}, ratio of attention at the end {', '.join(f'{r:.3f}' for r in ratio)}",
        control=f"Adam at {_label('squared', SIGMAS[0])}: attention moved in every seed, step "
        f"{np.median(found.joint['squared', SIGMAS[0]].attention_step):g}",
        numbers={"attention_moved": moved.tolist(), "values_moved": np.isfinite(found.descent.value_step).tolist()},
    )


def _own_word_claim(found: Stages) -> Claim:
    blocks = _block_loss(THEORY)
    bound = population_bound(THEORY).squared
    loss, own = found.long.loss[:, -1], found.long.self_over_same[:, -1]
    early = min(int(np.searchsorted(found.long.steps, EARLY_STEP)), len(found.long.steps) - 1)  # a quick look ends before it
    return CRITERIA.claim(
        "own-word",
        id="topics-own-word",
        statement="Joint training goes on below what blocks of topics allow: attention to the query's own word grows, and "
        "values leave their blocks.",
        reference=f"least loss with values of blocks {blocks:.6f}; of any predictor {bound:.6f} (theory)",
        measured=f"step {found.long.steps[-1]:,}: loss {estimate(seed_mean(loss), 4)}, own word over others of its topic "
        f"{estimate(seed_mean(own), 2)}\n{len(loss)} seeds",
        control=f"step {found.long.steps[early]}: loss {found.long.loss[:, early].mean():.4f}, own word "
        f"{found.long.self_over_same[:, early].mean():.2f}",
        numbers={"loss": loss.tolist(), "self_over_same": own.tolist(), "block_loss": blocks, "bound": bound},
        figure="fig-topics-stages",
    )


def _block_loss(setting: TopicSetting) -> float:
    """Least loss with values of theory's blocks, attention by topic and MASK free, MASK queries included."""
    return best_attention(setting, setting_values(setting), mask_free=True).loss + population_bound(setting).masked_squared


def _curves_figure(found: Stages) -> FigureData:
    long = found.long
    optimum = best_attention(THEORY, setting_values(THEORY)).ratio
    curves = {
        "contrast of values / optimum": long.contrast / setting_values(THEORY).contrast,
        "attention same / different, share of its optimum (log)": np.log(long.same_over_different) / np.log(optimum),
        "own word / others of its topic (log10)": np.log10(long.self_over_same),
    }
    series = []
    for index, (name, values) in enumerate(curves.items()):
        interval = seed_mean(values)
        ends = {"low": interval.low, "high": interval.high} if len(values) > 1 else {}
        series.append(
            {"name": name, "x": long.steps[1:], "y": interval.mean[1:], "color": index} | {k: v[1:] for k, v in ends.items()}
        )
    return FigureData(
        id="fig-topics-stages",
        kind="lines",
        title="Values, attention and the own word along training",
        caption=f"Joint training on the population, squared loss, Adam 3e-3, sigma {SIGMAS[0]:g}; mean over {len(long.loss)} "
        "seeds with 95 % t intervals. 1 is the optimum of each stage given the one before it.",
        alt="Three curves against training steps on a logarithmic axis: contrast of values over its optimum, log ratio of "
        "attention over its optimum, and log ratio of attention to the own word.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "progress",
            "series": series,
            "references": [{"name": "optimum", "y": 1.0}],
        },
    )


def _norms_figure(found: Stages) -> FigureData:
    long = found.long
    frames = []
    for title, norms in (("weights", long.norms), ("gradients", long.gradient_norms)):
        series = [
            {"name": name, "x": long.steps[1:], "y": np.maximum(norms[name].mean(axis=0)[1:], 1e-12), "color": index}
            for index, name in enumerate(("value", "key", "query"))
        ]
        frames.append({"name": title, "series": series})
    return FigureData(
        id="fig-topics-norms",
        kind="lines",
        title="Norms of weights and of their gradients",
        caption=f"Frobenius norms along the same runs, mean over {len(long.loss)} seeds.",
        alt="Frobenius norms of values, keys and queries against training steps, both axes logarithmic; a slider changes from "
        "weights to gradients.",
        data={
            "x_title": "training steps",
            "x_log": True,
            "y_title": "Frobenius norm",
            "y_log": True,
            "frames": frames,
            "frame_title": "norms of",
        },
    )


def _gaps_figure(found: Stages) -> FigureData:
    labels = [_label(loss, sigma) for loss, sigma in found.joint]
    series = []
    for index, (name, part) in enumerate((("values moved", "value_step"), ("attention moved", "attention_step"))):
        steps = [np.where(np.isfinite(getattr(runs, part)), getattr(runs, part), np.nan) for runs in found.joint.values()]
        series.append(
            {
                "name": name,
                "x": [float(np.nanmedian(s)) if np.isfinite(s).any() else None for s in steps],
                "low": [float(np.nanmin(s)) if np.isfinite(s).any() else None for s in steps],
                "high": [float(np.nanmax(s)) if np.isfinite(s).any() else None for s in steps],
                "color": index,
            }
        )
    return FigureData(
        id="fig-topics-stage-steps",
        kind="dots",
        title="When each stage is reached",
        caption=f"Median step over {len(next(iter(found.joint.values())).loss)} seeds, bars from the earliest to the latest "
        "seed.",
        alt="Steps at which values and attention count as moved, one row per loss and spread of the start; bars span all seeds.",
        data={"x_title": "training steps", "x_log": True, "categories": labels, "series": series},
    )

"""Does training on exact answers pass the theory and leave it again, and does training on sampled tokens stay there?"""

from __future__ import annotations

import numpy as np

from analyses.chain_training.courses import Courses, Family
from analyses.chain_training.criteria import CRITERIA
from mechbp.methods.statistics.intervals import Interval, seed_mean
from mechbp.methods.statistics.turning_point import Turn, turn
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed

LAW = "law_missed"
PREDICTED = "missed_predicted"
MEAN = "missed_mean"
SHOWN = {
    LAW: ("1 - R² of the law", "solid"),
    PREDICTED: ("missed with predicted edits", "dash"),
    MEAN: ("missed with the mean pattern", "longdash"),
    "constrained_missed": ("1 - R² of the constrained belief", "dashdot"),
    "missed": ("missed as it is", "dot"),
}


def turning_section(found: list[Family]) -> Section:
    """Return the section with one figure per setting."""
    text = (
        "Exact answers have the expected gradient of sampled tokens and none of their noise. If the constrained update is the "
        "best that one block can do, training on them ends at it; if it is a stage on the way, a run comes near the theory and "
        "leaves it again while it still gets better.",
        "Four distances from the theory are followed, and the distance from the exact answer beside them. The step at which a "
        "seed is nearest is chosen on the other seeds, for the least of a noisy curve lies below its end by construction.",
    )
    return Section("turning", "Is the constrained update where training ends?", text, tuple(map(_course, found)))


def _course(found: Family) -> FigureData:
    series = []
    counted = [f"{item.group.training}: {len(item.seeds)}" for item in (item.shown for item in found.every)]
    for color, item in enumerate(item.shown for item in found.every):
        drawn = SHOWN if found.exact is not None and color == 0 else {LAW: SHOWN[LAW]}
        for name, (shown, dash) in drawn.items():
            means = seed_mean(item.log(name))
            ends = {"low": 10.0**means.low, "high": 10.0**means.high} if len(item.seeds) > 1 else {}
            bounded = {key: np.clip(values, 1e-6, 1e4) for key, values in {"y": 10.0**means.mean, **ends}.items()}
            said = f"{shown}, {item.group.training}, {item.group.runs[0].config.training.steps:,} steps"
            line = {"name": said, "x": item.steps, "color": color, "dash": dash, "markers": True}
            series.append(line | (bounded if name == LAW else {"y": bounded["y"]}))
    return FigureData(
        id=f"fig-{found.name}-course",
        kind="lines",
        title=f"{found.title}: distance from the theory and from the exact answer along training",
        caption="The law of attention under every kind of training, all five distances on exact answers. Geometric mean over "
        f"seeds ({listed(counted)}); bands: Student's t interval over seeds, of the law alone. Shares are of KL(exact || "
        "uniform).",
        alt="What is missed against the training step, both axes logarithmic: the law of attention by kind of training, and on "
        "exact answers predicted edits, the mean pattern, the constrained belief and the exact answer too.",
        data={"x_title": "training step", "y_title": "missed", "x_log": True, "y_log": True, "series": series},
    )


def turning_claims(found: Family) -> list[Claim]:
    """Return whether runs on exact answers leave the theory, more than runs on tokens do, and come to depend on tokens."""
    if found.exact is None:
        return []
    item = found.exact
    name = item.group.name
    turns = _turns(item)
    claims = [
        _turn_claim(name, found, turns),
        _approach_claim(name, item),
        _content_claim(name, item, turns),
    ]
    return [*claims, _held_claim(name, found, turns)] if found.paired else claims


def _turns(item: Courses) -> dict[str, Turn]:
    """By what is missed; none of a single seed, on which no step can be chosen."""
    if len(item.seeds) < 2 or len(item.steps) < 2:
        return {}
    return {name: turn(item.log(name)) for name in (LAW, PREDICTED, MEAN)}


def _turn_claim(name: str, found: Family, turns: dict[str, Turn]) -> Claim:
    item = found.exact
    assert item is not None
    numbers = None
    if turns:
        numbers = {
            "law_rise": turns[LAW].rise, "law_rise_low": turns[LAW].mean.low,
            "predicted_rise": turns[PREDICTED].rise, "predicted_rise_low": turns[PREDICTED].mean.low,
        }  # fmt: skip
    ends = ", ".join(f"{value:.3f}" for value in 1 - item.curve(LAW)[:, -1])
    return CRITERIA.claim(
        "turn",
        id=f"{name}-turn",
        statement=f"{name} passes the constrained update and leaves it: at the end of training on exact answers the law of "
        "attention and the predicted edits miss more than at an earlier step, while the model itself misses less.",
        reference="the paper derives attention from the process; its models were trained on tokens",
        measured=f"{_rises(item, turns)}\nR² of the law at the end: {ends}\nmissed as it is at the end: "
        + ", ".join(f"{value:.2%}" for value in item.curve("missed")[:, -1]),
        control="on sampled tokens, R² of the law at the end: "
        + ("; ".join(f"{arm.group.training} {_listed(1 - arm.curve(LAW)[:, -1])}" for arm in found.sampled) or "no run"),
        numbers=numbers,
        figure=f"fig-{found.name}-course",
    )


def _approach_claim(name: str, item: Courses) -> Claim:
    """The opposite of a turn, from the middle of the stored steps on: what is found where no run turns."""
    numbers = None
    shown = f"{len(item.seeds)} seed or one stored step: no interval"
    if len(item.seeds) > 1 and len(item.steps) > 1:
        law = item.log(LAW)
        middle = len(item.steps) // 2
        fall = law[:, middle] - law[:, -1]
        numbers = {"fall": fall, "fall_low": seed_mean(fall).low}
        shown = f"1 - R² falls by {_decades(seed_mean(fall))} from step {item.steps[middle]:,} on, {len(fall)} seeds"
    return CRITERIA.claim(
        "approach",
        id=f"{name}-approach",
        statement=f"On exact answers attention of {name} comes nearer to the law to the end of training, from the middle of its "
        "stored steps on.",
        reference="none",
        measured=shown,
        control="a turn, which would be a rise",
        numbers=numbers,
        figure=f"fig-{item.group.name}-course",
    )


def _held_claim(name: str, found: Family, turns: dict[str, Turn]) -> Claim:
    pairs = _paired(found, turns)
    return CRITERIA.claim(
        "held",
        id=f"{name}-held",
        statement=f"Runs on sampled tokens turn away from the theory less than {name} does, seed by seed.",
        reference="none",
        measured="\n".join(
            f"{training}: law {_decades(seed_mean(law))}, predicted edits {_decades(seed_mean(predicted))}, {len(law)} seeds"
            for training, law, predicted in pairs
        )
        or "0 kinds of training share 2 seeds or more",
        control="what is compared is the control: rises on exact answers less those on tokens",
        numbers={
            "law_less_low": [float(seed_mean(law).low) for _, law, _ in pairs],
            "predicted_less_low": [float(seed_mean(predicted).low) for _, _, predicted in pairs],
        }
        if pairs
        else None,
        figure=f"fig-{found.name}-course",
    )


def _paired(found: Family, turns: dict[str, Turn]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Rises on exact answers less those on tokens, by kind of training, over the seeds that both have."""
    pairs = []
    for arm in found.sampled:
        theirs = _turns(arm)
        item = found.exact
        assert item is not None
        common = [seed for seed in item.seeds if seed in arm.seeds]
        if turns and theirs and len(common) > 1:
            less = [
                np.array([item.of_seed(turns[key].rise, seed) - arm.of_seed(theirs[key].rise, seed) for seed in common])
                for key in (LAW, PREDICTED)
            ]
            pairs.append((arm.group.training, *less))
    return pairs


def _content_claim(name: str, item: Courses, turns: dict[str, Turn]) -> Claim:
    return CRITERIA.claim(
        "content",
        id=f"{name}-content",
        statement=f"On its way to the optimum attention of {name} comes to depend on tokens: one mean pattern for all words "
        "costs more at the end than at an earlier step.",
        reference="none: the theory's attention is the same for all words",
        measured=f"mean pattern: rise {_decades(turns[MEAN].mean) if turns else 'unknown'}\nmissed at the end with it: "
        + ", ".join(f"{value:.2%}" for value in item.curve(MEAN)[:, -1]),
        control="missed as it is: " + ", ".join(f"{value:.2%}" for value in item.curve("missed")[:, -1])
        + "; with uniform attention: " + ", ".join(f"{value:.1%}" for value in item.curve("missed_uniform")[:, -1]),
        numbers={"mean_rise": turns[MEAN].rise, "mean_rise_low": turns[MEAN].mean.low} if turns else None,
        figure=f"fig-{item.group.name}-course",
    )  # fmt: skip


def _rises(item: Courses, turns: dict[str, Turn]) -> str:
    if not turns:
        return f"{len(item.seeds)} seed: no step can be chosen on others"
    lines = []
    for name, said in ((LAW, "law of attention"), (PREDICTED, "predicted edits")):
        steps = ", ".join(f"{item.steps[i]:,}" for i in turns[name].step)
        lines.append(f"{said}: rise {_decades(turns[name].mean)}, {len(item.seeds)} seeds, from steps {steps}")
    return "\n".join(lines)


def _decades(interval: Interval) -> str:
    return f"{estimate(interval, 2)} decades"


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)

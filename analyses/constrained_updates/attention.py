"""Does attention fall off as the process forgets? The measured pattern beside the predicted one and its softmax look-alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.history import History
from analyses.constrained_updates.seeds import counted, lower, seeds
from analyses.constrained_updates.settings import Setting
from analyses.shared.seed_groups import Group
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import DECIMALS, estimate
from mechbp.study import Study
from mechbp.theory.chain.constrained_attention import (
    PatternFit,
    decay_prediction,
    lags_of_heads,
    own_decay,
    parity_mass,
    pattern_fit,
    softmax_warp,
)
from mechbp.theory.chain.first_block import mean_pattern_over


@dataclass(frozen=True, eq=False)
class Attention:
    """Fits of every head of every seed of one group."""

    group: Group
    settings: list[Setting]
    decay: list[list[PatternFit]]
    """[seed][head]: Eq. 13 or 19."""
    warp: list[list[PatternFit]]
    untrained: list[PatternFit]
    """Eq. 13 or 19 on the pattern of random weights, per head."""
    along_training: list[tuple[int, float, float]]
    """Step, R² of the law and least share of a head's own parity, along the first seed's training."""

    @property
    def heads(self) -> list[str]:
        """Names, of the first seed's heads."""
        lags = self.settings[0].lags
        return [f"head {i + 1} ({reach.name})" if len(lags) > 1 else "the head" for i, reach in enumerate(lags)]

    @property
    def untrained_r2(self) -> float:
        """Mean over heads, for random weights."""
        return float(np.mean([fit.r2 for fit in self.untrained]))

    @property
    def decay_by_head(self) -> np.ndarray:
        """Fall of attention from one own lag to the next, [seed, head], odd lags before even ones."""
        ordered = [sorted(zip(s.lags, s.pattern.mean, strict=True), key=lambda pair: pair[0].first) for s in self.settings]
        return np.array([[own_decay(pattern, reach) for reach, pattern in heads] for heads in ordered])

    def r2(self, which: str) -> np.ndarray:
        """Mean over heads per seed, of "decay" or "warp"."""
        return np.array([np.mean([fit.r2 for fit in fits]) for fits in getattr(self, which)])


def attention(study: Study, group: Group, settings: list[Setting], history: History | None) -> Attention:
    """Fit the decay law and the softmax warp to every seed; the law also to random weights and, by `history`, to stored steps."""
    decayed = []
    warped = []
    for setting in settings:
        heads = list(zip(setting.pattern.mean, setting.lags, strict=True))
        decayed.append([pattern_fit(p, decay_prediction(p, setting.zeta, reach), reach) for p, reach in heads])
        warped.append([pattern_fit(p, softmax_warp(len(p), setting.zeta, reach), reach) for p, reach in heads])
    first = settings[0]
    random = mean_pattern_over(first.run.untrained(1), first.corpus.words).mean
    untrained = [
        pattern_fit(p, decay_prediction(p, first.zeta, reach), reach) for p, reach in zip(random, first.lags, strict=True)
    ]
    steps = [step for step in first.run.steps if step] if history is not None else []
    along_training = []
    for step in steps[-2:] if study.quick else steps:
        assert history is not None
        pattern = history.at(step).pattern.mean
        heads = list(zip(pattern, lags_of_heads(pattern, first.zeta), strict=True))
        laws = [pattern_fit(p, decay_prediction(p, first.zeta, reach), reach).r2 for p, reach in heads]
        along_training.append((step, float(np.mean(laws)), min(parity_mass(p, reach.first % 2) for p, reach in heads)))
    return Attention(group, settings, decayed, warped, untrained, along_training)


def attention_section(found: list[Attention]) -> Section:
    """Return the section with its figures."""
    text = (
        "If attention carries out the constrained belief update, a head with the process's eigenvalue ζ > 0 must look back as "
        "`A[s + 1 + m, s] = ζ^m A[s + 1, s]`: every column falls by ζ per step. With ζ < 0 one head cannot do it, for "
        "attention is positive; two heads share the lags, one even and one odd, and fall by ζ² in steps of two. The diagonal "
        "is free.",
        "A softmax of scores that fall linearly with the lag gives `ζ^lag / Z_d` instead. It breaks the law by its normaliser "
        "and still resembles it, so it stands beside it. First entries of the columns are taken from the measurement and not "
        "scored.",
    )
    figures = (*map(_maps, found), _lags(found), _scores(found), _along_training(found))
    return Section("attention", "Attention decays as the process forgets", text, figures)


def _maps(found: Attention) -> FigureData:
    setting = found.settings[0]
    labels = [str(place + 1) for place in range(setting.corpus.length)]
    panels = []
    for head, measured, reach in zip(found.heads, setting.pattern.mean, setting.lags, strict=True):
        views = {
            "measured": measured,
            "predicted from first entries": decay_prediction(measured, setting.zeta, reach),
            "softmax warp": softmax_warp(len(measured), setting.zeta, reach),
        }
        panels += [{"title": f"{head}: {name}", "values": np.round(values, DECIMALS)} for name, values in views.items()]
    return FigureData(
        id=f"fig-{found.group.name}-attention",
        kind="heatmap",
        title=f"{found.group.title}: attention, measured and predicted",
        caption=f"`{found.group.name}`, mean over all {setting.pattern.n:,} words of {setting.corpus.length} tokens; its "
        f"standard deviation over words is at most {setting.pattern.spread.max():.3f}. Predictions leave the diagonal open.",
        alt="Heatmaps of attention, destination by source: measured, predicted from first entries and softmax warp, per head.",
        data={
            "rows": labels, "columns": labels, "row_title": "destination", "column_title": "source", "value_title": "attention",
            "range": [0, 1], "panel_columns": 3, "panels": panels,
        },
    )  # fmt: skip


def _lags(found: list[Attention]) -> FigureData:
    """The last row against the lag, as in Figs. 2C and 3B."""
    series = []
    for color, item in enumerate(found):
        setting = item.settings[0]
        last = setting.corpus.length - 1
        for head, measured, reach in zip(item.heads, setting.pattern.mean, setting.lags, strict=True):
            lags = np.arange(1, last + 1)
            used = lags[reach.at(last + 1)[last][last - lags]]
            name = f"{item.group.name}" + (f", {head}" if len(setting.lags) > 1 else "")
            row = measured[last, last - used]
            law = np.abs(setting.zeta) ** (used - used[0])
            series.append({"name": name, "x": used, "y": row, "markers": True, "color": color})
            series.append({"name": f"{name}: |ζ|^lag", "x": used, "y": row[0] * law, "dash": "dot", "color": color})
    return FigureData(
        id="fig-attention-lags",
        kind="lines",
        title="Attention of the last position against the lag",
        caption="Dotted: the law, through the first point. Heads that share the lags are shown at theirs.",
        alt="Attention of the last position against the lag, on a logarithmic axis, with the law of every head dotted.",
        data={"x_title": "lag", "y_title": "attention", "y_log": True, "series": series},
    )


def _scores(found: list[Attention]) -> FigureData:
    laws, warps = ([seed_mean(item.r2(which)) for item in found] for which in ("decay", "warp"))
    correlations = [
        seed_mean(np.array([np.mean([fit.squared_correlation for fit in fits]) for fits in item.decay])) for item in found
    ]
    return FigureData(
        id="fig-attention-r2",
        kind="dots",
        title="How well the law describes attention",
        caption="R² over off-diagonal entries that are not taken from the measurement, mean over heads. Intervals: Student's "
        "t over training seeds where there are several. Values below -0.5 are cut off in the picture. Random weights: the same "
        "law on the pattern of a network that was not trained.",
        alt="R² by setting: decay law, its squared correlation, softmax warp and random weights, beside the published value.",
        data={
            "x_title": "R²", "x_range": [-0.5, 1.02], "categories": [item.group.title for item in found],
            "series": [
                {"name": "decay law", **points(laws, "x")},
                {"name": "decay law, squared correlation", **points(correlations, "x")},
                {"name": "softmax warp", **points(warps, "x")},
                {"name": "random weights", "x": [item.untrained_r2 for item in found], "control": True},
            ],
            "references": [{"name": f"{published.NAME}, x 0.15, alpha 0.6", "x": published.ATTENTION_R2}],
        },
    )  # fmt: skip


def _along_training(found: list[Attention]) -> FigureData:
    series = []
    for color, item in enumerate(found):
        if not item.along_training:
            continue
        steps, laws, parity = zip(*item.along_training, strict=True)
        series.append({"name": item.group.title, "x": steps, "y": np.maximum(laws, -1), "markers": True, "color": color})
        if item.settings[0].n_heads > 1:
            series.append({"name": f"{item.group.title}: parity", "x": steps, "y": parity, "dash": "dot", "color": color})
    place = ("fig-attention-course", "lines", "The law of attention along training")
    if not series:
        return FigureData(*place, "", "", status="skipped", reason="no run has a stored step after step 0")
    return FigureData(
        *place,
        caption="R² of the decay law at stored steps, mean over heads, first seed; values below -1 are raised to it. Dotted: the "
        "lesser share of a head's off-diagonal attention on its own parity. Steps of different runs see different numbers of "
        "sequences.",
        alt="R² of the decay law against the training step, on a logarithmic axis, one line per setting; parity shares dotted.",
        data={"x_title": "training step", "y_title": "R², or share", "x_log": True, "series": series},
    )


def attention_claim(found: Attention) -> Claim:
    """Return whether the law describes the attention of every seed."""
    name = found.group.name
    values = found.r2("decay")
    warp = found.r2("warp")
    spread = max(float(s.pattern.spread.max()) for s in found.settings)
    per_head = [
        f"{head}: R² {fit.r2:.3f}, squared correlation {fit.squared_correlation:.3f}, {fit.n} entries"
        for head, fit in zip(found.heads, found.decay[0], strict=True)
    ]
    return CRITERIA.claim(
        "attention",
        id=f"{found.group.claims}-attention",
        statement=f"In {name} attention falls off by the law of the constrained update, R² at least "
        f"{CRITERIA['attention'].bounds['least']}, and by it rather than by the softmax warp.",
        reference=f"{published.NAME}: R² {published.ATTENTION_R2} (Fig. 2C)"
        if published.setting_of(found.group.runs[0]) == (0.15, 0.6)
        else f"{published.NAME} print none for this setting",
        measured="\n".join(per_head) + f"\n{seeds(values)}\nlaw less warp: {_paired(values - warp)}",
        control=f"softmax warp: {seeds(warp)}\nrandom weights: R² {found.untrained_r2:.2f}\n"
        f"largest spread over words {spread:.3f}",
        numbers={"r2": values, "law_less_warp_low": lower(values - warp)},
        figure="fig-attention-r2",
    )


def _paired(differences: np.ndarray) -> str:
    if len(differences) == 1:
        return f"{differences[0]:+.3f} (one seed)"
    return f"{estimate(seed_mean(differences))} ({counted(len(differences))})"


def decay_claim(found: Attention) -> Claim:
    """Return whether each of two heads falls by zeta squared from one own lag to the next, rather than faster or more slowly."""
    zeta = found.settings[0].zeta
    means = seed_mean(found.decay_by_head)
    several = len(found.settings) > 1
    ends = (means.low, means.high) if several else (means.mean, means.mean)
    shown = "\n".join(
        f"{name} lags: {estimate(means[i]) if several else f'{means.mean[i]:.3f}'}"
        + f" (by seed {', '.join(f'{value:.3f}' for value in found.decay_by_head[:, i])})"
        for i, name in enumerate(("odd", "even"))
    )
    return CRITERIA.claim(
        "own-decay",
        id=f"{found.group.claims}-own-decay",
        statement=f"From one own lag to the next each head of {found.group.name} falls by about ζ² = {zeta**2:.2f}: "
        f"nearer to it, on a logarithmic scale, than to |ζ| = {abs(zeta):.2f} or to ζ⁴ = {zeta**4:.3f}.",
        reference=f"{published.NAME}: last row of even lags .24, .05, of odd lags .745, .19, .035 (Fig. 3B): falls of "
        ".21, .26 and .18",
        measured=f"{shown}\n{counted(len(found.settings))}, sums over columns and lags",
        control=f"halfway to the rivals: {abs(zeta) ** 1.5:.3f} and {abs(zeta) ** 3:.3f}",
        numbers={
            "low": ends[0],
            "high": ends[1],
            "slow": abs(zeta) ** 1.5,
            "fast": abs(zeta) ** 3,
        },
        figure="fig-attention-lags",
    )


def looks_at_parity(setting: Setting) -> list[float]:
    """Return the share of every head's off-diagonal attention on the lags that are its own by parity."""
    return [parity_mass(p, reach.first % 2) for p, reach in zip(setting.pattern.mean, setting.lags, strict=True)]

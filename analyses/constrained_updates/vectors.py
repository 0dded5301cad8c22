"""Do heads write, and tokens embed, what the constrained update asks for? Directions and lengths, position by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.seeds import lower, seeds
from analyses.constrained_updates.settings import Setting
from analyses.shared.belief_clouds import cloud_figure
from analyses.shared.prefix_corpus import trained_on_exact
from analyses.shared.seed_groups import Group
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.theory.chain.constrained_values import (
    EARLY,
    VectorFit,
    embedding_fit,
    loose_fit,
    own_token_fit,
    parallel_cosine,
    value_fits,
)

READS = (2, 3, 5, None)
"""Principal components from which belief space is read; None: all of them."""
CLIP = 4.0
"""Where attention is nearly 0 the theory asks for values without bound."""
PARTS = {"all": slice(None), "late": slice(EARLY, None), "early": slice(0, EARLY)}


@dataclass(frozen=True, eq=False)
class Vectors:
    """Fits of every seed of one group."""

    group: Group
    settings: list[Setting]
    values: list[tuple[VectorFit, ...]]
    embeddings: list[VectorFit]
    own: list[VectorFit]
    """What a token adds at its own position in all, embedding and own values."""

    @property
    def own_r2(self) -> np.ndarray:
        """R² of the latter per seed."""
        return np.array([fit.r2() for fit in self.own])

    def r2(self, part: str = "all") -> np.ndarray:
        """R² of the values, the mean over heads, per seed."""
        return np.array([np.mean([fit.r2(PARTS[part]) for fit in fits]) for fits in self.values])

    def embedding_r2(self, part: str = "all") -> np.ndarray:
        """R² of the embeddings per seed."""
        return np.array([fit.r2(PARTS[part]) for fit in self.embeddings])

    @property
    def parallel(self) -> list[float]:
        """Cosine of one token's values at different positions, per head of the first seed."""
        return [parallel_cosine(written) for written in self.settings[0].block.written]


def vectors(group: Group, settings: list[Setting]) -> Vectors:
    """Fit values and embeddings of every seed."""
    values = []
    embeddings = []
    own = []
    for s in settings:
        known = (s.block, s.pattern.mean, s.shift, s.zeta, s.lags, s.read())
        values.append(value_fits(*known))
        embeddings.append(embedding_fit(*known))
        own.append(own_token_fit(s.block, s.pattern.mean, s.shift, s.read()))
    return Vectors(group, settings, values, embeddings, own)


def vectors_section(found: list[Vectors]) -> Section:
    """Return the section with its figures."""
    text = (
        "Whatever the position, a head must write the same direction for a token: `k(z)`, what the token says about the state "
        "less the prior, in belief space. Its length must make up for the attention that it gets: `ζ / A[m + 1, m]`. "
        "Embeddings must add what is missing for the token itself, `1 - ζ A[m, m] / A[m + 1, m]` times the same direction.",
        "Belief space is read by one affine map from the three leading components of the stream after attention, fitted to the "
        "constrained belief on all words; it has not seen the predictions.",
        "The embedding of a HookedTransformer is the sum of a token's and a position's vector, so that its token part cannot "
        "change with the position, whatever the theory asks for: early positions, where the factor changes its sign, cannot "
        "be right. The factor is a small difference of two terms near 1, and a change of diagonal attention moves one into the "
        "other without any change of the model's answers: only what embedding and own value add together is determined.",
    )
    shown = [item for item in found if not trained_on_exact(item.group.runs[0])] or found
    figures = (*map(_picture, shown), *map(_lengths, shown), _scores(found), _reads(found))
    return Section("vectors", "What heads write and tokens embed", text, figures)


def _picture(found: Vectors) -> FigureData:
    """Every vector as an arrow's end in belief space, from the prior (Figs. 2A, 2B, 3A)."""
    fits = found.values[0]
    embedding = found.embeddings[0]
    hmm = found.settings[0].corpus.hmm
    shown = min(len(fit.measured) for fit in (*fits, embedding))
    clouds = {}
    for i, fit in enumerate(fits):
        head = f"head {i + 1}" if len(fits) > 1 else "values"
        clouds |= {f"{head}, predicted": fit.predicted[:shown], f"{head}, measured": fit.measured[:shown]}
    clouds |= {"embeddings, predicted": embedding.predicted[:shown], "embeddings, measured": embedding.measured[:shown]}
    panels = {name: np.clip(hmm.start + part.reshape(-1, hmm.n_states), -CLIP, CLIP) for name, part in clouds.items()}
    tokens = np.tile(np.eye(hmm.vocab_size)[:, : hmm.n_states], (shown, 1))
    return cloud_figure(
        f"fig-{found.group.name}-vectors",
        f"{found.group.title}: what heads write and tokens embed, in belief space",
        f"`{found.group.name}`, one point per token and position (the first {shown}), coloured by token: the vector's end if it "
        "starts at the prior, the middle of the simplex. Embeddings are read without the offset.",
        "Panels of points in the plane of beliefs, predicted and measured: ends of what heads write and of what tokens embed.",
        tokens,
        {"": panels},
        whole=True,
    )


def _lengths(found: Vectors) -> FigureData:
    setting = found.settings[0]
    fits = found.values[0]
    embedding = found.embeddings[0]
    series = []
    names = [f"head {i + 1}" if len(fits) > 1 else "values" for i in range(len(fits))]
    for color, (name, fit) in enumerate([*zip(names, fits, strict=True), ("embeddings", embedding)]):
        predicted, measured = (np.clip(values, -CLIP, CLIP) for values in fit.factors)
        place = np.arange(1, len(measured) + 1)
        series.append({"name": f"{name}, measured", "x": place, "y": measured, "markers": True, "color": color})
        series.append({"name": f"{name}, predicted", "x": place, "y": predicted, "dash": "dot", "color": color})
    return FigureData(
        id=f"fig-{found.group.name}-lengths",
        kind="lines",
        title=f"{found.group.title}: lengths along k(z), predicted from attention and measured",
        caption=f"`{found.group.name}`, least-squares multiple of k(z) over tokens, in belief space; negative: against it. "
        f"Cut off at ±{CLIP:g}. ζ = {setting.zeta:.2f}.",
        alt="Lengths of values and embeddings, in units of k, by position, predicted and measured.",
        data={"x_title": "position", "y_title": "length (in units of k)", "series": series},
    )


def _scores(found: list[Vectors]) -> FigureData:
    titles = [item.group.title for item in found]
    loose = [_loose(item) for item in found]
    return FigureData(
        id="fig-vectors-r2",
        kind="dots",
        title="How well the theory describes values and embeddings",
        caption="R² in belief space, mean over heads; Student's t over training seeds where there are several. Late: after "
        f"position {EARLY}. The looser test fits a new affine map from the vectors' three leading components to their "
        "predictions, scored leaving one out. Values below -1 are cut off in the picture.",
        alt="R² by setting: values at all and at late positions, embeddings at late ones, and the looser test of both.",
        data={
            "x_title": "R²", "x_range": [-1, 1.02], "categories": titles,
            "series": [
                {"name": "values", **points([seed_mean(item.r2()) for item in found], "x")},
                {"name": "values, late", **points([seed_mean(item.r2("late")) for item in found], "x")},
                {"name": "values, looser", "x": [value for value, _ in loose]},
                {"name": "embeddings, late", **points([seed_mean(item.embedding_r2("late")) for item in found], "x")},
                {"name": "embeddings, looser", "x": [value for _, value in loose]},
            ],
            "references": [{"name": f"{published.NAME}, values, x 0.15, alpha 0.6", "x": published.VALUES_R2["all"]}],
        },
    )  # fmt: skip


def _loose(found: Vectors) -> tuple[float, float]:
    """Leave-one-out R² of the looser test, for values (mean over heads) and embeddings of the first seed."""
    setting = found.settings[0]
    values = [
        loose_fit(setting.block.written[head][: len(fit.predicted)], fit.predicted)[1] for head, fit in enumerate(found.values[0])
    ]
    embedding = found.embeddings[0].predicted
    return float(np.mean(values)), loose_fit(setting.block.embedded[: len(embedding)], embedding)[1]


def _reads(found: list[Vectors]) -> FigureData:
    """The same test with belief space read from fewer or more components."""
    series = []
    for count in READS:
        r2 = []
        for item in found:
            s = item.settings[0]
            fits = value_fits(s.block, s.pattern.mean, s.shift, s.zeta, s.lags, s.read(count))
            r2.append(float(np.mean([fit.r2() for fit in fits])))
        series.append({"name": "all components" if count is None else f"{count} components", "x": r2})
    return FigureData(
        id="fig-vectors-components",
        kind="dots",
        title="Values, read from more or fewer components",
        caption="R² of the values' prediction, first seed, mean over heads. Values need not lie in the span of the stream's "
        "leading components, so the number of those read is a choice. Values below -1 are cut off in the picture.",
        alt="R² of the values' prediction by setting, one series per number of components from which belief space is read.",
        data={"x_title": "R²", "x_range": [-1, 1.02], "categories": [item.group.title for item in found], "series": series},
    )


def vector_claims(found: Vectors) -> list[Claim]:
    """Return whether values and embeddings are as the theory asks."""
    name = found.group.name
    claims = found.group.claims
    r2 = found.r2()
    late = found.r2("late")
    embedding = found.embedding_r2()
    late_embedding = found.embedding_r2("late")
    cosine = float(np.mean([fit.cosine(PARTS["late"]) for fit in found.embeddings]))
    factors = found.embeddings[0].factors
    untrained = parallel_cosine(Setting.of(found.group.runs[0], 4).block.embedded)
    loose = _loose(found)
    equal = _equal(found)
    return [
        CRITERIA.claim(
            "values",
            id=f"{claims}-values",
            statement=f"In {name} heads write along one direction per token, with lengths that attention predicts: R² at "
            f"least {CRITERIA['values'].bounds['least']}, more than lengths that are equal everywhere.",
            reference=f"{published.NAME}: {published.VALUES_R2['all']} (Fig. A2, x .15, alpha .6)",
            measured=f"{seeds(r2)}\nlate positions: {seeds(late)}\ncosine of a token's vectors at different positions: "
            + ", ".join(f"{value:.4f}" for value in found.parallel),
            control=f"looser test, leaving one out: {loose[0]:.3f}\nequal lengths at all positions: {seeds(equal)}",
            numbers={"r2": r2, "less_equal_low": lower(r2 - equal)},
            figure="fig-vectors-r2",
        ),
        CRITERIA.claim(
            "embeddings",
            id=f"{claims}-embeddings",
            statement=f"In {name} tokens embed what the constrained update leaves to them, after position {EARLY}: R² at "
            f"least {CRITERIA['embeddings'].bounds['least']}. A small difference of two near-equal terms: the theory "
            "fixes only its sum with what heads write for the own token.",
            reference=f"{published.NAME}: late {published.EMBEDDING_R2['late']}, early {published.EMBEDDING_R2['early']}, all "
            f"{published.EMBEDDING_R2['all']} (Fig. A2)",
            measured=f"embedding plus own value, which the theory fixes: {seeds(found.own_r2)}\n"
            f"late: {seeds(late_embedding)}, cosine {cosine:.3f}\nall: {seeds(embedding)}\nlengths asked: "
            + ", ".join(f"{value:+.2f}" for value in factors[0])
            + "\nlengths found: " + ", ".join(f"{value:+.2f}" for value in factors[1]),
            control=f"looser test, leaving one out: {loose[1]:.3f}\na token's part is the same everywhere: cosine "
            f"{untrained:.3f} of its vectors at different positions",
            numbers={"late_r2": late_embedding},
            figure=f"fig-{name}-lengths",
        ),
    ]  # fmt: skip


def _equal(found: Vectors) -> np.ndarray:
    """R² of a rival: the right directions, all of the mean length that attention predicts."""
    rivals = []
    for fits in found.values:
        flat = [
            VectorFit(np.broadcast_to(fit.predicted.mean(axis=0), fit.predicted.shape).copy(), fit.measured, fit.shift)
            for fit in fits
        ]
        rivals.append(np.mean([fit.r2() for fit in flat]))
    return np.array(rivals)

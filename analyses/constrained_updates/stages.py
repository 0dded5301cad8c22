"""What the stream of a one-block model holds: the constrained belief after attention, the exact one after the MLP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.components import (
    Variance,
    cumulative_variance,
    leading_scores,
    simplex_figure,
    variance_claim,
    variance_figure,
)
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.seeds import lower, seeds
from analyses.constrained_updates.settings import COMPONENTS, FINAL, MID, POST, Setting
from analyses.shared.baselines import PREFIX_SHARE, token_and_position, token_history
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, NAIVE, trained_on_exact
from analyses.shared.seed_groups import Group
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study
from mechbp.theory.chain.prefix_activations import prefix_activations
from mechbp.theory.chain.prefix_probe import WordScore, word_probe

HOOKS = {"Mid": MID, "Post": POST, "final LN": FINAL}
BEYOND = "beyond a sum"
"""The exact belief less the best sum over tokens, with weights of their own for every token, lag and position."""


@dataclass(frozen=True, eq=False)
class Stages:
    """Scores of one group."""

    group: Group
    settings: list[Setting]
    scores: list[dict[str, dict[str, WordScore]]]
    """[seed][hook][target], words split by sequence."""
    by_prefix: dict[str, dict[str, WordScore]]
    """First seed, prefixes split and counted once."""
    untrained: dict[str, dict[str, WordScore]]
    baselines: dict[str, dict[str, WordScore]]
    row: tuple[float, ...] | None
    """MSE of the row-normalised constrained belief at Mid, the paper's target: trained, and random weights."""
    leading: dict[str, WordScore]
    """From the leading components alone: Mid on the constrained belief, the final LayerNorm on the exact one."""
    variance: Variance
    picture: FigureData

    def r2(self, hook: str, target: str) -> np.ndarray:
        """R² on other words, per seed."""
        return np.array([scores[hook][target].held_out_r2 for scores in self.scores])


def stages_of(study: Study, group: Group, settings: list[Setting]) -> Stages:
    """Regress observers on Mid, Post and the final LayerNorm of every seed, and on what needs no training."""
    first = settings[0]
    corpus = first.corpus
    words = first.corpus.words
    repeats = study.size(50, 8)
    targets = {name: corpus.targets[name] for name in (FULL, CONSTRAINED, NAIVE)}
    rng = study.rng(group.name, "stages")
    history = token_history(words)
    features = {"token and position": token_and_position(words), "token history": history}
    baselines = {name: word_probe(values, targets, words, rng=rng, repeats=repeats) for name, values in features.items()}
    targets |= {BEYOND: targets[FULL] - baselines["token history"][FULL].map(history)}

    def scored(found: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, dict[str, WordScore]]]:
        columns = {name: found[hook] for name, hook in HOOKS.items()}
        return columns, {n: word_probe(c, targets, words, rng=rng, repeats=repeats) for n, c in columns.items()}

    trained = [scored(setting.columns) for setting in settings]
    columns = trained[0][0]
    random = scored(prefix_activations(first.run.untrained(1), words, list(HOOKS.values())))
    by_prefix = {
        name: word_probe(
            values, targets, words, rng=rng, weighting="prefix", split="prefix", repeats=repeats, train_share=PREFIX_SHARE
        )
        for name, values in columns.items()
    }  # fmt: skip
    mses = None
    if corpus.hmm.emissions.all():  # else the form is undefined
        row = {"row": corpus.of_words(corpus.hmm.constrained_beliefs(words.tokens, "row"))}
        mses = tuple(word_probe(c["Mid"], row, words, rng=rng, repeats=0)["row"].mse for c in (columns, random[0]))
    variance = {"Mid": cumulative_variance(columns["Mid"], corpus), "Final": cumulative_variance(columns["Post"], corpus)}
    leading = leading_scores(columns, corpus, rng)
    picture = simplex_figure(study, group, corpus, columns, leading)
    scores = [found for _, found in trained]
    return Stages(group, settings, scores, by_prefix, random[1], baselines, mses, leading, variance, picture)


def stages_section(found: list[Stages]) -> Section:
    """Return the section with its figures."""
    text = (
        "After attention (Mid) the stream can hold no more than a sum over tokens; the constrained belief is the sum that adds "
        "up what each token says on its own. The MLP can bend it into the exact belief (Post). Both are regressed on all "
        "components of the stream, over all words.",
        "A free sum over tokens, with weights of their own for every token, lag and position (token history), already tells most "
        "of a belief. What exceeds it is the work of the MLP, or of attention that depends on tokens; the constrained belief, "
        "itself a sum, has nothing of it. That part alone is regressed on Mid and Post as well.",
    )
    pictured = [item for item in found if not trained_on_exact(item.group.runs[0])] or found
    figures = (
        *(item.picture for item in pictured),
        _scores(found),
        variance_figure([(item.group, item.variance) for item in found]),
    )
    return Section("stages", "First the constrained belief, then the exact one", text, figures)


def _scores(found: list[Stages]) -> FigureData:
    def mean(hook: str, target: str) -> dict[str, list[float]]:
        return points([seed_mean(item.r2(hook, target)) for item in found], "x")

    def control(hook: str, target: str) -> list[float]:
        return [item.untrained[hook][target].held_out_r2 for item in found]

    history = [item.baselines["token history"][FULL].held_out_r2 for item in found]
    return FigureData(
        id="fig-stages-r2",
        kind="dots",
        title="What Mid and Post hold",
        caption="R² on words that were not fitted. Student's t over training seeds where there are several. Random: weights "
        "that were not trained.",
        alt="R² by setting: constrained and exact belief read from Mid and from Post, beside random weights and token history.",
        data={
            "x_title": "R²", "categories": [item.group.title for item in found],
            "series": [
                {"name": "Mid, constrained belief", **mean("Mid", CONSTRAINED), "color": 0},
                {"name": "Mid, exact belief", **mean("Mid", FULL), "color": 1},
                {"name": "Post, constrained belief", **mean("Post", CONSTRAINED), "color": 2},
                {"name": "Post, exact belief", **mean("Post", FULL), "color": 3},
                {"name": "Mid, beyond a sum", **mean("Mid", BEYOND), "color": 4},
                {"name": "Post, beyond a sum", **mean("Post", BEYOND), "color": 5},
                {"name": "random Mid, constrained", "x": control("Mid", CONSTRAINED), "control": True},
                {"name": "random Post, exact", "x": control("Post", FULL), "control": True},
                {"name": "token history, exact", "x": history, "control": True},
            ],
        },
    )  # fmt: skip


def stage_claims(found: Stages) -> list[Claim]:
    """Return whether Mid holds the constrained and Post the exact belief, and whether the variance is spread as published."""
    name = found.group.name
    claims_as = found.group.claims
    setting = published.setting_of(found.group.runs[0])
    first = found.scores[0]
    random = found.untrained
    mid = found.r2("Mid", CONSTRAINED)
    mid_full = found.r2("Mid", FULL)
    post = found.r2("Post", FULL)
    post_constrained = found.r2("Post", CONSTRAINED)
    mid_naive = found.r2("Mid", NAIVE)
    beyond = {hook: found.r2(hook, BEYOND) for hook in ("Mid", "Post")}
    history = found.baselines["token history"]
    printed = (
        (
            published.MID_MSE.get(setting),
            published.MID_R2.get(setting),
            published.POST_MSE.get(setting),
            published.POST_R2.get(setting),
        )
        if setting
        else (None,) * 4
    )
    row = ("", "")
    if found.row is not None:
        row = (f"MSE of the row-normalised form {found.row[0]:.2e}\n", f", MSE {found.row[1]:.2e}")
    claims = [
        CRITERIA.claim(
            "mid",
            id=f"{claims_as}-mid",
            statement=f"After attention {name} holds the constrained belief (R² at least "
            f"{CRITERIA['mid'].bounds['mid_r2']}), and it rather than the exact one or naive Bayes.",
            reference=_reference("Mid", printed[0], printed[1]),
            measured=f"constrained: {seeds(mid, 4)}\nexact: {seeds(mid_full, 4)}\nnaive Bayes: "
            f"{seeds(mid_naive, 4)}\n{row[0]}from {COMPONENTS} "
            f"components: R² {found.leading['Mid'].r2:.4f}\nother prefixes, each once: R² "
            f"{found.by_prefix['Mid'][CONSTRAINED].held_out_r2:.4f}",
            control=f"random weights: R² {random['Mid'][CONSTRAINED].held_out_r2:.3f}{row[1]}\n"
            f"token and position: R² {found.baselines['token and position'][CONSTRAINED].held_out_r2:.3f}",
            numbers={
                "constrained_missed": 1 - mid,
                "before_exact_low": lower(mid - mid_full),
                "before_naive_low": lower(mid - mid_naive),
            },
            figure="fig-stages-r2",
        ),
        CRITERIA.claim(
            "post",
            id=f"{claims_as}-post",
            statement=f"After the MLP {name} holds the exact belief (R² at least "
            f"{CRITERIA['post'].bounds['post_r2']}), and it rather than the constrained one or any sum over tokens.",
            reference=_reference("Post", printed[2], printed[3]),
            measured=f"exact: {seeds(post, 4)}, MSE {first['Post'][FULL].mse:.2e}\nafter the final LayerNorm: R² "
            f"{first['final LN'][FULL].held_out_r2:.4f}, from {COMPONENTS} components "
            f"{found.leading['final LN'].r2:.4f}\nconstrained: {seeds(post_constrained, 4)}\nexact less constrained: "
            f"{', '.join(f'{lead:+.4f}' for lead in post - post_constrained)}\nother prefixes, each once: R² "
            f"{found.by_prefix['Post'][FULL].held_out_r2:.4f}",
            control=f"token history: R² {history[FULL].held_out_r2:.4f}\nrandom weights: R² "
            f"{random['Post'][FULL].held_out_r2:.3f}, MSE {random['Post'][FULL].mse:.2e}",
            numbers={
                "exact_missed": 1 - post,
                "history_missed": 1 - history[FULL].held_out_r2,
                "before_constrained_low": lower(post - post_constrained),
            },
            figure="fig-stages-r2",
        ),
        CRITERIA.claim(
            "bend",
            id=f"{claims_as}-bend",
            statement=f"Most of what no sum over tokens can give of the exact belief stands in the stream of {name} after the "
            "MLP, and more than after attention.",
            reference="none: the constrained belief is a sum over tokens and has nothing of it",
            measured=f"after the MLP: {seeds(beyond['Post'])}\nafter attention: {seeds(beyond['Mid'])}",
            control=f"random weights, after the MLP: R² {random['Post'][BEYOND].held_out_r2:.3f}",
            numbers={
                "post_r2": beyond["Post"],
                "post_less_mid_low": lower(beyond["Post"] - beyond["Mid"]),
                "random_r2": random["Post"][BEYOND].held_out_r2,
            },
            figure="fig-stages-r2",
        ),
    ]
    variance = variance_claim(found.group, found.variance)
    return claims if variance is None else [*claims, variance]


def _reference(hook: str, mse: float | None, r2: float | None) -> str:
    return f"{published.NAME}: MSE {mse:g} at {hook} (R² {r2} by the variance of its target)" if mse else "no published number"

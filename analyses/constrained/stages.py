"""What the stream holds after attention and after the MLP of a one-block model: the constrained belief first, then the exact "
"one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.beliefs.baselines import PREFIX_SHARE, token_and_position, token_history
from analyses.beliefs.corpus import CONSTRAINED, FULL, NAIVE
from analyses.beliefs.pictures import chosen_prefixes, cloud_figure
from analyses.constrained import paper
from analyses.constrained.attention import seeds
from analyses.constrained.settings import COMPONENTS, FINAL, MID, POST, Group, Setting
from mechbp.hooks import HookedModel
from mechbp.methods.intervals import seed_mean
from mechbp.methods.word_activations import prefix_activations
from mechbp.methods.word_probe import WordScore, word_probe
from mechbp.report.document import Claim, FigureData, Section
from mechbp.report.parts import points
from mechbp.study import Study

MID_R2, POST_R2 = 0.975, 0.995
SHOWN = 400
"""Prefixes in a picture."""
TABLE = 7
"""Components of the table of explained variance."""
TOP, TOLERANCE = 3, 0.03
"""The cumulative variance of so many components is held against the paper's, within this."""
HOOKS = {"Mid": MID, "Post": POST, "final LN": FINAL}


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
    row: tuple[float, float]
    """MSE of the row-normalised constrained belief at Mid: trained, and random weights; the paper's target."""
    variance: dict[str, np.ndarray]
    """Cumulative explained variance of Mid and Post."""
    picture: FigureData

    def r2(self, hook: str, target: str) -> np.ndarray:
        """R² on other words, per seed."""
        return np.array([scores[hook][target].held_out_r2 for scores in self.scores])


def stages_of(study: Study, group: Group, settings: list[Setting]) -> Stages:
    """Regress observers on Mid, Post and the final LayerNorm of every seed, and on what needs no training."""
    first = settings[0]
    corpus, words, repeats = first.corpus, first.corpus.words, study.size(50, 8)
    targets = {name: corpus.targets[name] for name in (FULL, CONSTRAINED, NAIVE)}
    rng = study.rng(group.name, "stages")

    def scored(model: HookedModel) -> tuple[dict[str, np.ndarray], dict[str, dict[str, WordScore]]]:
        found = prefix_activations(model, words, list(HOOKS.values()))
        columns = {name: found[hook] for name, hook in HOOKS.items()}
        return columns, {n: word_probe(c, targets, words, rng=rng, repeats=repeats) for n, c in columns.items()}

    trained = [scored(setting.run.model) for setting in settings]
    columns, random = trained[0][0], scored(first.run.untrained(1))
    by_prefix = {
        name: word_probe(
            values, targets, words, rng=rng, weighting="prefix", split="prefix", repeats=repeats, train_share=PREFIX_SHARE
        )
        for name, values in columns.items()
    }  # fmt: skip
    features = {"token and position": token_and_position(words), "token history": token_history(words)}
    baselines = {name: word_probe(values, targets, words, rng=rng, repeats=repeats) for name, values in features.items()}
    row = {"row": corpus.of_words(corpus.hmm.constrained_beliefs(words.tokens, "row"))}
    mses = [word_probe(c["Mid"], row, words, rng=rng, repeats=0)["row"].mse for c in (columns, random[0])]
    counts = np.bincount(words.prefix.ravel()).astype(np.float64)
    variance = {"Mid": cumulative_variance(columns["Mid"], counts), "Final": cumulative_variance(columns["Post"], counts)}
    picture = _picture(study, group, first, columns)
    return Stages(
        group, settings, [scores for _, scores in trained], by_prefix, random[1], baselines, (mses[0], mses[1]), variance, picture
    )


def stages_section(found: list[Stages]) -> Section:
    """Return the section with its figures."""
    text = (
        "After attention (Mid) the stream can hold no more than a sum over tokens; the constrained belief is the sum that adds "
        "up what each token says on its own. The MLP can bend it into the exact belief (Post). Both are regressed on all "
        "components of the stream, over all words.",
        "R² of both depends on scale alone where beliefs are nearly linear in the tokens: the token history, a free sum of "
        "tokens, is the bound for what no MLP has touched.",
    )
    return Section(
        "stages",
        "First the constrained belief, then the exact one",
        text,
        (*(item.picture for item in found), _scores(found), _variance(found)),
    )


def _picture(study: Study, group: Group, setting: Setting, columns: dict[str, np.ndarray]) -> FigureData:
    corpus, rng = setting.corpus, study.rng(group.name, "picture")
    at = chosen_prefixes(corpus, study.size(SHOWN, 80), rng)
    full, constrained = corpus.targets[FULL], corpus.targets[CONSTRAINED]

    def read(name: str, target: np.ndarray) -> np.ndarray:
        leading = _leading(columns[name], COMPONENTS)
        return word_probe(leading, {"t": target}, corpus.words, rng=rng, repeats=0)["t"].map(leading[at])

    panels = {
        "constrained belief": constrained[at], "Mid": read("Mid", constrained), "exact belief": full[at],
        "final LN": read("final LN", full),
    }  # fmt: skip
    return cloud_figure(
        f"fig-{group.name}-simplex",
        f"{group.title}: constrained and exact beliefs, and where the model has them",
        f"`{group.name}`, the same {len(at)} prefixes in every panel, coloured by their exact belief. Mid and final LN: affine "
        f"regression from their {COMPONENTS} leading components, on the constrained and the exact belief.",
        "Mid looks like the constrained belief, the final LayerNorm like the exact one.",
        full[at],
        {"": panels},
    )


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
        alt="Mid holds the constrained belief better than the exact one, Post the exact one.",
        data={
            "x_title": "R²", "categories": [item.group.title for item in found],
            "series": [
                {"name": "Mid, constrained belief", **mean("Mid", CONSTRAINED), "color": 0},
                {"name": "Mid, exact belief", **mean("Mid", FULL), "color": 1},
                {"name": "Post, constrained belief", **mean("Post", CONSTRAINED), "color": 2},
                {"name": "Post, exact belief", **mean("Post", FULL), "color": 3},
                {"name": "random Mid, constrained", "x": control("Mid", CONSTRAINED), "control": True},
                {"name": "random Post, exact", "x": control("Post", FULL), "control": True},
                {"name": "token history, exact", "x": history, "control": True},
            ],
        },
    )  # fmt: skip


def _variance(found: list[Stages]) -> FigureData:
    rows, values, theirs = [], [], []
    for item in found:
        setting = paper.setting_of(item.group.runs[0])
        for name, cumulative in item.variance.items():
            rows.append(f"{name}, {item.group.name}")
            values.append(cumulative)
            printed = (
                paper.VARIANCE.get((name, setting))
                if setting and item.group.runs[0].config.model.n_heads == _heads(setting)
                else None
            )
            theirs.append(printed or [None] * TABLE)
    return FigureData(
        id="fig-variance",
        kind="heatmap",
        title="Share of variance in the leading components",
        caption="Cumulative, over all words and positions. Mid: after attention; Final: after the block, before the final "
        f"LayerNorm. The second panel holds what {paper.NAME} print (Table 1).",
        alt="Three components hold nearly all of the variance after attention where one head serves.",
        data={
            "rows": rows, "columns": [str(k + 1) for k in range(TABLE)], "column_title": "components",
            "value_title": "share of variance",
            "range": [0, 1], "cell_text": True, "panel_columns": 2,
            "panels": [{"title": "measured", "values": np.round(values, 4)}, {"title": "published", "values": theirs}],
        },
    )  # fmt: skip


def _heads(setting: tuple[float, float]) -> int:
    """Heads of the paper's model: two where the process swings."""
    return 2 if setting[0] > 1 / 3 else 1


def stage_claims(found: Stages) -> list[Claim]:
    """Return whether Mid holds the constrained and Post the exact belief, and whether the variance is spread as published."""
    name, setting = found.group.name, paper.setting_of(found.group.runs[0])
    first, random = found.scores[0], found.untrained
    mid, mid_full = found.r2("Mid", CONSTRAINED), found.r2("Mid", FULL)
    post, post_constrained = found.r2("Post", FULL), found.r2("Post", CONSTRAINED)
    history = found.baselines["token history"]
    printed = (
        (paper.MID_MSE.get(setting), paper.MID_R2.get(setting), paper.POST_MSE.get(setting), paper.POST_R2.get(setting))
        if setting
        else (None,) * 4
    )
    claims = [
        Claim(
            id=f"{name}-mid",
            statement=f"After attention {name} holds the constrained belief (R² at least {MID_R2}), and it rather than the "
            f"exact one.",
            reference=f"{paper.NAME}: MSE {printed[0]:g} (R² {printed[1]}) at Mid" if printed[0] else "no published number",
            measured=f"constrained: {seeds(mid, 4)}\nexact: {seeds(mid_full, 4)}\nnaive Bayes: R² "
            f"{first['Mid'][NAIVE].held_out_r2:.4f}\nMSE of the row-normalised form {found.row[0]:.2e}\nother prefixes, each "
            f"once: R² {found.by_prefix['Mid'][CONSTRAINED].held_out_r2:.4f}",
            control=f"random weights: R² {random['Mid'][CONSTRAINED].held_out_r2:.3f}, MSE {found.row[1]:.2e}\n"
            f"token and position: R² {found.baselines['token and position'][CONSTRAINED].held_out_r2:.3f}",
            verdict=_graded(mid >= MID_R2, mid > mid_full),
            figure="fig-stages-r2",
        ),
        Claim(
            id=f"{name}-post",
            statement=f"After the MLP {name} holds the exact belief (R² at least {POST_R2}), better than any sum over tokens.",
            reference=f"{paper.NAME}: MSE {printed[2]:g} (R² {printed[3]}) at Post" if printed[2] else "no published number",
            measured=f"exact: {seeds(post, 4)}, MSE {first['Post'][FULL].mse:.2e}\nafter the final LayerNorm: R² "
            f"{first['final LN'][FULL].held_out_r2:.4f}\nconstrained: {seeds(post_constrained, 4)}\nother prefixes, each once: "
            f"R² {found.by_prefix['Post'][FULL].held_out_r2:.4f}",
            control=f"token history: R² {history[FULL].held_out_r2:.4f}\nrandom weights: R² "
            f"{random['Post'][FULL].held_out_r2:.3f}, MSE {random['Post'][FULL].mse:.2e}",
            verdict=_graded(post >= POST_R2, post > history[FULL].held_out_r2),
            figure="fig-stages-r2",
        ),
    ]
    table = within_table(found)
    if table:
        claims.append(
            Claim(
                id=f"{name}-variance",
                statement=f"The first {TOP} components of {name}'s stream hold the published share of variance, within "
                f"{TOLERANCE}.",
                reference=f"{paper.NAME}, Table 1: " + ", ".join(f"{part} {theirs:.4f}" for part, (_, theirs) in table.items()),
                measured="\n".join(f"{part}: {ours:.4f}" for part, (ours, _) in table.items()),
                control="none: a description, not an effect",
                verdict=_graded(np.array([abs(ours - theirs) <= TOLERANCE for ours, theirs in table.values()])),
                figure="fig-variance",
            )
        )
    return claims


def within_table(found: Stages) -> dict[str, tuple[float, float]]:
    """Return {Mid or Final: measured and published variance of the first TOP components} where there is a published one."""
    run = found.group.runs[0]
    setting = paper.setting_of(run)
    if setting is None or run.config.model.n_heads != _heads(setting) or run.config.objective.targets != "tokens":
        return {}
    named = {part: paper.VARIANCE.get((part, setting)) for part in found.variance}
    return {part: (float(found.variance[part][TOP - 1]), theirs[TOP - 1]) for part, theirs in named.items() if theirs}


def _graded(*conditions: np.ndarray) -> str:
    """Per seed; every condition for every seed holds, some of them partly."""
    reached = np.concatenate([np.atleast_1d(condition) for condition in conditions])
    return "holds" if reached.all() else "partly" if reached.any() else "fails"


def cumulative_variance(columns: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Share of the variance over words in the first components."""
    mean = counts @ columns / counts.sum()
    centred = (columns - mean) * np.sqrt(counts)[:, None]
    values = np.sort(np.linalg.eigvalsh(centred.T @ centred))[::-1]
    return np.cumsum(values)[:TABLE] / values.sum()


def _leading(columns: np.ndarray, components: int) -> np.ndarray:
    """Scores of the leading components; short prefixes count as often as words begin with them elsewhere, here once."""
    centred = columns - columns.mean(axis=0)
    values, basis = np.linalg.eigh(centred.T @ centred)
    return (centred @ basis[:, np.argsort(values)[::-1][:components]]).astype(np.float64)

"""How the geometry comes about: what can be read, and what the model loses, at every stored step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.belief_geometry import published
from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.regression import LEAST_MSE
from analyses.shared.belief_clouds import chosen_prefixes, cloud_figure
from analyses.shared.belief_density import density_figure
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, LN, Corpus, joined, stages, trained_on
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import spread
from mechbp.study import Study
from mechbp.theory.chain.exact_loss import ExactLoss, exact_loss
from mechbp.theory.chain.prefix_probe import word_probe

POINTS = 260
"""Prefixes in a picture."""
FRAMES = 4
"""Stored steps under the slider."""


@dataclass(frozen=True, eq=False)
class Emergence:
    """MSE of the exact belief and exact loss along training."""

    corpus: Corpus
    steps: tuple[int, ...]
    sequences: tuple[int, ...]
    mse: dict[str, list[float]]
    """Stage -> MSE on the fitted words, per step."""
    losses: list[ExactLoss]
    pictures: FigureData
    whole: FigureData | None
    """Beliefs of all prefixes; None where they are no triangle, or the run stores one step alone."""


def emergence(study: Study, corpus: Corpus) -> Emergence:
    """Read the belief at every stored step, few of them in quick studies; pictures of some."""
    run = corpus.run
    where = stages(corpus.run, mid=False)
    steps = run.steps if not study.quick else spread(run.steps, 4)
    shown = spread(steps, FRAMES)
    rng = study.rng(run.name, "emergence")
    at = chosen_prefixes(corpus, study.size(POINTS, 80), rng)
    exact = corpus.targets[FULL]
    if exact.shape[1] == 3:
        at = at[::2]  # all prefixes are drawn beside them
    watched = [[name for name in where if name != LN][-1], *([LN] if LN in where else [])]
    mse: dict[str, list[float]] = {name: [] for name in watched}
    losses = []
    frames = {}
    every_prefix = {}
    for step in steps:
        study.stage(f"{run.name}: step {step:,}")
        model = run.at(step)
        found, answers = corpus.activations_and_answers(model, where)
        needed = found if step in shown else watched
        scores = {name: word_probe(found[name], {FULL: exact}, corpus.words, rng=rng, repeats=0)[FULL] for name in needed}
        for name in watched:
            mse[name].append(max(scores[name].mse, LEAST_MSE))
        losses.append(exact_loss(answers, corpus.words, corpus.hmm))
        if step in shown:
            together = joined(found)
            every = word_probe(together, {FULL: exact}, corpus.words, rng=rng, repeats=0)[FULL]
            panels = {"exact belief": exact[at], CONSTRAINED: corpus.targets[CONSTRAINED][at]}
            panels |= {name: scores[name].map(found[name][at]) for name in found}
            frames[f"{step:,}"] = panels | {"all together": every.map(together[at])}
        if step in (steps[0], steps[-1]):
            last = watched[0]
            every_prefix[f"read from {last} at step {step:,}"] = scores[last].map(found[last])
    figure = cloud_figure(
        f"fig-{run.name}-simplex",
        f"{run.name}: beliefs, exact and as read from every stage, along training",
        f"The same {len(at)} prefixes in every panel, coloured by their exact "
        f"belief{'' if exact.shape[1] == 3 else ' and projected to the two widest directions of exact beliefs'}. Panels after "
        "the second show where an affine regression on that stage puts them, fitted on all words at that step. Some shortcuts "
        "leave the simplex. Step 0 has random weights.",
        "Panels of points in the plane of beliefs, exact, constrained, and read from every stage, one set per training step.",
        exact[at],
        frames,
        "training step",
    )
    batch = run.config.training.batch_size
    whole = _whole(corpus, every_prefix) if exact.shape[1] == 3 and len(every_prefix) == 2 else None
    return Emergence(corpus, tuple(steps), tuple(step * batch for step in steps), mse, losses, figure, whole)


def _whole(corpus: Corpus, read: dict[str, np.ndarray]) -> FigureData:
    """Return the beliefs of all prefixes: exact, and as the last layer has them at the last and at the first stored step."""
    exact = corpus.targets[FULL]
    first, last = read
    return density_figure(
        f"fig-{corpus.run.name}-whole",
        f"{corpus.run.name}: the beliefs of all {len(exact):,} prefixes, exact and as read from the network",
        "Every prefix of every word is a point, its colour that of its exact belief; cells are the more opaque the more points "
        "they hold. After the first, panels show where an affine regression puts the prefixes, fitted on all words at that step: "
        f"the last stored one, and step {first.rpartition(' ')[2]}, the control. Points outside the picture are cut; the table "
        "counts points in larger cells.",
        "Images of the triangle of beliefs over three states: exact, read at the last step, and read at the first.",
        exact,
        {"exact belief": exact, last: read[last], first: read[first]},
    )


def emergence_section(found: Emergence) -> Section:
    """Return the section with its figures."""
    run = found.corpus.run
    last = found.losses[-1]
    tokens = [n * found.corpus.run.process.length for n in found.sequences]
    relative = [loss.relative for loss in found.losses]
    text = (
        f"`{run.name}`, trained on {trained_on(run)}, at {len(found.steps)} stored steps. Losses are expectations over all "
        f"words, not samples: the least possible cross-entropy is {last.entropy_nats.mean():.6f} nats per token, and a uniform "
        f"guess costs {last.kl_uniform_nats.mean():.2e} nats more.",
        f"At the last step the model costs {last.mean_nats:.2e} nats more than exact inference: {last.relative:.1e} of what "
        f"there is to learn, {last.normalised:.6f} of the least loss.",
    )
    return Section(
        f"{run.name}-emergence", f"{run.name}: how the geometry comes about", text,
        (*([found.whole] if found.whole else []), found.pictures, _curve(found, tokens, relative), _positions(found)),
    )  # fmt: skip


def _curve(found: Emergence, tokens: list[int], relative: list[float]) -> FigureData:
    run = found.corpus.run
    series = [
        {"name": f"MSE of the belief, {name}", "x": tokens[1:], "y": values[1:], "markers": True}
        for name, values in found.mse.items()
    ]
    series.append(
        {"name": "KL(exact || model) / KL(exact || uniform)", "x": tokens[1:], "y": relative[1:], "markers": True, "dash": "dash"}
    )
    theirs = published.theirs(published.EMERGENCE, run, ())
    if theirs:
        seen, errors = zip(*theirs, strict=True)  # type: ignore[call-overload]
        series.append(
            {"name": f"{published.NAME}, MSE at layer 4", "x": list(seen), "y": list(errors), "dash": "dot", "markers": True}
        )
    start = ", ".join(f"{values[0]:.3g} ({name})" for name, values in found.mse.items())
    return FigureData(
        id=f"fig-{run.name}-emergence",
        kind="lines",
        title=f"{run.name}: belief geometry and loss along training",
        caption=f"MSE on the fitted words, every word once; at step 0 it is {start}. The published run learnt from tokens by "
        f"plain "
        "gradient descent and saw many times the tokens.",
        alt="Error of the belief by stage, and share of learnable nats missed, against tokens seen, both axes logarithmic; first "
        f"to last stored step: loss {relative[0]:.2g} to {relative[-1]:.2g} of the learnable.",
        data={
            "x_title": "tokens seen in training",
            "y_title": "MSE, or share of nats missed",
            "x_log": True,
            "y_log": True,
            "series": series,
        },
    )


def _positions(found: Emergence) -> FigureData:
    run = found.corpus.run
    last = found.losses[-1]
    x = list(range(1, found.corpus.length + 1))
    uniform = np.where(last.kl_uniform_nats > 1e-12, last.kl_uniform_nats, np.nan)  # nothing to learn there, up to rounding
    return FigureData(
        id=f"fig-{run.name}-kl",
        kind="lines",
        title=f"{run.name}: exact loss by position",
        caption="Expectation over all words by their probability. Uniform is what guessing without a model costs: all there "
        "is to learn.",
        alt="KL in nats by number of tokens read, on a logarithmic axis: of the model, and of a uniform guess.",
        data={
            "x_title": "tokens read", "y_title": "KL (nats)", "y_log": True,
            "series": [
                {"name": "KL(exact || model)", "x": x, "y": last.kl_nats, "markers": True},
                {"name": "KL(exact || uniform)", "x": x, "y": uniform, "control": True},
            ],
        },
    )  # fmt: skip


def optimal_claim(found: Emergence) -> Claim:
    """Return whether the model has learnt the process."""
    run = found.corpus.run
    last = found.losses[-1]
    first = found.losses[0]
    return CRITERIA.claim(
        "optimal",
        id=f"{run.name}-optimal",
        statement=f"{run.name} predicts as the exact filter does: its expected loss is at most "
        f"{CRITERIA['optimal'].bounds['normalised']} of the least one.",
        reference=f"{published.NAME}: 1.00 (two decimals)" if published.is_theirs(run) else "no published number",
        measured=f"{last.normalised:.6f} of the least loss\nKL(exact || model) {last.mean_nats:.2e} nats per token, "
        f"{last.relative:.1e} of what there is to learn\nexpectation over all {len(found.corpus.words.tokens):,} words",
        control=f"uniform guess: {1 + last.kl_uniform_nats.mean() / last.entropy_nats.mean():.4f}\n"
        f"random weights: {first.normalised:.4f}",
        numbers={"loss_excess": last.normalised - 1},
        figure=f"fig-{run.name}-kl",
    )

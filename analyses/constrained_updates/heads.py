"""Why two heads where the process swings: lags shared by parity, values opposed, and what one head alone loses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analyses.constrained_updates import published
from analyses.constrained_updates.attention import looks_at_parity
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.seeds import counted
from analyses.constrained_updates.settings import MID, Setting
from analyses.shared.prefix_corpus import Corpus
from analyses.shared.seed_groups import Group
from mechbp.models.runs import Run
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.theory.chain.constrained_attention import parity_mass
from mechbp.theory.chain.constrained_values import head_cosine
from mechbp.theory.chain.exact_loss import ExactLoss, exact_loss
from mechbp.theory.chain.first_block import one_block, pattern_and_activations
from mechbp.theory.chain.prefix_activations import prefix_answers


@dataclass(frozen=True, eq=False)
class HeadPair:
    """Two heads of one setting."""

    setting: Setting
    parity: list[float]
    stream_cosine: float
    """Between what the heads write, in the residual stream."""
    belief_cosine: float
    """The same, read in belief space."""

    @classmethod
    def of(cls, setting: Setting) -> HeadPair:
        """Measure a setting with two heads."""
        weights, _ = setting.read()
        first, second = setting.block.written
        return cls(setting, looks_at_parity(setting), head_cosine(first, second), head_cosine(first @ weights, second @ weights))


def losses(runs: list[Run], length: int) -> dict[str, ExactLoss]:
    """Return every run's exact loss."""
    found = {}
    for run in runs:
        corpus = Corpus.of(run, length)
        found[run.name] = exact_loss(prefix_answers(run.model, corpus.words), corpus.words, corpus.hmm)
    return found


def twin(run: Run, runs: list[Run]) -> Run | None:
    """Return a run with the same process and one head less, all else equal."""
    wanted = run.config.model
    for other in runs:
        model = other.config.model
        same = (other.config.process, other.config.objective) == (run.config.process, run.config.objective)
        same &= (model.n_layers, model.d_model) == (wanted.n_layers, wanted.d_model)
        if same and model.n_heads == wanted.n_heads - 1:
            return other
    return None


def loss_figure(groups: list[Group], exact: dict[str, ExactLoss]) -> FigureData:
    """Return what every run misses, seeds as points."""
    rows = {f"{group.title}: {run.name}": exact[run.name] for group in groups for run in group.runs}
    return FigureData(
        id="fig-loss",
        kind="dots",
        title="What every model misses of the exact answer",
        caption="KL(exact || model), expectation over all words and positions; relative: divided by what a uniform guess misses.",
        alt="KL per token of every model, absolute and relative, on a logarithmic axis, beside that of a uniform guess.",
        data={
            "x_title": "KL per token (nats), or share of all nats", "x_log": True, "categories": list(rows),
            "series": [
                {"name": "KL(exact || model)", "x": [loss.mean_nats for loss in rows.values()]},
                {"name": "relative", "x": [loss.relative for loss in rows.values()]},
                {"name": "KL(exact || uniform)", "x": [loss.kl_uniform_nats.mean() for loss in rows.values()], "control": True},
            ],
        },
    )  # fmt: skip


def heads_section(groups: list[Group], exact: dict[str, ExactLoss], splits: list[HeadPair]) -> Section:
    """Return the section with its figure."""
    lines = [
        f"`{split.setting.run.name}`: {', '.join(f'{share:.3f}' for share in split.parity)} of off-diagonal attention on a "
        f"head's own parity; cosine of what the heads write {split.stream_cosine:.3f}, in belief space "
        f"{split.belief_cosine:.4f}."
        for split in splits
    ]
    text = (
        "The signal of these processes is tiny, so losses are exact expectations over words. With ζ < 0 the influence of a token "
        "changes its sign from step to step, and attention cannot be negative: two heads have to share the lags, and write "
        "opposite vectors.",
        *lines,
    )
    return Section("heads", "One head or two", text, (loss_figure(groups, exact),))


def head_claims(group: Group, splits: list[HeadPair], exact: dict[str, ExactLoss], runs: list[Run]) -> list[Claim]:
    """Return the claims about a group with two heads."""
    name = group.claims
    parity = np.array([split.parity for split in splits])
    stream, belief = (np.array([getattr(split, key) for split in splits]) for key in ("stream_cosine", "belief_cosine"))
    random = _untrained(splits[0].setting)
    claims = [
        CRITERIA.claim(
            "parity",
            id=f"{name}-parity",
            statement=f"The two heads of {name} share the lags by parity: at least "
            f"{CRITERIA['parity'].bounds['parity']:.0%} of each one's off-diagonal attention lies on its own.",
            reference=f"{published.NAME}: even and odd lags (Fig. 3B)",
            measured=f"least of both heads: {', '.join(f'{value:.3f}' for value in parity.min(axis=1))} ({counted(len(splits))})",
            control=f"uniform attention: {_uniform_parity(splits[0]):.3f}",
            numbers={"least_parity": parity.min(axis=1)},
            figure=f"fig-{name}-attention",
        ),
        CRITERIA.claim(
            "opposed",
            id=f"{name}-opposed",
            statement=f"The two heads of {name} write opposite vectors in belief space: cosine below "
            f"{CRITERIA['opposed'].bounds['opposed']}.",
            reference=f"{published.NAME}: anti-parallel in the leading components (Fig. 3A)",
            measured=f"cosine in belief space {', '.join(f'{value:.4f}' for value in belief)} ({counted(len(belief))})\n"
            f"in all of the residual stream, which is more than is published: {', '.join(f'{value:.3f}' for value in stream)}",
            control=f"random weights: {random.belief_cosine:.3f} in belief space, {random.stream_cosine:.3f} in the stream",
            numbers={"belief_cosine": belief, "random_cosine": random.belief_cosine},
            figure=f"fig-{name}-lengths",
        ),
    ]
    single = twin(group.runs[0], runs)
    if single is not None:
        one = exact[single.name]
        two = [exact[run.name] for run in group.runs]
        ratios = np.array([one.mean_nats / loss.mean_nats for loss in two])
        printed = published.HEAD_KL.get(published.setting_of(single) or (0, 0))
        claims.append(
            CRITERIA.claim(
                "two-heads",
                id=f"{name}-two-heads",
                statement=f"One head cannot do it: {single.name}, of which there is one seed, misses at least "
                f"{CRITERIA['two-heads'].bounds['least']:g} times the nats that each seed of {name} misses.",
                reference=f"{published.NAME}: {printed[0]} against {printed[1]} (Fig. A7, unit unclear)" if printed else "no "
                "published number",
                measured=f"one head {one.mean_nats:.2e} nats ({one.relative:.2%} of all), two heads "
                + ", ".join(f"{loss.mean_nats:.2e} ({loss.relative:.2%})" for loss in two)
                + f"\nratios {', '.join(f'{ratio:.1f}' for ratio in ratios)}; one seed of one head, {counted(len(two))} of two",
                control=f"uniform guess: {one.kl_uniform_nats.mean():.2e} nats",
                numbers={"ratio": ratios},
                figure="fig-loss",
            )
        )  # fmt: skip
    return claims


def _uniform_parity(split: HeadPair) -> float:
    """The lesser share that attention would have on a head's lags if it looked everywhere alike."""
    length = split.setting.corpus.length
    uniform = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    return min(parity_mass(uniform, reach.first % 2) for reach in split.setting.lags)


def _untrained(setting: Setting) -> HeadPair:
    """The same heads with random weights, belief space read anew from their own stream."""
    model = setting.run.untrained(1)
    corpus = setting.corpus
    pattern, columns = pattern_and_activations(model, corpus.words, (MID,))
    block = one_block(model, corpus.hmm.vocab_size, corpus.length)
    return HeadPair.of(replace(setting, pattern=pattern, block=block, columns=columns))

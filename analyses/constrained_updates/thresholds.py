"""The numbers that constrained updates are held to, from the same fits as the page, printed by `mechbp verify`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyses.constrained_updates import components, heads, published, vectors
from analyses.constrained_updates.criteria import CRITERIA
from analyses.constrained_updates.observers import score_observers
from analyses.constrained_updates.settings import MID, POST, Setting
from analyses.shared.prefix_corpus import CONSTRAINED, FULL, trained_on_exact
from analyses.shared.seed_groups import Group
from mechbp.hooks import capture
from mechbp.models.runs import Run
from mechbp.models.verify import Check
from mechbp.randomness import rng
from mechbp.study import Study
from mechbp.theory.chain.constrained_attention import decay_prediction, pattern_fit
from mechbp.theory.chain.first_block import PATTERN, one_block
from mechbp.theory.chain.prefix_activations import prefix_activations
from mechbp.theory.chain.prefix_probe import word_probe

LOSS_NATS = 1e-3
LOSS_SHARE = 0.05
"""Per token, of every shipped run, and of what a uniform guess misses, for that may be less than the first."""
REBUILT = 1e-5
"""Largest deviation of the stream after attention from what the tables give."""


def loss_thresholds(group: Group, length: int) -> Iterator[tuple[str, Check]]:
    """Yield how much every run of a group misses."""
    for name, loss in heads.losses(list(group.runs), length).items():
        shown = f"{loss.mean_nats:.2e} nats, {loss.relative:.2g} of the learnable"
        reached = loss.mean_nats <= LOSS_NATS and loss.relative <= LOSS_SHARE
        yield name, Check.of(f"KL <= {LOSS_NATS:g} nats, {LOSS_SHARE:.0%} of learnable", shown, reached)


def theory_thresholds(group: Group, runs: list[Run], length: int) -> Iterator[tuple[str, Check]]:
    """Yield the thresholds of a group of one-block runs trained on tokens of a published setting, seed by seed."""
    yield group.name, _rebuilt(group, length)
    config = group.runs[0].config
    setting = published.setting_of(group.runs[0])
    if trained_on_exact(group.runs[0]):
        return
    if setting == (0.15, 0.6):
        for run in group.runs:
            yield from ((run.name, check) for check in _one_head(Setting.of(run, length)))
    elif setting == (0.5, 0.6) and config.model.n_heads == 2:
        single = heads.twin(group.runs[0], runs)
        least = CRITERIA["two-heads"].bounds["least"]
        exact = heads.losses([*group.runs, *([single] if single else [])], length)
        for run in group.runs:
            yield from ((run.name, check) for check in _two_heads(Setting.of(run, length)))
            if single is not None:
                ratio = exact[single.name].mean_nats / exact[run.name].mean_nats
                shown = f"{ratio:.1f} ({single.name})"
                yield run.name, Check.of(f"one head's KL / two heads' >= {least:g}", shown, ratio >= least)


def deep_thresholds(study: Study, run: Run, length: int) -> Iterator[tuple[str, Check]]:
    """Yield whether the constrained belief leads at the first Mid, and the exact one from the first or second block on."""
    found = score_observers(study, run, length)
    first = (found.at("layer 1 mid", CONSTRAINED), found.at("layer 1 mid", FULL))
    shown = f"1 - R² {first[0]:.4f} constrained, {first[1]:.4f} exact"
    yield run.name, Check.of("first Mid prefers the constrained", shown, first[0] < first[1])
    later = [(stage, found.at(stage, CONSTRAINED), found.at(stage, FULL)) for stage in ("layer 1", "layer 2")]
    shown = "; ".join(f"{stage} {constrained:.4f}, {full:.4f}" for stage, constrained, full in later)
    yield run.name, Check.of("layer 1 or 2 prefers the exact", shown, any(full < constrained for _, constrained, full in later))


def _one_head(setting: Setting) -> Iterator[Check]:
    pattern = setting.pattern.mean[0]
    reach = setting.lags[0]
    fit = pattern_fit(pattern, decay_prediction(pattern, setting.zeta, reach), reach)
    shown = f"{fit.r2:.4f} (squared correlation {fit.squared_correlation:.4f}, {fit.n} entries)"
    least = CRITERIA["attention"].bounds["least"]
    yield Check.of(f"attention R² >= {least}", shown, fit.r2 >= least)
    written = float(vectors.vectors(Group((setting.run,)), [setting]).r2()[0])
    least = CRITERIA["values"].bounds["least"]
    yield Check.of(f"values R² >= {least}", f"{written:.4f}", written >= least)
    words = setting.corpus.words
    targets = setting.corpus.targets
    found = prefix_activations(setting.run.model, words, (MID, POST))
    mid_r2 = CRITERIA["mid"].bounds["mid_r2"]
    post_r2 = CRITERIA["post"].bounds["post_r2"]
    for hook, target, bound in ((MID, CONSTRAINED, mid_r2), (POST, FULL, post_r2)):
        score = word_probe(found[hook], {target: targets[target]}, words, rng=rng(0, "thresholds"), repeats=20)[target]
        name = "Mid" if hook == MID else "Post"
        shown = f"{score.r2:.4f} ({score.held_out_r2:.4f} on other words, {score.n_features} columns)"
        yield Check.of(f"{name} -> {target} R² >= {bound}", shown, score.r2 >= bound)
    tolerance = CRITERIA["variance"].bounds["tolerance"]
    for name, hook in (("Mid", MID), ("Final", POST)):
        ours = float(components.cumulative_variance(found[hook], setting.corpus)[components.TOP - 1])
        theirs = published.VARIANCE[name, (0.15, 0.6)][components.TOP - 1]
        what = f"{name} top-{components.TOP} variance ± {tolerance}"
        yield Check.of(what, f"{ours:.4f} (published {theirs})", abs(ours - theirs) <= tolerance)


def _two_heads(setting: Setting) -> Iterator[Check]:
    split = heads.HeadPair.of(setting)
    shown = ", ".join(f"{share:.3f}" for share in split.parity)
    least = CRITERIA["parity"].bounds["parity"]
    yield Check.of(f"heads' own parity >= {least:.0%}", shown, min(split.parity) >= least)
    shown = f"{split.belief_cosine:.4f} (in the stream {split.stream_cosine:.3f})"
    most = CRITERIA["opposed"].bounds["opposed"]
    yield Check.of(f"cosine between heads in belief space < {most}", shown, split.belief_cosine < most)


def _rebuilt(group: Group, length: int) -> Check:
    """The tables of random weights and their own pattern give the stream after attention again."""
    model = group.runs[0].untrained(1)
    hmm = group.runs[0].process
    length = min(length, hmm.length)
    tokens = hmm.sample(500, rng(0, "thresholds"), length).tokens
    found = capture(model, tokens, [PATTERN, MID])
    block = one_block(model, hmm.vocab_size, length)
    rebuilt = block.after_attention(tokens, found[PATTERN].double().cpu().numpy())
    deviation = float(np.abs(rebuilt - found[MID].double().cpu().numpy()).max())
    shown = f"{deviation:.1e} (random weights, 500 words)"
    return Check.of(f"tables rebuild Mid to {REBUILT:g}", shown, deviation <= REBUILT)

"""How many labelled sequences does pre-training on masked leaves spare, with the encoder fine-tuned or frozen?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analyses.tree_samples.criteria import CRITERIA
from analyses.tree_samples.curves import (
    REACHED,
    Curve,
    TestSet,
    accuracy_layout,
    fewest_seeds,
    interval_text,
    paired_lead,
    seeds_text,
)
from mechbp.hooks import capture
from mechbp.methods.probing.transfer_probe import read_out
from mechbp.methods.statistics.intervals import Interval, seed_mean
from mechbp.models.architectures import HookedTransformer
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import TREE
from mechbp.models.training_set import training_set
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.study import Study

LAST = "ln_final.hook_normalized"
"""What a read-out of the encoder sees: the residual stream after the last block, normalised as for the unembedding."""
FROZEN_SIZES = (2**9, 2**11, 2**13)
BATCH = 1024


def study_transfer(
    study: Study, slug: str, encoder: Run, scratch: Curve, tuned: Curve, test: TestSet
) -> tuple[list[Claim], Section]:
    """Compare the root read from a pre-trained encoder with training from scratch, on the same fixed training sets."""
    scratch = replace(scratch, name="from random weights")
    curves = [scratch, tuned]
    sources = {
        f"frozen {encoder.name}": lambda tokens: _last(encoder.model, tokens),
        "frozen random weights": lambda tokens: _last(encoder.untrained(seed=1), tokens),
        "tokens alone": lambda tokens: np.eye(test.process.vocab_size)[tokens],
    }
    sizes = FROZEN_SIZES[: study.size(len(FROZEN_SIZES), 1)]
    frozen = [_frozen(study, name, features, sizes, scratch, test) for name, features in sources.items()]
    text = (
        f"The encoder `{encoder.name}` has seen masked leaves only, never a root. Fine-tuned, it is given a query token for the "
        "root, and all of its weights are trained on the labelled set. Frozen, its last activations at all leaves, side by side, "
        "are read by one softmax classifier, as in the paper; a query token cannot gather through weights that never learnt "
        "to serve it.",
        "Training from scratch and fine-tuning stop early on 512 further sequences; the classifier chooses its penalty within "
        "the labelled set.",
    )
    figure = FigureData(
        id=f"fig-samples-{slug}",
        kind="lines",
        title="Root accuracy against labelled sequences: from scratch and pre-trained",
        caption=f"Expected accuracy on {len(test.tokens):,} unseen sequences; line: mean over training sets, band: lowest and "
        f"highest of them; {seeds_text(curves + frozen)}. Standard error over test sequences at most "
        f"{max(c.error for c in curves + frozen):.3f}.",
        alt="Lines of root accuracy with bands against labelled sequences: from random weights, fine-tuned, frozen, and two "
        "controls.",
        data=accuracy_layout(
            [
                *(curve.series(curve.accuracy, color=i) for i, curve in enumerate([*curves, frozen[0]])),
                *(curve.series(curve.accuracy, color=5 + i, control=True) for i, curve in enumerate(frozen[1:])),
            ],
            [{"name": "BP_0", "y": test.best}],
        )
        | {"x_title": "labelled training sequences"},
    )
    claims = [
        _claim(slug, [scratch, tuned, frozen[0]], frozen[1:], len(test.tokens)),
        _ahead_claim(slug, scratch, [tuned, frozen[0]], len(test.tokens)),
    ]
    return claims, Section(slug, f"What pre-training on masked leaves spares: {encoder.name}", text, (figure,))


def _last(model: HookedTransformer, tokens: np.ndarray) -> np.ndarray:
    """The encoder's last activations of unmasked leaves, [n, leaf, d]."""
    parts = [capture(model, tokens[i : i + BATCH], [LAST])[LAST].cpu().numpy() for i in range(0, len(tokens), BATCH)]
    return np.concatenate(parts)


def _frozen(study: Study, name: str, features, sizes: tuple[int, ...], scratch: Curve, test: TestSet) -> Curve:
    unseen = features(test.tokens)
    seeds = range(study.size(2, 1))
    hits = np.full((len(sizes), len(seeds), len(test.tokens)), np.nan)
    kl = np.full((len(sizes), len(seeds)), np.nan)
    for i, size in enumerate(sizes):
        for seed in seeds:
            study.stage(f"{name}: read-out of {size:,} sequences")
            labelled = training_set(TREE.tasks["root"], test.process, seed, size)
            found = read_out(features(labelled.tokens), labelled.root, unseen, test.process.vocab_size)
            hits[i, seed], kl[i, seed] = test.grade(found.probabilities[:, None])
    return Curve(name, sizes, *test.place, tuple(seeds), hits, kl, np.full_like(kl, np.nan), test.oracles, scratch.chance)


def _claim(slug: str, curves: list[Curve], controls: list[Curve], n: int) -> Claim:
    """Seeds are paired: one training set per size and seed, whatever starts on it."""
    scratch, *pretrained = curves
    frozen = pretrained[-1]
    factors = [_factor(scratch, curve) for curve in pretrained]
    beyond = [paired_lead(frozen, control, size) for control in controls for size in frozen.sizes]
    small = scratch.sizes[0]
    texts = ["not known" if factor is None else interval_text(factor, 1) for factor in factors]
    return CRITERIA.claim(
        "transfer",
        id=f"samples-{slug}",
        statement="Pre-training on masked leaves cuts the labelled sequences that the root needs, with the encoder fine-tuned "
        "and with it frozen; the same read-out of random weights or of tokens stays behind at every size.",
        reference="the paper: masked pre-training cuts P* strongly, frozen or free",
        measured=f"needed for {100 * REACHED:g} % of the way to the optimum\n"
        + "\n".join(f"{curve.name}: {curve.needed_text()}" for curve in curves)
        + "\nfactor, geometric mean over seeds: "
        + ", ".join(f"{curve.name} {text}" for curve, text in zip(pretrained, texts, strict=True))
        + f"\naccuracy at {small:,}: "
        + ", ".join(f"{curve.name} {curve.accuracy_text(small)}" for curve in curves if small in curve.sizes)
        + f"\nn = {n:,} test sequences, {seeds_text(curves)}, one encoder",
        control="at the largest set: " + ", ".join(f"{curve.name} {curve.mean[-1]:.2f}" for curve in controls),
        numbers={
            "factor_low": [None if factor is None else float(factor.low) for factor in factors],
            "beyond_low": [float(lead.low) for lead in beyond],
            "fewest_seeds": fewest_seeds(curves),
        },
        figure=f"fig-samples-{slug}",
    )


def _ahead_claim(slug: str, scratch: Curve, pretrained: list[Curve], n: int) -> Claim:
    """At equal sets nothing is read between sizes, and two seeds say more than they do of a factor."""
    leads = {
        curve.name: {size: paired_lead(curve, scratch, size) for size in sorted({*curve.sizes} & {*scratch.sizes})}
        for curve in pretrained
    }
    return CRITERIA.claim(
        "ahead",
        id=f"samples-{slug}-ahead",
        statement="On equal sets of labelled sequences a model that was pre-trained on masked leaves is more accurate than one "
        "from "
        "random weights, fine-tuned and frozen, at every size that both have.",
        reference="the paper: masked pre-training cuts P* strongly, frozen or free",
        measured="accuracy less that from random weights\n"
        + "\n".join(f"{name}: {_by_size(found)}" for name, found in leads.items())
        + f"\nn = {n:,} test sequences, paired seeds, one encoder",
        control=f"always naming the likeliest root: {scratch.chance:.2f}",
        numbers={
            "lead_low": [float(lead.low) for found in leads.values() for lead in found.values()],
            "fewest_seeds": fewest_seeds([scratch, *pretrained]),
        },
        figure=f"fig-samples-{slug}",
    )


def _by_size(leads: dict[int, Interval]) -> str:
    return ", ".join(f"{size:,} {interval_text(lead)}" for size, lead in leads.items())


def _factor(scratch: Curve, pretrained: Curve) -> Interval | None:
    """How many times as many sequences are needed from random weights, over paired seeds; None where one never arrives.

    From random weights a seed that never arrives needs more than its largest set, so that the factor is no smaller than said.
    """
    above, below = scratch.log_needed(), pretrained.log_needed()
    seeds = [seed for seed in above if seed in below]
    if not seeds or any(np.isnan(below[seed]) for seed in seeds):
        return None
    longest = np.log2(scratch.sizes[-1])
    found = seed_mean(np.array([(longest if np.isnan(above[seed]) else above[seed]) - below[seed] for seed in seeds]))
    return Interval(*(np.asarray(np.exp2(end)) for end in (found.mean, found.low, found.high)), n=len(seeds))

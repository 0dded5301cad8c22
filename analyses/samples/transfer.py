"""How many labelled sequences does pre-training on masked leaves spare, with the encoder fine-tuned or frozen?"""

from __future__ import annotations

import numpy as np

from analyses.samples.curves import Curve, Exam
from mechbp.divergence import kl_nats
from mechbp.hooks import capture
from mechbp.methods.readout import read_out
from mechbp.models.build import HookedTransformer
from mechbp.models.runs import Run
from mechbp.models.training_set import training_set
from mechbp.report.document import Claim, FigureData, Section
from mechbp.study import Study

LAST = "ln_final.hook_normalized"
"""What a read-out of the encoder sees: the residual stream after the last block, normalised as for the unembedding."""
FROZEN_SIZES = (2**9, 2**11, 2**13)
SPARED = 2.0
"""Pre-training helps if it cuts the sequences needed at least by this factor."""
BATCH = 1024


def study_transfer(study: Study, encoder: Run, scratch: Curve, tuned: Curve | None, exam: Exam) -> tuple[list[Claim], Section]:
    """Compare the root read from a pre-trained encoder with training from scratch, on the same fixed training sets."""
    curves = [scratch, *([tuned] if tuned else [])]
    sources = {
        f"frozen {encoder.name}": lambda tokens: _last(encoder.model, tokens),
        "frozen random weights": lambda tokens: _last(encoder.untrained(seed=1), tokens),
        "tokens alone": lambda tokens: np.eye(exam.process.vocab_size)[tokens],
    }
    sizes = FROZEN_SIZES[: study.size(len(FROZEN_SIZES), 2)]
    frozen = [_frozen(study, name, features, sizes, scratch, exam) for name, features in sources.items()]
    text = (
        f"The encoder `{encoder.name}` has seen masked leaves only, never a root. Fine-tuned, it is given a query token for the "
        "root, and all of its weights are trained on the labelled set. Frozen, its last activations at all leaves, side by side, "
        "are read by one softmax classifier, as in the paper; a query token cannot gather through weights that never learnt "
        "to serve it.",
        "Training from scratch and fine-tuning stop early on 512 further sequences; the classifier chooses its penalty within "
        "the labelled set.",
    )
    figure = FigureData(
        id="fig-samples-transfer",
        kind="lines",
        title="Root accuracy against labelled sequences: from scratch and pre-trained",
        caption=f"Expected accuracy on {len(exam.tokens):,} unseen sequences; line: mean over training sets, band: lowest and "
        f"highest of them. Standard error over test sequences at most {max(c.error for c in curves + frozen):.3f}.",
        alt="Pre-trained encoders need fewer labelled sequences; a frozen random encoder and tokens alone stay low.",
        data={
            "x_title": "labelled training sequences",
            "x_log": True,
            "y_title": "root accuracy",
            "y_range": [0.2, 1.02],
            "series": [
                *(curve.series(curve.accuracy, color=i) for i, curve in enumerate([*curves, frozen[0]])),
                *(curve.series(curve.accuracy, color=5 + i, control=True) for i, curve in enumerate(frozen[1:])),
            ],
            "references": [{"name": "BP_0", "y": exam.best}],
        },
    )
    claim = _claim(scratch, tuned, frozen, len(exam.tokens))
    return [claim], Section("transfer", "What pre-training on masked leaves spares", text, (figure,))


def _last(model: HookedTransformer, tokens: np.ndarray) -> np.ndarray:
    """The encoder's last activations of unmasked leaves, [n, leaf, d]."""
    parts = [capture(model, tokens[i : i + BATCH], [LAST])[LAST].numpy() for i in range(0, len(tokens), BATCH)]
    return np.concatenate(parts)


def _frozen(study: Study, name: str, features, sizes: tuple[int, ...], scratch: Curve, exam: Exam) -> Curve:
    unseen = features(exam.tokens)
    seeds = range(study.size(2, 1))
    scores = np.full((3, len(sizes), len(seeds)), np.nan)
    for i, size in enumerate(sizes):
        for seed in seeds:
            study.stage(f"{name}: read-out of {size:,} sequences")
            labelled = training_set(exam.process, seed, size)
            found = read_out(features(labelled.tokens), labelled.root, unseen, exam.process.vocab_size)
            answers = found.probabilities[:, None]
            hits = exam.hits(answers)
            scores[:, i, seed] = hits.mean(), kl_nats(exam.exact, answers).mean(), hits.std() / np.sqrt(len(hits))
    return Curve(name, sizes, scores[0], scores[1], np.full_like(scores[1], np.nan), exam.best, scratch.chance, scores[2].max())


def _claim(scratch: Curve, tuned: Curve | None, frozen: list[Curve], n: int) -> Claim:
    pre_trained = [*([tuned] if tuned else []), frozen[0]]
    needed = {curve.name: curve.needed() for curve in (scratch, *pre_trained)}
    spared = [_factor(needed[scratch.name], scratch.sizes[-1], needed[curve.name]) for curve in pre_trained]
    lines = [f"{name}: {'not reached at ' + f'{c.sizes[-1]:,}' if at is None else f'{at:,.0f} sequences'}"
             for (name, at), c in zip(needed.items(), (scratch, *pre_trained), strict=True)]  # fmt: skip
    smallest = ", ".join(f"{curve.name} {curve.mean[0]:.2f}" for curve in (scratch, *pre_trained))
    right = [factor is not None and factor >= SPARED for factor in spared]
    return Claim(
        id="samples-transfer",
        statement=f"Pre-training on masked leaves cuts the labelled sequences that the root needs by a factor of {SPARED:g} or "
        "more, with the encoder fine-tuned and with it frozen.",
        reference="the paper: masked pre-training cuts P* strongly, frozen or free",
        measured="sequences needed for 95 % of the way to the optimum\n"
        + "\n".join(lines)
        + f"\naccuracy at {scratch.sizes[0]:,}: {smallest}\nn = {n:,} test sequences, {scratch.accuracy.shape[1]} training sets",
        control="at the largest set: " + ", ".join(f"{curve.name} {curve.mean[-1]:.2f}" for curve in frozen[1:]),
        verdict="holds" if all(right) and tuned else "partly" if any(right) else "fails",
        figure="fig-samples-transfer",
    )


def _factor(scratch: float | None, largest: int, needed: float | None) -> float | None:
    """By how much fewer; at least, where scratch does not reach the optimum."""
    return None if needed is None else (largest if scratch is None else scratch) / needed

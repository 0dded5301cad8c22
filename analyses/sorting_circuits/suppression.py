"""What a suppressing head does: it is taken away, turned round, and cut down to suppression, and so is the copying head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from analyses.shared.sorter import Sorter
from mechbp.methods.circuits.decompose import decompose
from mechbp.methods.circuits.kept_diagonal import kept_logits
from mechbp.methods.patching.ablate import Mean
from mechbp.methods.statistics.confidence import Reliability, calibration_gain, reliability
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.study import Study
from mechbp.theory.sorting.answer_scores import answer_measures
from mechbp.theory.sorting.head_ablation import STAND_INS, SignFlip, StandIn, ablated_forward
from mechbp.theory.sorting.rollout import Forward, asked_logits, emitted_tokens
from mechbp.theory.sorting.suppression_ablation import suppression_forward

LISTS, QUICK_LISTS = 400, 150
ROLLED = 100
"""Lists that are also sorted with the model going on from its own answers."""
AS_IT_IS = "as it is"
ROLES = ("suppressor", "copier")
JUDGED = "mean"
"""The stand-in that criteria are about: the head keeps its mean, so that only what varies is taken away."""
MEASURES = ("accuracy", "cross_entropy_nats", "entropy_nats", "confidence")
LIST_MEASURES = ("list_accuracy", "rolled_out")
SOURCES = ("answer", "anywhere")


@dataclass(frozen=True, eq=False)
class Suppression:
    """What one run's answers are without parts of its suppressor and its copier; intervals are over lists."""

    sorter: Sorter
    heads: dict[str, int]
    """Suppressor and copier."""
    counted: Bool[np.ndarray, " value"]
    """Answers that the numbers are about: all, or the values that one head copies and the other suppresses."""
    table: dict[str, dict[str, Interval]]
    """By edit, such as "suppressor, mean": measures; whole lists only where all answers count."""
    changes: dict[str, dict[str, Interval]]
    """The same less the model as it is, list by list."""
    calibration: dict[str, Reliability]
    """By edit, of those that criteria are about."""
    gain: Interval
    """Calibration error without the suppressor less that with it."""
    kept: dict[str, Interval]
    """By sources of attention that are kept: share of the suppressor's effect on entropy that suppression alone leaves."""
    by_value: Interval
    """Change of entropy without the suppressor, by right answer."""
    by_gap: Interval
    """The same by distance of the right answer from the value before it."""

    @property
    def whole(self) -> bool:
        """Whether all answers count."""
        return bool(self.counted.all())


def suppression(study: Study, sorter: Sorter) -> Suppression:
    """Take parts of a suppressor and a copier away; answers count where the two oppose each other, unless that is the label."""
    study.stage(f"{sorter.name}: copy suppression")
    pair = sorter.modes.best
    assert pair is not None, f"{sorter.name} has one head"
    heads = {"suppressor": pair.heads[1], "copier": pair.heads[0]}
    opposed = sorter.modes.copies[heads["copier"]] & sorter.modes.suppresses[heads["suppressor"]]
    counted = opposed if sorter.label == "both" else np.ones_like(opposed)
    n = study.size(LISTS, QUICK_LISTS)
    tokens = sorter.lists(study, "suppression", n)
    reference = sorter.lists(study, "suppression means", n)
    draw = study.rng(sorter.name, "suppression")
    truth = tokens[:, sorter.process.length + 1 :]
    forwards = _ablations(sorter, heads, reference)
    for sources in SOURCES:
        forwards[f"suppression left, {sources}"] = suppression_forward(
            sorter.model, sorter.process, [heads["suppressor"]], Mean(reference), sources=sources
        )
    logits = {
        edit: asked_logits(run, sorter.model, sorter.process, tokens) for edit, run in forwards.items()
    } | _kept_parts(sorter, heads, tokens)  # fmt: skip
    answers = {edit: answer_measures(found, truth) for edit, found in logits.items()}
    mask = counted[truth]
    table, changes = _summaries(answers, mask, draw)
    if counted.all():
        for edit, found in _whole_lists(sorter, forwards, tokens, answers, draw).items():
            table[edit] |= found
    without = f"suppressor, {JUDGED}"
    confident = {edit: (answers[edit]["confidence"], answers[edit]["accuracy"] == 1) for edit in (AS_IT_IS, without)}
    entropy = {edit: np.where(mask, found["entropy_nats"], 0).sum(axis=1) for edit, found in answers.items()}
    shift = answers[without]["entropy_nats"] - answers[AS_IT_IS]["entropy_nats"]
    gaps = np.diff(truth, axis=1, prepend=-1)
    gaps[:, 0] = -1  # the first answer of a list has no value before it
    return Suppression(
        sorter=sorter,
        heads=heads,
        counted=counted,
        table=table,
        changes=changes,
        calibration={edit: reliability(*found, draw, counted=mask) for edit, found in confident.items()},
        gain=calibration_gain(*confident[AS_IT_IS], *confident[without], draw, counted=mask),
        kept={
            sources: bootstrap_ratio(
                entropy[f"suppression left, {sources}"] - entropy[without], entropy[AS_IT_IS] - entropy[without], draw
            )
            for sources in SOURCES
        },
        by_value=_by_group(shift, truth, sorter.process.vocab_size, draw),
        by_gap=_by_group(shift, gaps, sorter.process.vocab_size, draw),
    )


def _ablations(sorter: Sorter, heads: dict[str, int], reference: Int[np.ndarray, "m position"]) -> dict[str, Forward]:
    """The model as it is, and without each of the two heads by every stand-in."""
    stand_ins: dict[str, StandIn] = dict(zip(STAND_INS, ("zero", Mean(reference), SignFlip(reference)), strict=True))
    found = {AS_IT_IS: ablated_forward(sorter.model, sorter.process, (), "zero")}
    for role in ROLES:
        for name, stand_in in stand_ins.items():
            found[f"{role}, {name}"] = ablated_forward(sorter.model, sorter.process, (heads[role],), stand_in)
    return found


def _kept_parts(
    sorter: Sorter, heads: dict[str, int], tokens: Int[np.ndarray, "n position"]
) -> dict[str, Float64[np.ndarray, "n asked output"]]:
    """Logits with only the diagonal of a head's OV, or only the rest of it."""
    length = sorter.process.length
    parts = decompose(sorter.model, tokens[:, :-1], range(length, 2 * length))
    return {
        f"{role}, {kept}, {scale}": logits
        for role in ROLES
        for (kept, scale), logits in kept_logits(parts, heads[role]).items()
    }  # fmt: skip


def _summaries(
    answers: dict[str, dict[str, np.ndarray]], mask: Bool[np.ndarray, "n asked"], draw: np.random.Generator
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Interval]]]:
    """Means over counted answers of every edit, and their changes, all from the same resamples."""
    sums = np.stack([np.stack([(found[name] * mask).sum(axis=1) for name in MEASURES], axis=1) for found in answers.values()], 1)
    counts = mask.sum(axis=1).astype(np.float64)
    means = bootstrap_ratio(sums, counts, draw)
    changes = bootstrap_ratio(sums - sums[:, :1], counts, draw)
    tables = [
        {edit: {name: found[row, column] for column, name in enumerate(MEASURES)} for row, edit in enumerate(answers)}
        for found in (means, changes)
    ]
    return tables[0], tables[1]


def _whole_lists(
    sorter: Sorter,
    forwards: dict[str, Forward],
    tokens: Int[np.ndarray, "n position"],
    answers: dict[str, dict[str, np.ndarray]],
    draw: np.random.Generator,
) -> dict[str, dict[str, Interval]]:
    """Shares of lists without a wrong answer, teacher forced and, of the first ROLLED, rolled out, of the edits that matter."""
    length = sorter.process.length
    found = {}
    for edit in (AS_IT_IS, *(f"{role}, {name}" for role in ROLES for name in ("zero", JUDGED))):
        run = forwards[edit]
        emitted = emitted_tokens(run, sorter.model, sorter.process, tokens[:ROLLED, :length])
        right = (emitted == tokens[:ROLLED, length + 1 :]).all(axis=1).astype(np.float64)
        forced = answers[edit]["accuracy"].min(axis=1)
        found[edit] = dict(zip(LIST_MEASURES, (bootstrap_mean(forced, draw), bootstrap_mean(right, draw)), strict=True))
    return found


def _by_group(
    values: Float64[np.ndarray, "n asked"], group: Int[np.ndarray, "n asked"], n_groups: int, draw: np.random.Generator
) -> Interval:
    """Means over the answers of each group, NaN where there are none."""
    member = (group[..., None] == np.arange(n_groups)).astype(np.float64)
    return bootstrap_ratio(np.einsum("na,nag->ng", values, member), member.sum(axis=1), draw, resamples=500)

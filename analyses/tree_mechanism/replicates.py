"""The same messages over training seeds and under another objective: tested where they are judged, and no further."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyses.tree_mechanism.criteria import CRITERIA
from analyses.tree_mechanism.message_claims import counts, idle_claim, later_shares, level_name, used_claim
from analyses.tree_mechanism.message_grid import ROTATION, MessageGrid
from analyses.tree_mechanism.messages import fit_handles, probed_stages, study_messages
from mechbp.divergence import kl_nats
from mechbp.errors import TooFewSequences
from mechbp.figures.intervals import points
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.intervals import bootstrap_mean, bootstrap_ratio, seed_mean
from mechbp.models.forward import answers
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, listed, reason
from mechbp.study import Findings, Study
from mechbp.theory.tree.leaves import own_nodes

ORACLES = ("bp0", "bp1")


def study_brief(study: Study, run: Run) -> MessageGrid:
    """Return upward messages tested at the writing stage, on pairs that hide as many leaves as the run's training does.

    Raises TooFewSequences where no depth has enough pairs, or too few sequences can be probed.
    """
    process = run.process
    study.stage(f"{run.name}: probes of upward messages")
    sample = process.sample(study.size(4000, 600), study.rng(run.name, "probes"))
    evidence = training_evidence(run.config.objective, process, sample.tokens, study.rng(run.name, "masks"))
    beliefs = process.beliefs(evidence)
    targets = {f"upward {d}": beliefs.upward[d] for d in process.depths}
    inputs = run.task.inputs(process, evidence)
    read = probe(
        run.model, inputs, targets, probed_stages(run), rng=study.rng(run.name, "probe"), controls=(), only_own=True,
        own=own_nodes(targets, process.n_leaves, inputs.shape[1]), resamples=100,
    )  # fmt: skip
    handles = fit_handles(study, run, ("upward",))
    one_mask = run.config.objective.mask == "single"
    return study_messages(study, run, read, "upward", handles, brief=True, one_mask=one_mask)


def study_replicates(study: Study, grids: dict[str, MessageGrid], same: Sequence[str], other: Sequence[str]) -> Findings:
    """Return the claims over runs, then those of each; `same` names runs that differ in their seed, `other` other objectives.

    The first of `same` is the run that the page studies in full.
    """
    claims = []
    lines = [_distance(study, grids[name].run) for name in (*same, *other)]
    if len(same) > 1:
        claims += [_seeds_used(study, [grids[name] for name in same]), _seeds_idle(study, [grids[name] for name in same])]
    figures = [_figure(study, [grids[name] for name in (*same, *other)])]
    text = [
        f"{listed(list(same))} differ in their training seed"
        + (" and in how long they were trained." if not _equally_trained([grids[name].run for name in same]) else ".")
        + " Messages are tested where the construction has them, each learned subspace three times.",
        "How near each run comes to exact inference, on sequences masked as in its training: " + "; ".join(lines) + ".",
    ]
    for name in other:
        study.stage(f"{same[0]}: messages, one mask")
        try:
            claims.append(_objective_claim(study, grids[same[0]], grids[name]))
        except TooFewSequences as error:
            figures.append(FigureData(f"fig-{name}-one-mask", "bars", name, "", "", status="skipped", reason=reason(error)))
            continue
        text.append(
            f"{name} was trained on one hidden leaf per sequence, the others on several; its pairs hide the leaf that is asked "
            "for and no other. The comparison of objectives is on these pairs for both runs."
        )
    for name in (*same[1:], *other):
        claims += [used_claim(study, grids[name].run, grids[name]), idle_claim(study, grids[name].run, grids[name])]
    return claims, [Section("replicates", "Other training seeds, and another objective", tuple(text), tuple(figures))]


def _seeds_used(study: Study, grids: Sequence[MessageGrid]) -> Claim:
    """The page's first claim over training seeds: Student's t over the runs, depth by depth."""
    depths = _common(grids)
    present, used, necessary = [], [], []
    for d in depths:
        present.append(min(float(g.present.mean[g.chosen[d], g.depths.index(d)]) for g in grids))
        used.append(seed_mean(np.array([float(g.beyond_deletion(study, d, ROTATION).mean) for g in grids])))
        necessary.append(seed_mean(np.array([float(g.necessary(study, d)[1].mean) for g in grids])))
    run = grids[0].run
    return CRITERIA.claim(
        "seeds-used",
        id=f"{run.name}-seeds-message-used",
        statement=f"Over training seeds of {run.name}, after block m the upward message m levels up can be read, is obeyed when "
        "written, beyond what deletion explains, and is missed when erased, beyond what any rival account explains.",
        reference="the paper's construction",
        measured="\n".join(
            [
                f"mean over {len(grids)} training seeds, Student's t interval:",
                *(
                    f"{level_name(run, d)}: present at least {r:.2f}, used {estimate(u, 2)}, necessary {estimate(n, 2)}"
                    for d, r, u, n in zip(depths, present, used, necessary, strict=True)
                ),
                counts(grids[0]),
            ]
        ),
        control="each run by itself, with its controls, below",
        numbers={
            "seeds": float(len(grids)),
            "equally_trained": _equally_trained([grid.run for grid in grids]),
            "present": present,
            "used_low": [float(u.low) for u in used],
            "necessary_low": [float(n.low) for n in necessary],
        },
        figure="fig-message-runs",
    )


def _seeds_idle(study: Study, grids: Sequence[MessageGrid]) -> Claim:
    """Whether messages are idle after the block that reads them, over training seeds."""
    run = grids[0].run
    found = [later_shares(study, grid.run, grid) for grid in grids]
    depths = [d for d in found[0] if all(d in shares for shares in found)]
    later = {d: seed_mean(np.array([float(shares[d].mean) for shares in found])) for d in depths}
    numbers = {
        "seeds": float(len(grids)),
        "equally_trained": _equally_trained([grid.run for grid in grids]),
        "later_high": [float(share.high) for share in later.values()],
    }
    return CRITERIA.claim(
        "seeds-idle",
        id=f"{run.name}-seeds-message-idle",
        statement=f"Over training seeds of {run.name} a message is read in one block: one block later the vectors below its node "
        f"explain less than {CRITERIA['seeds-idle'].bounds['idle']} of what the message changes.",
        reference="the paper's construction: block m + 1 reads the message m levels up",
        measured=f"whole vectors, mean over {len(grids)} training seeds, Student's t interval:\n"
        + "\n".join(f"{level_name(run, d)}: {estimate(share, 2)}" for d, share in later.items()),
        control="each run by itself, below",
        numbers=numbers if later else None,
        figure="fig-message-runs",
    )


def _objective_claim(study: Study, full: MessageGrid, other: MessageGrid) -> Claim:
    """Both runs on the same pairs of one hidden leaf, the highest message that either holds."""
    run, against = other.run, full.run
    grid = _on_one_mask(study, full)
    depth = min(_common([grid, other]))
    rng = study.rng(run.name, "objective", depth)
    rival = other.pairs[depth].deletion_kl_nats
    kl = [np.mean([refit.learnt.target_kl_nats[ROTATION] for refit in g.refits[depth]], axis=0) for g in (grid, other)]
    less = bootstrap_ratio(kl[1] - kl[0], rival, rng)
    lines = [
        f"{level_name(run, d)}: {against.name} {estimate(grid.beyond_deletion(study, d, ROTATION), 2)}, "
        f"{run.name} {estimate(other.beyond_deletion(study, d, ROTATION), 2)}"
        for d in _common([grid, other])
    ]
    return CRITERIA.claim(
        "objective-matters",
        id=f"{run.name}-objective-matters",
        statement=f"What is used depends on the objective: the message {level_name(run, depth)} is obeyed less in {run.name}, "
        f"trained on one hidden leaf, than in {against.name}, trained on several, on the same pairs.",
        reference="no published comparison; one run of each objective",
        measured="\n".join(["(share - deletion) / (1 - deletion), pairs that hide one leaf:", *lines, counts(other)]),
        control=f"{level_name(run, depth)}, paired difference: {estimate(less, 2)}",
        numbers={"pairs": [len(other.pairs[depth])], "less_low": float(less.low)},
        figure="fig-message-runs",
    )


def _on_one_mask(study: Study, full: MessageGrid) -> MessageGrid:
    """The run's messages on the pairs of models that are trained on one hidden leaf; what probes read is not asked again."""
    handles = fit_handles(study, full.run, ("upward",))
    return study_messages(study, full.run, None, "upward", handles, brief=True, one_mask=True)


def _distance(study: Study, run: Run) -> str:
    """KL(BP || model) to exact inference that knows the whole tree, and all but its top level, at hidden leaves."""
    process, n = run.process, study.size(2000, 200)
    rng = study.rng(run.name, "distance")
    tokens = training_evidence(run.config.objective, process, process.sample(n, rng).tokens, rng)
    hidden = tokens == process.mask_token
    says = answers(run.model, run.task.inputs(process, tokens))
    found = {}
    for name in ORACLES:
        exact = run.task.oracles(process)[name].beliefs(tokens).marginals[process.depth]
        found[name] = bootstrap_mean((kl_nats(exact, says) * hidden).sum(axis=1) / hidden.sum(axis=1), rng)
    shown = " and ".join(f"{estimate(found[name], 3)} from {name.upper().replace('BP', 'BP_')}" for name in ORACLES)
    return f"{run.name} ({run.steps[-1]:,} steps) {shown} nats"


def _figure(study: Study, grids: Sequence[MessageGrid]) -> FigureData:
    """Used and necessary, run by run."""
    depths = _common(grids)
    series = []
    for grid in grids:
        used = [grid.beyond_deletion(study, d, ROTATION) for d in depths]
        missed = [grid.necessary(study, d)[1] for d in depths]
        for what, values in (("used", used), ("necessary", missed)):
            series.append({"name": f"{grid.run.name}, {what}", **points(values, "x"), "control": what == "necessary"})
    return FigureData(
        id="fig-message-runs",
        kind="dots",
        title="Messages used and necessary, run by run",
        caption="Used, filled: (share - deletion) / (1 - deletion), 0 = the exact answer without the message, 1 = with it "
        "replaced. Necessary, hollow: the same when the message is erased, 0 = the rival account that comes nearest. 95 % "
        "intervals over pairs and refits.",
        alt="Dots by level: how far each run's answers are beyond the rival, written and erased.",
        data={
            "x_title": "beyond the rival",
            "categories": [level_name(grids[0].run, d) for d in depths],
            "series": series,
        },
    )


def _common(grids: Sequence[MessageGrid]) -> list[int]:
    return [d for d in grids[0].depths if all(d in grid.depths for grid in grids)]


def _equally_trained(runs: Sequence[Run]) -> bool:
    return len({(run.steps[-1], run.config.training.batch_size) for run in runs}) == 1

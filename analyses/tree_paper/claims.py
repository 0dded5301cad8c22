"""What the measurements say of the page's claims, run by run."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyses.tree_paper.criteria import CRITERIA
from analyses.tree_paper.looking import CONSTRUCTION, RELABELLED, UNIFORM, Looking, merged_name
from analyses.tree_paper.measurements import Measured
from analyses.tree_paper.messages import LEARNED, MEANS, PLACEBO, SHUFFLED
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate
from mechbp.study import Study

DIRECTIONS = ("KL(BP || model)", "KL(model || BP)")


def answer_claims(measured: Measured) -> list[Claim]:
    """Return the claims about a run's answers."""
    found, name, level = measured.answers, measured.run.name, measured.answers.level
    own = found.oracle_to_model_nats[level]
    gap = found.gap[level]
    return [
        CRITERIA.claim(
            "exact",
            id=f"{name}-exact",
            statement=f"{name} gives the exact posterior: KL(BP_{level} || model) at most "
            f"{CRITERIA['exact'].bounds['close_nats']} nats, accuracy within {CRITERIA['exact'].bounds['gap']:.0%} of BP's.",
            reference="the paper: its models reach BP's accuracy",
            measured=f"KL {estimate(own, 4, 'nats')}\naccuracy below BP's by {estimate(gap, 4)}\nn = {own.n:,} sequences",
            control=f"random weights: KL {found.untrained_nats:.2f} nats",
            numbers={"kl_high_nats": own.high, "gap_high": gap.high},
            figure="fig-divergence",
        ),
        CRITERIA.claim(
            "nearest",
            id=f"{name}-nearest",
            statement=f"Of all oracles, {name} is nearest to that of its own data, BP_{level}, by either direction of the KL.",
            reference="the paper: small divergence from BP_k",
            measured=_leads(found.nearest, found.lead) + f"\nn = {own.n:,} sequences",
            control="the runner-up oracle",
            numbers=_led(found.nearest, found.lead, level),
            figure="fig-divergence",
        ),
        CRITERIA.claim(
            "mismatched",
            id=f"{name}-mismatched",
            statement=f"On data of every other filter level {name} is nearer to BP_{level}, the oracle of its training data, "
            "than to the oracle of the data that it sees.",
            reference="the paper: models land on the mismatched oracle of their training data",
            measured="KL(model || BP_j) - KL(model || BP_k), nats, on data of level j:\n"
            + "\n".join(f"j = {j}: {estimate(margin, 3)}" for j, margin in found.margins.items())
            + f"\nn = {own.n:,} sequences per level",
            control="the oracle of the data",
            numbers={"margin_low": [margin.low for margin in found.margins.values()]},
            figure="fig-accuracy",
        ),
    ]


def mechanism_claims(study: Study, measured: Measured, slug: str) -> list[Claim]:
    """Return the claims about how a run computes its answers."""
    claims = [_levels_claim(study, measured, slug)]
    if measured.messages:
        claims += [_used_claim(study, measured, slug), _necessary_claim(study, measured, slug)]
        claims += [_static_claim(study, measured, slug), _merging_claim(study, measured, slug)]
        claims += [_construction_claim(study, measured, slug)] if CONSTRUCTION in measured.looking.answers else []
    if measured.probes is not None:
        claims.append(_probe_claim(measured, slug))
    return claims


def below(study: Study, looking: Looking, name: str, other: str) -> Interval:
    """Return how much less one replacement costs than another, nats."""
    return bootstrap_mean(looking.loss(other) - looking.loss(name), study.rng("below", name, other))


def steps(study: Study, looking: Looking, depth: int) -> dict[str, Interval]:
    """Return, per level merged into those above it, what merging it costs beyond merging those above alone, nats."""
    losses = {kept: looking.loss(merged_name(kept)) for kept in range(depth - 1, -2, -1)}
    found = {}
    for kept in range(depth - 1, -1, -1):
        name = f"level {kept}" if kept else "itself"
        found[name] = bootstrap_mean(losses[kept - 1] - losses[kept], study.rng("step", kept))
    return found


def above_leaf(measured: Measured, depth: int) -> str:
    """Return where a node of this depth stands."""
    up = measured.run.process.depth - depth
    return f"{up} up" if up else "leaf"


def _used_claim(study: Study, measured: Measured, slug: str) -> Claim:
    tests = measured.messages
    means = [test.beyond(study, MEANS) for test in tests]
    shuffled, placebo = ([test.above(study, rival) for test in tests] for rival in (SHUFFLED, MEANS + PLACEBO))
    lines = []
    for test, share in zip(tests, means, strict=True):
        learned = f", learned {estimate(test.beyond(study, LEARNED), 2)}" if test.learned else ""
        lines.append(f"{above_leaf(measured, test.depth)}: means {estimate(share, 2)}{learned}")
    controls = [
        f"{above_leaf(measured, test.depth)}: shuffled messages less by {estimate(by, 2)}, placebo by {estimate(other, 2)}"
        for test, by, other in zip(tests, shuffled, placebo, strict=True)
    ]
    return CRITERIA.claim(
        "used",
        id=f"{measured.run.name}-used",
        statement=f"After block m, {measured.run.name} uses the upward message m levels up: written along its conditional means "
        "it is obeyed, beyond what losing the old message would do.",
        reference="the paper's construction; no published test intervenes on messages",
        measured="share beyond deletion (0: as exact inference without the message, 1: exact):\n"
        + "\n".join(lines)
        + _pairs(measured),
        control="\n".join(controls),
        numbers={
            "pairs": [len(test.pairs) for test in tests],
            "means_low": [share.low for share in means],
            "above_shuffled_low": [by.low for by in shuffled],
            "above_placebo_low": [by.low for by in placebo],
        },
        figure=f"fig-{slug}-written",
    )


def _necessary_claim(study: Study, measured: Measured, slug: str) -> Claim:
    tests = measured.messages
    obeyed, above = [test.obeyed(study) for test in tests], [test.obeyed_above_placebo(study) for test in tests]
    return CRITERIA.claim(
        "necessary",
        id=f"{measured.run.name}-necessary",
        statement=f"{measured.run.name} needs the message where it writes it: erased after block m, the answer is nearer to "
        "exact inference without the message than to that with it.",
        reference="no published test erases messages",
        measured="KL to BP with the message - KL to BP without it, nats:\n"
        + "\n".join(f"{above_leaf(measured, t.depth)}: {estimate(o, 2)}" for t, o in zip(tests, obeyed, strict=True))
        + _pairs(measured),
        control="more than after a random change of equal norm by, nats:\n"
        + "\n".join(f"{above_leaf(measured, t.depth)}: {estimate(a, 2)}" for t, a in zip(tests, above, strict=True)),
        numbers={
            "pairs": [len(test.pairs) for test in tests],
            "obeyed_low": [by.low for by in obeyed],
            "above_placebo_low": [by.low for by in above],
        },
        figure=f"fig-{slug}-erased",
    )


def _static_claim(study: Study, measured: Measured, slug: str) -> Claim:
    looking, depth = measured.looking, measured.run.process.depth
    static = looking.followed(study, merged_name(depth - 1))
    plain = looking.followed(study, "")
    loss = bootstrap_mean(looking.loss(merged_name(depth - 1)), study.rng("static"))
    return CRITERIA.claim(
        "static",
        id=f"{measured.run.name}-static",
        statement=f"With one pattern per level of the common ancestor in all blocks, {measured.run.name} still follows "
        f"BP_{looking.own_level}: what it looks at need not depend on what it reads.",
        reference="the paper shows mean maps and a construction whose patterns are fixed",
        measured=_leads(static.nearest, static.lead) + f"\nincrease of KL {estimate(loss, 3, 'nats')}\nn = {loss.n:,} sequences",
        control="unedited:\n" + _leads(plain.nearest, plain.lead),
        numbers=_led(static.nearest, static.lead, looking.own_level),
        figure=f"fig-{slug}-followed",
    )


def _merging_claim(study: Study, measured: Measured, slug: str) -> Claim:
    found = steps(study, measured.looking, measured.run.process.depth)
    uniform = bootstrap_mean(measured.looking.loss(UNIFORM), study.rng("uniform"))
    return CRITERIA.claim(
        "merging",
        id=f"{measured.run.name}-merging",
        statement=f"{measured.run.name} has to tell every level of the tree apart: merging any level of its static patterns into "
        "those above it costs more.",
        reference="the paper: attention forms blocks of about 2^(l - k) leaves",
        measured="cost of merging one more level, nats:\n"
        + "\n".join(f"{name}: {estimate(step, 3)}" for name, step in found.items())
        + f"\nn = {uniform.n:,} sequences",
        control=f"all merged, uniform attention: {estimate(uniform, 2, 'nats')}",
        numbers={"step_low_nats": [step.low for step in found.values()]},
        figure=f"fig-{slug}-replaced",
    )


def _construction_claim(study: Study, measured: Measured, slug: str) -> Claim:
    looking = measured.looking
    theory = looking.followed(study, CONSTRUCTION)
    relabelled, uniform = (below(study, looking, CONSTRUCTION, other) for other in (RELABELLED, UNIFORM))
    loss = bootstrap_mean(looking.loss(CONSTRUCTION), study.rng("construction"))
    return CRITERIA.claim(
        "construction",
        id=f"{measured.run.name}-construction",
        statement=f"With the construction's pattern in all blocks, {measured.run.name} still follows BP_{looking.own_level}.",
        reference="the paper offers the construction as an existence proof, not as what training finds",
        measured=_leads(theory.nearest, theory.lead) + f"\nincrease of KL {estimate(loss, 3, 'nats')}\nn = {loss.n:,} sequences",
        control=f"leaves relabelled: more by {estimate(relabelled, 2, 'nats')}\nuniform: more by {estimate(uniform, 2, 'nats')}",
        numbers=_led(theory.nearest, theory.lead, looking.own_level)
        | {"below_relabelled_low": relabelled.low, "below_uniform_low": uniform.low},
        figure=f"fig-{slug}-followed",
    )


def _levels_claim(study: Study, measured: Measured, slug: str) -> Claim:
    looking = measured.looking
    rises = looking.rises(study)
    return CRITERIA.claim(
        "levels",
        id=f"{measured.run.name}-levels",
        statement=f"Attention of {measured.run.name} climbs the tree: each block looks farther up than the one before.",
        reference="the paper: levels climbed layer by layer",
        measured="mean level of the common ancestor, block by block:\n"
        + ", ".join(f"{level:.2f}" for level in looking.mass.mean_level)
        + "\nrises: "
        + ", ".join(estimate(rises[i], 2) for i in range(len(rises.mean)))
        + f"\nn = {rises.n:,} sequences",
        control="random weights:\n" + ", ".join(f"{level:.2f}" for level in looking.control.mean_level),
        numbers={"rise_low": rises.low},
        figure=f"fig-{slug}-mass",
    )


def _probe_claim(measured: Measured, slug: str) -> Claim:
    written = measured.written
    assert measured.probes is not None
    highest = max(
        float(np.nanmax(measured.probes.own_mean("r2", f"upward {measured.run.process.depth - height}", "random_init").mean))
        for height in written
    )
    rises = [f"{height} up: block {block} ({before:.2f} to {after:.2f})" for height, (block, before, after) in written.items()]
    return CRITERIA.claim(
        "probe-order",
        id=f"{measured.run.name}-probe-order",
        statement=f"Block m of {measured.run.name} writes the upward message m levels up: its R² rises most there.",
        reference="the paper: layer m knows ancestors up to m levels above the leaf",
        measured="largest rise of R²:\n" + "\n".join(rises) + f"\nn = {measured.probes.n_test:,} held-out sequences",
        control=f"largest R² of random weights {highest:.2f}",
        numbers={"heights": list(written), "blocks": [block for block, _, _ in written.values()]},
        figure=f"fig-{slug}-probes",
    )


def _pairs(measured: Measured) -> str:
    sizes = sorted({len(test.pairs) for test in measured.messages})
    return "\nn = " + (f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}") + " held-out pairs per depth"


def _leads(nearest: tuple[int, int], lead: tuple[Interval, Interval]) -> str:
    return "\n".join(
        f"{direction}: nearest BP_{level}, ahead by {estimate(by, 3, 'nats')}"
        for direction, level, by in zip(DIRECTIONS, nearest, lead, strict=True)
    )


def _led(nearest: tuple[int, int], lead: tuple[Interval, Interval], own_level: int) -> dict[str, Any]:
    return {"nearest": list(nearest), "own_level": own_level, "lead_low": [by.low for by in lead]}

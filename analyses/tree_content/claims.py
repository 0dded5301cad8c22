"""What attention has to depend on: verdicts over all runs of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from analyses.tree_content.criteria import CRITERIA
from analyses.tree_content.measurements import Measured
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.claim import Claim
from mechbp.report.parts import estimate

ENOUGH = "query's message, keys' leaves"
COARSER = ("nothing", "query's message", "keys' message", "both messages", "keys' leaves")
"""Matchings that share less than ENOUGH, none of which shares both the query's message and anything below the keys' message."""


def claims_of(measured: Sequence[Measured]) -> list[Claim]:
    """Return the claims of the page, each over all runs."""
    claims = (_static, _matching, _messages, _children, _leaf, _row, _carries, _informative, _untelling, _avoids)
    return [claim(measured) for claim in claims]


def _lines(measured: Sequence[Measured], line: Callable[[Measured], str]) -> str:
    return "\n".join(f"{m.run.name}: {line(m)}" for m in measured) + f"\nn = {len(measured[0].unedited):,} sequences per run"


def _low(intervals: Iterable[Interval]) -> list[float]:
    return [float(interval.low) for interval in intervals]


def _static(measured: Sequence[Measured]) -> Claim:
    kinds = [name for name in measured[0].leads if name != "as it is"]
    static = [(m, m.leads[kind]) for m in measured for kind in kinds]

    def line(m: Measured) -> str:
        return "; ".join(
            f"{name} " + " and ".join(f"BP_{k}" for k in dict.fromkeys(lead.nearest)) for name, lead in m.leads.items()
        )

    return CRITERIA.claim(
        "static",
        id="content-static",
        statement="With static attention in all blocks, averaged by level or the mean pattern, a masked model no longer answers "
        "like the oracle of its own level k but like BP_(k+1) or BP_(k+2): it loses the top one or two levels of the tree.",
        reference="no published reference; the paper's construction needs static attention only",
        measured="nearest oracle by KL(BP_j || model) and KL(model || BP_j)\n" + _lines(measured, line),
        control="each model as it is, the first entry of its line",
        numbers={
            "lead_high": [lead.high for _, lead in static],
            "fewest_lost": [min(lead.nearest) - m.own for m, lead in static],
            "most_lost": [max(lead.nearest) - m.own for m, lead in static],
        },
        figure="fig-content-oracles",
    )


def _matching(measured: Sequence[Measured]) -> Claim:
    enough = [m.cost(m.matched[ENOUGH]) for m in measured]
    rivals = [min(_low(m.cost(m.matched[name]) for name in COARSER)) for m in measured]
    ahead = [min(_low(m.cost(m.matched[name], m.matched[ENOUGH]) for name in COARSER)) for m in measured]
    small = CRITERIA["matching"].bounds["small"]

    def line(m: Measured) -> str:
        cheapest = min(COARSER, key=lambda name: float(m.cost(m.matched[name]).mean))
        costs = [estimate(m.cost(m.matched[name]), 4) for name in (ENOUGH, cheapest)]
        return f"{costs[0]}; the cheapest of less ({cheapest}) {costs[1]}"

    return CRITERIA.claim(
        "matching",
        id="content-matching",
        statement="The hidden leaf's attention in block m depends on two things: the upward message of its own subtree, and the "
        "leaves of the sibling subtree that the block reads. Rows from sequences that share these cost at most "
        f"{small:g} of what rows cost that share less.",
        reference="no published reference",
        measured="increase of KL(BP || model), nats\n" + _lines(measured, line),
        control="donors that share nothing: " + ", ".join(f"{float(m.cost(m.matched['nothing']).mean):.3f}" for m in measured),
        numbers={"enough_high": [float(c.high) for c in enough], "rival_low": rivals, "ahead_low": ahead},
        figure="fig-content-matching",
    )


def _messages(measured: Sequence[Measured]) -> Claim:
    both = [m.cost(m.matched["both messages"]) for m in measured]
    nothing = [m.cost(m.matched["nothing"]) for m in measured]
    helps = [m.cost(m.matched["nothing"], m.matched["both messages"]) for m in measured]
    small = CRITERIA["messages"].bounds["small"]
    return CRITERIA.claim(
        "messages",
        id="content-messages",
        statement="The hidden leaf's attention in block m depends on nothing but the two messages that belief propagation "
        f"combines there: rows from sequences that share both cost at most {small:g} of what rows cost that share nothing.",
        reference="what belief propagation would suggest: a block knows messages",
        measured="increase of KL(BP || model), nats, both messages shared\n"
        + _lines(measured, lambda m: estimate(m.cost(m.matched["both messages"]), 4)),
        control="nothing shared: " + ", ".join(estimate(cost, 3) for cost in nothing),
        numbers={
            "both_high": [float(cost.high) for cost in both],
            "nothing_low": _low(nothing),
            "helps_low": _low(helps),
        },
        figure="fig-content-matching",
    )


def _children(measured: Sequence[Measured]) -> Claim:
    name = "query's message, keys' children"
    return _paired(
        "children",
        measured,
        lambda m: m.cost(m.matched[name], m.matched[ENOUGH]),
        statement="On the keys' side attention depends on more than the two messages that make up the message it reads: rows "
        "that share these and the query's message cost more than rows that share the keys' leaves instead.",
        what="cost with the two messages shared, minus that with the leaves shared, nats",
        control="leaves shared: " + ", ".join(f"{float(m.cost(m.matched[ENOUGH]).mean):.4f}" for m in measured),
        figure="fig-content-matching",
    )


def _leaf(measured: Sequence[Measured]) -> Claim:
    return _paired(
        "leaf",
        measured,
        lambda m: m.cost(m.frozen["which leaf"], m.frozen["which level"]),
        statement="What content decides is which leaf of a subtree is read, more than which subtree: making the shares within "
        "levels static costs more than making the mass of the levels static.",
        what="cost of static shares within levels, minus that of static masses of levels, nats",
        control="masses static: " + ", ".join(estimate(m.cost(m.frozen["which level"]), 3) for m in measured),
        figure="fig-content-parts",
    )


def _row(measured: Sequence[Measured]) -> Claim:
    return _paired(
        "row",
        measured,
        lambda m: m.cost(m.frozen["hidden row"], m.frozen["other rows"]),
        statement="The hidden leaf needs its own pattern more than all other leaves need theirs: its row made static costs more "
        "than all other rows made static.",
        what="cost of the hidden leaf's static row, minus that of all other rows, nats",
        control="other rows static: " + ", ".join(estimate(m.cost(m.frozen["other rows"]), 3) for m in measured),
        figure="fig-content-parts",
    )


def _paired(
    key: str,
    measured: Sequence[Measured],
    difference: Callable[[Measured], Interval],
    *,
    statement: str,
    what: str,
    control: str,
    figure: str,
) -> Claim:
    """A claim that one edit costs more than its rival in every run."""
    found = [difference(m) for m in measured]
    by_run = {m.run.name: estimate(interval, 4) for m, interval in zip(measured, found, strict=True)}
    return CRITERIA.claim(
        key,
        id=f"content-{key}",
        statement=statement,
        reference="no published reference",
        measured=f"{what}\n" + _lines(measured, lambda m: by_run[m.run.name]),
        control=control,
        numbers={"difference_low": _low(found)},
        figure=figure,
    )


def _carries(measured: Sequence[Measured]) -> Claim:
    blocks = [(m, block) for m in measured for block in range(2, m.run.config.model.n_layers + 1)]
    leads = [m.losses[f"block {block}"].lead(block - 1) for m, block in blocks]

    def line(m: Measured) -> str:
        shares = [m.losses[f"block {block + 1}"].share[block] for block in range(1, m.run.config.model.n_layers)]
        return ", ".join(f"{float(share.mean):.2f}" for share in shares)

    return CRITERIA.claim(
        "carries",
        id="content-carries",
        statement="From block 2 on, the content-dependent pattern of block m protects the message that block m carries: made "
        "static alone, it removes more of the message of the sibling subtree m - 1 levels up than of any other message.",
        reference="the paper's construction gives block m that message",
        measured="share of its own message removed, blocks 2 and up\n" + _lines(measured, line),
        control="largest share of another message: " + "; ".join(", ".join(_others(m)) for m in measured),
        numbers={"lead_low": _low(leads)},
        figure="fig-content-messages",
    )


def _others(m: Measured) -> list[str]:
    shown = []
    for block in range(1, m.run.config.model.n_layers):
        shares = m.losses[f"block {block + 1}"].share.mean
        shown.append(f"{max(share for height, share in enumerate(shares) if height != block):.2f}")
    return shown


def _informative(measured: Sequence[Measured]) -> Claim:
    return _selecting(
        "informative",
        measured,
        [m.preference for m in measured],
        statement="Within the subtree that a block reads, the hidden leaf prefers the leaves whose own symbols tell most about "
        "the subtree's message.",
        reference="the obvious theory of content-dependent attention: it seeks evidence",
        what="slope of a leaf's share on what its symbol tells, per nat, blocks 2 and up",
        control="0: no preference, once the means by place are taken out",
    )


def _untelling(measured: Sequence[Measured]) -> Claim:
    return _selecting(
        "untelling",
        measured,
        [m.preference for m in measured],
        statement="Within the subtree that a block reads, these models prefer the leaves whose own symbols tell least about the "
        "subtree's message.",
        reference="no published reference",
        what="slope of a leaf's share on what its symbol tells, per nat, blocks 2 and up",
        control="0: no preference, once the means by place are taken out",
    )


def _avoids(measured: Sequence[Measured]) -> Claim:
    return _selecting(
        "avoids",
        measured,
        [m.avoidance for m in measured],
        statement="Within the subtree that a block reads, a leaf gets less attention when it is hidden than when it is seen.",
        reference="the obvious theory of content-dependent attention: it seeks evidence",
        what="share when seen minus share when hidden, the same leaf of the same sequence, blocks 2 and up",
        control="the same leaf, seen",
    )


def _selecting(
    key: str,
    measured: Sequence[Measured],
    by_block: Sequence[dict[int, Interval]],
    *,
    statement: str,
    reference: str,
    what: str,
    control: str,
) -> Claim:
    """A claim about which key is chosen, in every block that has a choice and every run."""
    shown = {m.run.name: ", ".join(estimate(i, 2) for i in found.values()) for m, found in zip(measured, by_block, strict=True)}
    return CRITERIA.claim(
        key,
        id=f"content-{key}",
        statement=statement,
        reference=reference,
        measured=f"{what}\n" + _lines(measured, lambda m: shown[m.run.name]),
        control=control,
        numbers={
            "low": [float(interval.low) for found in by_block for interval in found.values()],
            "high": [float(interval.high) for found in by_block for interval in found.values()],
        },
        figure="fig-content-keys",
    )

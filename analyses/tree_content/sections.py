"""The measurements of all runs side by side, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analyses.tree_content.measurements import Measured
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import panel

OWN, STATIC = "everything (own row)", "static row"


def sections_of(measured: Sequence[Measured]) -> list[Section]:
    """Return the sections: what must be shared, which part matters, which message is lost, which leaf is chosen."""
    n = len(measured[0].unedited)
    runs = ", ".join(f"`{m.run.name}`" for m in measured)
    must = (
        f"{n:,} sequences per run ({runs}) hide one leaf each. The row of that leaf, the query that is asked, is replaced in "
        "every block by the row of a donor: another sequence, drawn from the exact distribution given what it shares with the "
        "first. All other patterns stay as they were in the unedited run, and no later block adapts.",
        "From the hidden leaf the tree is a stack of sibling subtrees, and block m reads the one m - 1 levels up. `Query's "
        "message`: the upward message of the leaf's own subtree before block m. `Keys' message`: the top symbol of the subtree "
        "read; `children`: the two symbols below that; `leaves`: all of its leaves.",
        "If a matching leaves the answer as it was, the row depends on nothing beyond what is shared. The static row is the mean "
        "over sequences that hide the same leaf: it knows where MASK stands and nothing else.",
    )
    parts = (
        "One part of attention is made static, the rest kept: a block; the hidden leaf's row or all other rows; within every "
        "level, which leaf is read; or how the mass is divided among levels.",
    )
    messages = (
        "Exact inference says how each sibling subtree's message moves the log posterior of the hidden leaf. The change that an "
        "edit makes is regressed on the effects of all messages: the share of every message that the edit removes.",
    )
    keys = (
        "Within the subtree that a block reads: does a leaf's share of attention rise with what its symbol alone tells of the "
        "subtree's top (slope per nat, means by place taken out), and does it fall when the leaf is hidden too?",
    )
    return [
        Section("matching", "What must attention know?", must, (_matching_figure(measured, n), _oracle_figure(measured, n))),
        Section("parts", "Which part of attention depends on content?", parts, (_parts_figure(measured, n),)),
        Section("messages", "Which message is lost without it?", messages, (_message_figure(measured, n),)),
        Section("keys", "Which leaf is chosen?", keys, (_key_figure(measured, n),)),
    ]


def _matching_figure(measured: Sequence[Measured], n: int) -> FigureData:
    series = []
    for m in measured:
        rows = {**m.matched, OWN: m.unedited, STATIC: m.frozen["hidden row"]}
        series.append({"name": m.run.name, **points([m.to_oracles(d)[m.own] for d in rows.values()], "x")})
    return FigureData(
        id="fig-content-matching",
        kind="dots",
        title="The hidden leaf's attention, taken from sequences that share less and more",
        caption="KL(BP || model), nats, BP of the run's own level, with the hidden leaf's row of every block taken from donors "
        f"that share what is named; 95 % intervals, n = {n:,} sequences per run, the same in every line. `Everything` is the "
        "unedited model.",
        alt="Divergence from BP by what donors share, one series per run, beside the unedited model and a static row.",
        data={
            "x_title": "KL(BP || model) (nats)",
            "categories": [*measured[0].matched, OWN, STATIC],
            "series": series,
        },
    )


def _oracle_figure(measured: Sequence[Measured], n: int) -> FigureData:
    panels = []
    for m in measured:
        rows = {**m.matched, OWN: m.unedited, STATIC: m.frozen["hidden row"], "all rows static": m.frozen["all"]}
        panels.append(panel(m.run.name, Interval.stack([m.to_oracles(d)[:3] for d in rows.values()], axis=0)))
    rows = [*measured[0].matched, OWN, STATIC, "all rows static"]
    return FigureData(
        id="fig-content-oracles",
        kind="heatmap",
        title="Distance to the oracles that know all levels, all but the top one, and all but the top two",
        caption=f"Mean KL(BP_k || model), nats, n = {n:,} sequences per run. The smallest entry of a row is the nearest oracle.",
        alt="Heatmaps of divergence in nats, one per run: what donors share in rows, oracles in columns.",
        data=_grid(rows, [f"BP_{k}" for k in range(3)], "shared by donor", "oracle", "KL(BP_k || model) (nats)", panels)
        | {"range": [0, 0.2]},
    )


def _parts_figure(measured: Sequence[Measured], n: int) -> FigureData:
    names = list(measured[0].frozen)
    return FigureData(
        id="fig-content-parts",
        kind="bars",
        title="What making a part of attention static costs",
        caption=f"Increase of KL(BP || model), nats, over the unedited model; 95 % intervals, n = {n:,} sequences per run.",
        alt="Bars of the increase of divergence by part of attention, one series per run.",
        data={
            "x_title": "made static",
            "y_title": "increase of KL(BP || model) (nats)",
            "categories": names,
            "series": [
                {"name": m.run.name, **points([m.cost(m.frozen[name]) for name in names], "y"), "color": i}
                for i, m in enumerate(measured)
            ],
        },
    )


def _message_figure(measured: Sequence[Measured], n: int) -> FigureData:
    names = [name for name in measured[0].losses if name.startswith("block")] + ["all"]
    panels = [panel(m.run.name, Interval.stack([m.losses[name].share for name in names], axis=0)) for m in measured]
    columns = [f"{height} up" for height in range(measured[0].run.process.depth)]
    return FigureData(
        id="fig-content-messages",
        kind="heatmap",
        title="Share of each message that a static pattern removes",
        caption=f"Regression of the change of the log answer on the exact effect of each message, n = {n:,} sequences per run; "
        "0: nothing of it is removed, 1: all. Columns: how far up the sibling subtree stands that sends the message.",
        alt="Heatmaps of shares removed, one per run: the block made static in rows, the sender of the message in columns.",
        data=_grid(names, columns, "made static", "message from", "share removed", panels)
        | {"range": [-0.5, 0.5], "scale": "diverging"},
    )


def _key_figure(measured: Sequence[Measured], n: int) -> FigureData:
    blocks = sorted(measured[0].preference)
    series = []
    for m in measured:
        rows = [m.preference[b] for b in blocks] + [m.avoidance[b] for b in blocks]
        series.append({"name": m.run.name, **points(rows, "x")})
    return FigureData(
        id="fig-content-keys",
        kind="dots",
        title="Does the hidden leaf look where the evidence is?",
        caption="Slope of a leaf's share on the nats that its symbol tells of the subtree's top; and its share when seen minus "
        f"when hidden. Above 0: evidence is sought. 95 % intervals, n = {n:,} sequences per run.",
        alt="Slopes and differences of shares by block, one series per run.",
        data={
            "x_title": "slope per nat, or difference of shares",
            "categories": [f"block {b}: {what}" for what in ("telling leaves", "seen minus hidden") for b in blocks],
            "series": series,
        },
    )


def _grid(
    rows: Sequence[str],
    columns: Sequence[str],
    row_title: str,
    column_title: str,
    value: str,
    panels: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    return {
        "rows": rows,
        "columns": columns,
        "row_title": row_title,
        "column_title": column_title,
        "value_title": value,
        "cell_text": True,
        "panels": panels,
        "panel_columns": 2,
    }

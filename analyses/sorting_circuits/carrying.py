"""What carries the answer: one element of the list patched, heads' outputs exchanged, attention replaced by the idealised one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.shared.sorter import Sorter
from analyses.sorting_circuits.criteria import CRITERIA
from mechbp.figures.intervals import points
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.sorting.answer_pairs import answer_pairs, lent_is_above
from mechbp.theory.sorting.element_patching import ElementCell, ElementEffects, element_patching
from mechbp.theory.sorting.head_interchange import HeadInterchange, head_interchange
from mechbp.theory.sorting.list_pairs import Kind, list_pairs
from mechbp.theory.sorting.replaced_patterns import ReplacedLosses, replaced_losses

PAIRS, QUICK_PAIRS = 300, 60
EXCHANGED, QUICK_EXCHANGED = 1000, 200
LISTS, QUICK_LISTS = 1000, 200
KINDS: tuple[Kind, ...] = ("answer", "overtaken", "further", "below")
SITES = ("attn.hook_k", "attn.hook_v", "attn.hook_q", "attn.hook_pattern", "attn.hook_z")
PREDICTED = {
    "answer": (0.0, 1.0, 0.0, 0.0, 1.0),
    "overtaken": (1.0, 0.5, 0.0, 1.0, 1.0),
    "further": (0.0,) * 5,
    "below": (0.0,) * 5,
}
"""Of a sorter that puts all attention on the answer and copies it, by kind of pair, in the order of SITES."""
SHOWN = ("own", "class averages", "answer", "larger", "list", "another larger")


@dataclass(frozen=True, eq=False)
class Carrying:
    """What interventions do to one run."""

    sorter: Sorter
    patched: dict[str, Interval]
    """Kind of pair -> normalised effect per site, all heads together; in units of pairs that move the answer."""
    by_head: dict[str, Interval]
    """Kind of pair -> normalised effect [site, head]."""
    exchanged: HeadInterchange
    against: np.ndarray
    """Which pairs lend an answer that the token asked at speaks against."""
    follows: Interval
    """Share of all pairs that follow the source, per set of heads; the first set is empty."""
    rate: Interval
    """Share that follows the source where all heads' outputs are its own, of those pairs."""
    same_changes: Interval
    """Share of answers that change where the source has the same answer."""
    replaced: dict[str, dict[str, Interval]]
    """Pattern -> measures, and "fall", the loss of accuracy against the model's own pattern."""


def carrying(study: Study, sorter: Sorter) -> Carrying:
    """Intervene in one run."""
    study.stage(f"{sorter.name}: what carries the answer")
    model, process = sorter.model, sorter.process
    draw = study.rng(sorter.name, "carrying")
    effects: dict[str, ElementEffects] = {}
    for kind in KINDS:
        pairs = list_pairs(process, kind, study.size(PAIRS, QUICK_PAIRS), study.rng(sorter.name, "pairs", kind))
        effects[kind] = element_patching(model, pairs)
    unit = float(effects["answer"].gap.mean())
    normalised = {kind: one.normalized(draw, None if kind in ("answer", "overtaken") else unit) for kind, one in effects.items()}
    cells = list(effects["answer"].cells)
    together = [cells.index(ElementCell(site, None)) for site in SITES]
    apart = np.array([[cells.index(ElementCell(site, head)) for head in range(sorter.n_heads)] for site in SITES])
    n = study.size(EXCHANGED, QUICK_EXCHANGED)
    pairs = answer_pairs(process, n, draw)
    every = tuple(range(sorter.n_heads))
    exchanged = head_interchange(model, pairs)
    against = ~lent_is_above(process, pairs)
    same = head_interchange(model, answer_pairs(process, n, draw, same=True), [every])
    tokens = sorter.lists(study, "replaced", study.size(LISTS, QUICK_LISTS))
    losses = replaced_losses(model, process, tokens, names=SHOWN, rng=draw)
    return Carrying(
        sorter=sorter,
        patched={kind: found[together] for kind, found in normalised.items()},
        by_head={kind: found[apart] for kind, found in normalised.items()},
        exchanged=exchanged,
        against=against,
        follows=exchanged.rates(draw)["follows"],
        rate=exchanged.rates(draw, against)["follows"][-1],
        same_changes=_changed(same, draw),
        replaced=_replaced(losses, draw),
    )


def _changed(found: HeadInterchange, draw: np.random.Generator) -> Interval:
    return bootstrap_mean((found.named[:, 1] != found.named[:, 0]).astype(np.float64), draw)


def _replaced(losses: ReplacedLosses, draw: np.random.Generator) -> dict[str, dict[str, Interval]]:
    summary = losses.means(draw)
    hits = losses.hits.mean(axis=2)
    falls = bootstrap_mean((hits[losses.of("own")] - hits).T, draw)
    return {
        name: {**{measure: one[row] for measure, one in summary.items()}, "fall": falls[row]}
        for row, name in enumerate(losses.names)
    }


def carrying_claims(found: Sequence[Carrying]) -> list[Claim]:
    """Return the claims on patched elements, exchanged outputs and replaced attention."""
    value, pattern = SITES.index("attn.hook_v"), SITES.index("attn.hook_pattern")
    carry = CRITERIA.claim(
        "values-carry",
        id="values-carry",
        statement="Where the answer moves without changing place, the values of the heads carry the change, not their patterns.",
        reference="an ideal sorter: values 1, patterns 0; where the answer moves to another place, patterns 1, values one half",
        measured="\n".join(
            f"{one.sorter.name}: values {estimate(one.patched['answer'][value])}, patterns "
            f"{estimate(one.patched['answer'][pattern])}; answer overtaken: values {estimate(one.patched['overtaken'][value])}, "
            f"patterns {estimate(one.patched['overtaken'][pattern])}"
            for one in found
        ),
        control="\n".join(
            f"{one.sorter.name}: a value further up changed: values {estimate(one.patched['further'][value])}, patterns "
            f"{estimate(one.patched['further'][pattern])}; one below: {estimate(one.patched['below'][value])} and "
            f"{estimate(one.patched['below'][pattern])}"
            for one in found
        ),
        numbers={
            "value_low": [float(one.patched["answer"][value].low) for one in found],
            "pattern_high": [float(one.patched["answer"][pattern].high) for one in found],
        },
        figure="fig-patched",
    )
    interchange = CRITERIA.claim(
        "interchange",
        id="interchange",
        statement="With another list's head outputs the model names that list's answer, even against the token it stands on.",
        reference="all that an exact answer needs of the list is its smallest larger value; one block has no other way for it",
        measured="\n".join(
            f"{one.sorter.name}: {estimate(one.rate)} of {one.rate.n} questions whose new answer is not above the token asked "
            f"at; of all {estimate(one.follows[-1])}, one head alone {', '.join(f'{r:.3f}' for r in one.follows.mean[1:-1])}"
            for one in found
        ),
        control="\n".join(
            f"{one.sorter.name}: outputs of another list with the same answer change {estimate(one.same_changes)} of the answers"
            for one in found
        ),
        numbers={
            "rate_low": [float(one.rate.low) for one in found],
            "same_high": [float(one.same_changes.high) for one in found],
        },
    )
    idealised = CRITERIA.claim(
        "idealised",
        id="idealised",
        statement="All attention on the smallest larger value stands in for the model's own attention.",
        reference="the published picture: attend to the smallest larger number, copy it",
        measured="\n".join(
            f"{one.sorter.name}: accuracy falls by {estimate(one.replaced['answer']['fall'], 4)}; cross-entropy "
            f"{estimate(one.replaced['answer']['cross_entropy_nats'], 4, 'nats')}, with its own attention "
            f"{estimate(one.replaced['own']['cross_entropy_nats'], 4, 'nats')}"
            for one in found
        ),
        control="\n".join(
            f"{one.sorter.name}: on a random larger value accuracy falls by {estimate(one.replaced['another larger']['fall'])}, "
            f"that value is then named at {estimate(one.replaced['another larger']['attended'])}"
            for one in found
        ),
        numbers={
            "fall_high": [float(one.replaced["answer"]["fall"].high) for one in found],
            "control_low": [float(one.replaced["another larger"]["fall"].low) for one in found],
        },
        figure="fig-replaced",
    )
    return [carry, interchange, idealised]


def carrying_section(found: Sequence[Carrying]) -> Section:
    """Return the section with patching and replaced attention."""
    text = (
        "Two lists that differ in one value are asked the same question. The value may be the answer, moved inside its gap "
        "(answer) or above the next value (overtaken), or one that is not asked for: further up, or below. Activations of one "
        "list are put into the run on the other; an effect of 1 is the whole change of logit(new) - logit(old). Effects of "
        "values not asked for are in units of pairs that move the answer.",
        "In one block all that the answer knows of the list passes through the heads' outputs at the position asked at. That "
        "all of them together carry the answer is therefore no discovery; that the token asked at cannot hold it back is one, "
        "and so is what a single head carries.",
        "Attention is then replaced, in all heads and at all positions asked at. Class averages keep how much each class of "
        "key gets, and lose which key it is.",
    )
    return Section("carrying", "What carries the answer", text, (_patched_figure(found), _replaced_figure(found)))


def _patched_figure(found: Sequence[Carrying]) -> FigureData:
    names = [site.rpartition("_")[2] for site in SITES]
    series = [
        {
            "name": f"{kind}, {one.sorter.name}",
            **points([one.patched[kind][site] for site in range(len(SITES))], "y"),
            "reference": list(PREDICTED[kind]),
            "color": row,
            **({} if kind in ("answer", "overtaken") else {"control": True}),
        }
        for one in found[:1]
        for row, kind in enumerate(KINDS)
    ]
    return FigureData(
        id="fig-patched",
        kind="bars",
        title="One value of the list changed: where the change passes",
        caption=f"Normalised effect of patching all heads together, {found[0].sorter.name}, with 95 % intervals over pairs of "
        "lists: keys and values where the value stands, queries, patterns and outputs z where it is asked. Ticks: an ideal "
        "sorter. Hollow: values that are not asked for.",
        alt="Bars of normalised effects by site, one series per kind of pair, with ticks for an ideal sorter.",
        data={"y_title": "normalised effect", "categories": names, "series": series},
    )


def _replaced_figure(found: Sequence[Carrying]) -> FigureData:
    named = {
        "own": "its own",
        "class averages": "class averages",
        "answer": "the smallest larger value",
        "larger": "all larger values alike",
        "list": "all of the list alike",
        "another larger": "a random larger value",
    }
    series = [
        {"name": one.sorter.name, **points([one.replaced[name]["accuracy"] for name in SHOWN], "x"), "color": row}
        for row, one in enumerate(found)
    ]
    return FigureData(
        id="fig-replaced",
        kind="dots",
        title="Accuracy with other attention",
        caption="Accuracy per token, teacher forced, with attention replaced in all heads where it is asked; 95 % intervals "
        "over lists. The last row is the control.",
        alt="Accuracy by replaced attention, one series per run.",
        data={"x_title": "accuracy per token", "categories": [named[name] for name in SHOWN], "series": series},
    )

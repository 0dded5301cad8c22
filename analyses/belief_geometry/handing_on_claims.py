"""The claims about later answers: do they follow a belief written before, or are they computed from the tokens anew?"""

from __future__ import annotations

import numpy as np

from analyses.belief_geometry.criteria import CRITERIA
from analyses.belief_geometry.handing_on import BELIEF, EMBEDDING, LATER, REFITS, HandingOn, handing_on
from analyses.shared.prefix_corpus import Corpus
from mechbp.errors import TooFewSequences
from mechbp.figures.intervals import points
from mechbp.methods.interchange.interchange import NOTHING, WHOLE
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, reason
from mechbp.study import Study

LAGS = 5
"""Tokens after the position written that are drawn one by one."""


def study_handing_on(study: Study, corpus: Corpus) -> tuple[list[Claim], Section]:
    """Return claims and section, a skipped one where there is one layer, or too few pairs can be told apart."""
    run = corpus.run
    place = (f"{run.name}-handing-on", f"{run.name}: is a belief handed on?")
    if run.config.model.n_layers < 2:
        return [], Section(*place, (), (), "skipped", "one layer: no later position reads what its only layer leaves")
    try:
        found = handing_on(study, corpus)
    except TooFewSequences as error:
        return [], Section(*place, (), (), "skipped", reason(error))
    return [_used(study, found), _anew(study, found)], _section(study, found, place)


def _used(study: Study, found: HandingOn) -> Claim:
    run = found.corpus.run
    over = {layer: {rival: found.over(study, layer, rival) for rival in found.rivals} for layer in found.layers}
    nearer = {layer: found.nearer(study, layer) for layer in found.layers}
    lines = []
    for layer in found.layers:
        rival, least = min(((r, i) for r, refits in over[layer].items() for i in refits), key=lambda pair: float(pair[1].low))
        moved = found.moved(study, layer, BELIEF)[0]
        lines.append(f"{layer}: {estimate(moved, 3)}, over {rival} {estimate(least, 3)}")
    whole = [f"{layer} {estimate(found.moved(study, layer, WHOLE)[0], 3)}" for layer in found.layers]
    rivals = ["the whole vector: " + ", ".join(whole)]
    for rival in found.rivals:
        rivals.append(
            f"{rival}: " + ", ".join(f"{layer} {estimate(found.moved(study, layer, rival)[0], 3)}" for layer in found.layers)
        )
    return CRITERIA.claim(
        "belief-used",
        id=f"{run.name}-belief-used",
        statement=f"{run.name} computes later answers from the belief that stands after a token: at some layer before the last, "
        "another word's belief written there takes them nearer to the filter that runs on from it than to the base's own exact "
        "answers, and farther that way than any rival edit does.",
        reference="no published test writes a belief",
        measured="share of the way of later answers; over the strongest rival:\n" + "\n".join(lines)
        + f"\n{len(found.pairs)} pairs of words" + (" that predict the same next token" if found.alike_now else "")
        + f", {REFITS} refits",
        control="\n".join(rivals),
        numbers={
            "pairs": len(found.pairs),
            "over_rivals_low": [min(float(i.low) for refits in over[layer].values() for i in refits) for layer in found.layers],
            "nearer_low": [min(float(i.low) for i in nearer[layer]) for layer in found.layers],
        },
        figure=f"fig-{run.name}-later",
    )  # fmt: skip


def _anew(study: Study, found: HandingOn) -> Claim:
    run = found.corpus.run
    own = {layer: found.own_nearer(study, layer) for layer in found.layers}
    now = {layer: found.present_follows(study, layer) for layer in found.layers}
    token = found.token_read(study)
    return CRITERIA.claim(
        "computed-anew",
        id=f"{run.name}-computed-anew",
        statement=f"{run.name} does not hand a belief on: with another word's whole activation after a token, the answer there "
        "is nearer to that word's exact one at every layer before the last, later answers stay nearer to the base's own, and yet "
        "they read that position: with its token replaced they move to the exact answers for the new word.",
        reference="no published test replaces what stands after a token",
        measured="\n".join(
            f"{layer}: answer there {estimate(now[layer], 3)} nats nearer to the source's, later ones {estimate(own[layer], 3)} "
            "nats nearer to the base's own"
            for layer in found.layers
        )
        + f"\n{len(found.any_pairs)} pairs of words",
        control=f"token replaced: later answers {estimate(token, 3)} nats nearer to the exact ones for the new word\n"
        f"embedding replaced: later answers {estimate(found.own_nearer(study, EMBEDDING), 3)} nats nearer to the base's own than "
        "to the filter's",
        numbers={
            "pairs": len(found.any_pairs),
            "own_nearer_low": [interval.low for interval in own.values()],
            "present_low": [interval.low for interval in now.values()],
            "token_low": token.low,
        },
        figure=f"fig-{run.name}-oracles",
    )


def _section(study: Study, found: HandingOn, place: tuple[str, str]) -> Section:
    run = found.corpus.run
    position = found.pairs.position + 1
    text = [
        f"Two words, base and source. After the base's token {position}, `{run.name}`'s activation gets the source's component "
        f"in the {found.dims} dimensions in which it moves with the belief (conditional means E[activation | state]), at one "
        "layer and at this position alone; then the base goes on. A filter that hands its belief on would answer all later "
        "tokens from the source's. A model that computes every belief from the tokens anew would answer as before. Both exact "
        "answers are known, and a third: those for the base with this one token replaced. At the last layer nothing later reads "
        "the edit, so it is left out.",
        "Rivals: the next-token predictive alone, where it is not the belief in other coordinates; the component of yet another "
        "word; the belief erased (LEACE); and the token itself replaced at the embedding. Subspaces are fitted "
        f"{REFITS} times, each on words of its own. The whole vector bounds what any subspace can do at this position.",
    ]
    if found.alike_now:
        text.append(
            f"Beliefs have {found.dims} dimensions and predictives {found.next_dims}. All pairs of the first figure are of words "
            "whose beliefs predict the same next token and differ in what comes later, so that a model that keeps predictions "
            "alone has nothing to write."
        )
    return Section(*place, tuple(text), (_later(study, found), _oracles(found), _by_lag(study, found)))


def _later(study: Study, found: HandingOn) -> FigureData:
    run = found.corpus.run
    edits = (WHOLE, BELIEF, *found.rivals)
    series = []
    for edit in edits:
        intervals = [found.moved(study, layer, edit) for layer in found.layers]
        series.append({"name": edit, **points([refits[0] for refits in intervals], "x"), "control": edit not in (WHOLE, BELIEF)})
    return FigureData(
        id=f"fig-{run.name}-later",
        kind="dots",
        title=f"{run.name}: do later answers follow a belief written before?",
        caption="Share of the way of later answers to those of the filter that runs on from the belief written, 1 - KL(exact || "
        f"model) after the edit / before it, with 95 % bootstrap intervals over {len(found.pairs)} pairs of words; first of "
        f"{REFITS} refits. Edits after which they are farther away are below 0.",
        alt="Share of the way of later answers, one row per layer: whole vector, belief, and rival edits, with intervals.",
        data={"x_title": "share of the way of later answers", "x_range": [-0.7, 1.05], "categories": found.layers,
              "series": series},
    )  # fmt: skip


def _oracles(found: HandingOn) -> FigureData:
    run = found.corpus.run
    pairs = found.any_pairs
    finite = np.isfinite(pairs.swapped).all(axis=(1, 2))
    exact = {
        "the base's own": pairs.own,
        "the base with this token replaced": pairs.swapped,
        "the filter that runs on": pairs.handed,
    }
    rows = {"nothing written": (EMBEDDING, NOTHING), **{f"whole vector, {stage}": (stage, WHOLE) for stage in found.replaced}}
    series = [
        {
            "name": name,
            "x": [float(found.replaced[stage].kl_nats(edit, answers, LATER)[finite].mean()) for stage, edit in rows.values()],
        }
        for name, answers in exact.items()
    ]
    return FigureData(
        id=f"fig-{run.name}-oracles",
        kind="dots",
        title=f"{run.name}: whose later answers are they?",
        caption="Mean KL(exact || model) of later answers, for three exact answers, after another word's whole activation has "
        f"been written at one position; {int(finite.sum())} pairs of words in which all three are possible.",
        alt="KL in nats of later answers to three exact answers, one row per stage at which the whole vector is written.",
        data={"x_title": "KL(exact || model) (nats)", "categories": list(rows), "series": series},
    )  # fmt: skip


def _by_lag(study: Study, found: HandingOn) -> FigureData:
    run = found.corpus.run
    pairs = found.any_pairs
    lags = range(min(LAGS, pairs.own.shape[1] - 1) + 1)
    series = []
    for stage, answers in found.replaced.items():
        rng = study.rng(run.name, "handing on", "lag", stage)
        moved = [answers.moved(WHOLE, pairs.handed, slice(lag, lag + 1), rng) for lag in lags]
        series.append({"name": stage, "x": list(lags), **points(moved, "y"), "markers": True})
    return FigureData(
        id=f"fig-{run.name}-by-lag",
        kind="lines",
        title=f"{run.name}: how far another word's activation reaches",
        caption="Share of the way to the answers of the filter that runs on from the source's belief, the whole vector written, "
        f"by tokens read since; 95 % bootstrap intervals over {len(pairs)} pairs. At 0 it is the answer in place.",
        alt="Share of the way against tokens read since the position written, one line per stage.",
        data={"x_title": "tokens read since", "y_title": "share of the way", "series": series},
    )

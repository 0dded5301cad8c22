"""Is the belief that can be read the one that the model uses? Another word's is written in, or it is erased."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analyses.belief_geometry.criteria import CRITERIA
from analyses.shared.prefix_corpus import LN, Corpus, stages
from mechbp.errors import TooFewSequences
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.interchange import WHOLE, MessageTest, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import Subspace, mean_subspace, probe_subspace
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate, points, reason
from mechbp.study import Study
from mechbp.theory.chain.belief_pairs import belief_pairs

MEANS = "conditional means"
PROBE = "probe"
LEACE = "LEACE"
PLACEBO = ", placebo"


@dataclass(frozen=True, eq=False)
class Writing:
    """Causal tests at every stage, on the last position of a word."""

    corpus: Corpus
    pairs: Pairs
    dims: int
    written: dict[str, MessageTest]
    erased: dict[str, MessageTest]
    untrained: MessageTest
    """At the last stage of random weights."""

    def explained(self, study: Study, stage: str, edit: str) -> Interval:
        """Return how much of the way to the exact answer an edit goes."""
        tests = self.erased if edit.startswith(LEACE) else self.written
        return tests[stage].explained(edit, study.rng(self.corpus.run.name, "writing", stage, edit))


def writing(study: Study, corpus: Corpus) -> Writing:
    """Fit subspaces of the belief on some words, and test them on pairs of others. Raises TooFewSequences."""
    run = corpus.run
    hmm = corpus.hmm
    study.stage(f"{run.name}: writing beliefs")
    rng = study.rng(run.name, "writing")
    sample = hmm.sample(study.size(4000, 400), rng)
    beliefs = hmm.beliefs(sample.tokens)[:, 1:]
    dims = int(np.linalg.matrix_rank(np.cov(beliefs.reshape(-1, hmm.n_states).T), tol=1e-9))
    pairs = belief_pairs(hmm, corpus.length - 1, study.size(1024, 120), rng)
    where = {stage: hook for stage, hook in stages(run).items() if stage != LN}
    found = capture(run.model, sample.tokens, list(where.values()))
    written = {}
    erased = {}
    untrained = None
    for stage, hook in where.items():
        fitted = to_array(found[hook])[:, -1:], beliefs[:, -1:]
        written[stage] = interchange(run.model, pairs, hook, _subspaces(*fitted, dims), rng=rng)
        erased[stage] = erase(run.model, pairs, hook, {LEACE: leace(*fitted)}, rng=rng)
        control = run.untrained(1)
        if stage == list(where)[-1]:
            random = to_array(capture(control, sample.tokens, hook)[hook])[:, -1:]
            untrained = interchange(control, pairs, hook, {MEANS: mean_subspace(random, beliefs[:, -1:], dims)}, rng=rng)
    assert untrained is not None
    return Writing(corpus, pairs, dims, written, erased, untrained)


def writing_section(study: Study, found: Writing) -> Section:
    """Return the section with its figure."""
    run = found.corpus.run
    edits = (WHOLE, MEANS, MEANS + PLACEBO, PROBE, PROBE + PLACEBO, LEACE, LEACE + PLACEBO)
    names = {
        WHOLE: "whole vector", MEANS: "belief subspace", MEANS + PLACEBO: "placebo of it",
        PROBE: "directions of the probe", PROBE + PLACEBO: "placebo of them",
        LEACE: "belief erased", LEACE + PLACEBO: "placebo of that",
    }  # fmt: skip
    series = []
    for edit in edits:
        intervals = [found.explained(study, stage, edit) for stage in found.written]
        series.append({"name": names[edit], **points(intervals, "x"), **({"control": True} if PLACEBO in edit else {})})
    text = (
        f"Two words of {found.corpus.length} tokens, base and source. At the last token of the base, and nowhere else, "
        f"`{run.name}`'s activation gets the source's component in a subspace of {found.dims} dimensions: the span of the "
        "conditional means E[activation | state], along which activations move with the belief, or the directions of a ridge "
        "probe, from which it is read. Exact inference says what must follow: the predictive of the source's belief. After "
        "either edit of the right size a probe would read the source's belief; only the answer tells which one the model uses.",
        "Erasure takes away all that an affine probe could find of the belief; then the predictive of the prior must follow. "
        "Placebos change the activation as far in a random direction.",
    )
    figure = FigureData(
        id=f"fig-{run.name}-writing",
        kind="dots",
        title=f"{run.name}: writing another word's belief, and erasing it",
        caption="Share of the way to the exact answer, 1 - KL(exact || model) after the edit / before it, with 95 % bootstrap "
        f"intervals over {len(found.pairs)} pairs of words whose exact predictives differ by 0.02 nats or more "
        f"({found.pairs.share_kept:.0%} of those drawn). Edits that hurt are below 0.",
        alt="Share of the way to the exact answer by stage, with intervals: whole vector, belief subspace, probe's directions "
        "and erasure, each of the last three beside its placebo.",
        data={
            "x_title": "share of the way to the exact answer",
            "x_range": [-0.5, 1.05],
            "categories": list(found.written),
            "series": series,
        },
    )
    return Section(f"{run.name}-writing", f"{run.name}: is the belief used?", text, (figure,))


def writing_claims(study: Study, found: Writing) -> list[Claim]:
    """Return whether the belief's subspace carries the answer, and whether the probe's directions do."""
    run = found.corpus.run
    last = list(found.written)[-1]
    at = {
        edit: found.explained(study, last, edit)
        for edit in (WHOLE, MEANS, MEANS + PLACEBO, PROBE, PROBE + PLACEBO, LEACE, LEACE + PLACEBO)
    }
    random = found.untrained.explained(MEANS, study.rng(run.name, "writing", "untrained"))
    n = f"{len(found.pairs)} pairs of words"
    written_share = CRITERIA["belief-used"].bounds["carried"]
    probe_share = CRITERIA["probe-used"].bounds["carried"] / 2
    return [
        CRITERIA.claim(
            "belief-used",
            id=f"{run.name}-belief-used",
            statement=f"{run.name} answers from a belief held in {found.dims} dimensions of its last layer: with another "
            f"word's written in, the answer goes {written_share:.0%} of the way to that word's exact predictive; erased, it "
            "goes to the prior's.",
            reference="no published test writes a belief",
            measured=f"{last}: written {estimate(at[MEANS], 3)}, erased {estimate(at[LEACE], 3)}\n{n}",
            control=f"placebos: {estimate(at[MEANS + PLACEBO], 2)} and {estimate(at[LEACE + PLACEBO], 2)}\n"
            f"whole vector: {estimate(at[WHOLE], 3)}\nrandom weights: {estimate(random, 3)}",
            numbers={
                "pairs": len(found.pairs),
                "means_mean": float(at[MEANS].mean),
                "means_low": float(at[MEANS].low),
                "means_placebo_high": float(at[MEANS + PLACEBO].high),
                "leace_low": float(at[LEACE].low),
                "leace_placebo_high": float(at[LEACE + PLACEBO].high),
            },
            figure=f"fig-{run.name}-writing",
        ),
        CRITERIA.claim(
            "probe-used",
            id=f"{run.name}-probe-used",
            statement=f"The directions from which a probe reads {run.name}'s belief are those that carry it: writing along "
            f"them moves the answer {probe_share:.0%} of the way or more.",
            reference="what reading belief geometry is taken to show",
            measured=f"{last}: {estimate(at[PROBE], 3)}\n{n}",
            control=f"placebo: {estimate(at[PROBE + PLACEBO], 3)}\nconditional means: {estimate(at[MEANS], 3)}",
            numbers={
                "pairs": len(found.pairs),
                "probe_mean": float(at[PROBE].mean),
                "probe_low": float(at[PROBE].low),
                "placebo_high": float(at[PROBE + PLACEBO].high),
            },
            figure=f"fig-{run.name}-writing",
        ),
    ]


def study_writing(study: Study, corpus: Corpus) -> tuple[list[Claim], Section]:
    """Return claims and section, a skipped one where too few pairs can be told apart."""
    try:
        found = writing(study, corpus)
    except TooFewSequences as error:
        run = corpus.run
        return [], Section(f"{run.name}-writing", f"{run.name}: is the belief used?", (), (), "skipped", reason(error))
    return writing_claims(study, found), writing_section(study, found)


def _subspaces(activations: np.ndarray, beliefs: Float64[np.ndarray, "n 1 state"], dims: int) -> dict[str, Subspace]:
    return {MEANS: mean_subspace(activations, beliefs, dims), PROBE: probe_subspace(activations, beliefs, dims)}

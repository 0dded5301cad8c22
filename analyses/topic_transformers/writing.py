"""Is the belief about topics used? Another document's is written in, or it is erased; exact inference says what must follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyses.topic_transformers.criteria import CRITERIA
from analyses.topic_transformers.subjects import Subject
from mechbp.figures.intervals import points
from mechbp.hooks import capture, to_array
from mechbp.methods.interchange.das import STEPS, learn_rotation
from mechbp.methods.interchange.interchange import WHOLE, MessageTest, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.interchange.subspaces import mean_subspace, probe_subspace
from mechbp.methods.statistics.intervals import Interval
from mechbp.report.claim import Claim
from mechbp.report.document import FigureData, Section
from mechbp.report.parts import estimate
from mechbp.study import Study
from mechbp.theory.topics.belief_pairs import belief_pairs

MEANS = "conditional means"
PROBE = "probe"
ROTATION = "learned rotation"
MISMATCHED = "rotation learnt from mismatched answers"
LEACE = "LEACE"
PLACEBO = ", placebo"
ASKED, EVERYWHERE = "asked position", "all positions"
DRAWN = 3
"""Documents drawn for every one that a pair needs: pairs whose answers hardly differ are left out."""


@dataclass(frozen=True, eq=False)
class Writing:
    """Causal tests of one run at every stage, at the asked position and at all positions."""

    subject: Subject
    dims: int
    pairs: dict[str, Pairs]
    """By where the belief is written."""
    written: dict[str, dict[str, MessageTest]]
    """Where -> stage -> edits."""
    erased: dict[str, dict[str, MessageTest]]
    untrained: MessageTest
    """At the asked position and the last stage of random weights."""

    def explained(self, study: Study, where: str, stage: str, edit: str) -> Interval:
        """Return how much of the way to the exact answer an edit goes."""
        tests = self.erased if edit.startswith(LEACE) else self.written
        return tests[where][stage].explained(edit, study.rng(self.subject.name, "writing", where, stage, edit))

    def at_last(self, study: Study, edit: str) -> Interval:
        """Return the same at the asked position, at the stage that the answer is read from."""
        return self.explained(study, ASKED, self.subject.last, edit)


def writing(study: Study, subject: Subject) -> Writing:
    """Fit subspaces of the belief on some documents, and test them on pairs of others. Raises TooFewSequences."""
    study.stage(f"{subject.name}: writing beliefs")
    rng = study.rng(subject.name, "writing")
    fitted = subject.hidden_words(study, "writing, fitted", study.size(1200, 160))
    n = study.size(160, 24)
    shown = subject.documents(study, "writing, pairs", 2 * DRAWN * n)
    pairs = {
        ASKED: belief_pairs(subject.process, shown, n),
        EVERYWHERE: belief_pairs(subject.process, shown, n, everywhere=True),
    }
    training = belief_pairs(subject.process, subject.documents(study, "writing, learnt", 2 * DRAWN * n), n)
    dims = min(subject.process.n_topics - 1, subject.architecture.d_model)
    steps = study.size(STEPS, STEPS // 5)
    found = capture(subject.run.model, fitted.shown, list(subject.stages.values()))
    written: dict[str, dict[str, MessageTest]] = {ASKED: {}, EVERYWHERE: {}}
    erased: dict[str, dict[str, MessageTest]] = {ASKED: {}, EVERYWHERE: {}}
    for stage, hook in subject.stages.items():
        activations = to_array(found[hook])
        for where, positions in ((ASKED, 1), (EVERYWHERE, activations.shape[1])):
            if where == EVERYWHERE and stage == subject.last:
                continue  # no position reads another after the last block
            seen = activations[:, :positions]
            beliefs = np.repeat(fitted.beliefs.proportions[:, None], positions, axis=1)
            subspaces = {MEANS: mean_subspace(seen, beliefs, dims)}
            if where == ASKED:
                subspaces[PROBE] = probe_subspace(seen, beliefs, dims)
                if stage == subject.last:
                    subspaces[ROTATION] = learn_rotation(subject.run.model, training, hook, dims, rng=rng, steps=steps)
                    wrong = training.mismatched(rng)
                    subspaces[MISMATCHED] = learn_rotation(subject.run.model, wrong, hook, dims, rng=rng, steps=steps)
            written[where][stage] = interchange(subject.run.model, pairs[where], hook, subspaces, rng=rng)
            erased[where][stage] = erase(subject.run.model, pairs[where], hook, {LEACE: leace(seen, beliefs)}, rng=rng)
    hook = subject.stages[subject.last]
    random = to_array(capture(subject.controls[0], fitted.shown, hook)[hook])[:, :1]
    means = mean_subspace(random, fitted.beliefs.proportions[:, None], dims)
    untrained = interchange(subject.controls[0], pairs[ASKED], hook, {MEANS: means}, rng=rng)
    return Writing(subject, dims, pairs, written, erased, untrained)


def writing_claim(study: Study, found: Sequence[Writing]) -> Claim:
    """The belief's subspace carries the answer."""
    carried = CRITERIA["belief-used"].bounds["carried"]

    def at(edit: str) -> list[Interval]:
        return [one.at_last(study, edit) for one in found]

    means, placebos, erased, erased_placebos = (at(edit) for edit in (MEANS, MEANS + PLACEBO, LEACE, LEACE + PLACEBO))
    wholes, probes, rotations, mismatched = (at(edit) for edit in (WHOLE, PROBE, ROTATION, MISMATCHED))
    random = [one.untrained.explained(MEANS, study.rng(one.subject.name, "writing", "untrained")) for one in found]
    return CRITERIA.claim(
        "belief-used",
        id="belief-used",
        statement="Models answer from a belief about topics, held in one dimension less than there are topics after the last "
        f"block: with another document's written in, the answer goes {carried:.0%} of the way to that document's exact "
        "predictive; erased, it goes as far to the unigram.",
        reference="no published test writes a belief about topics; bound as for hidden Markov models",
        measured="\n".join(
            f"{one.subject.name}: written {estimate(means[i], 3)}, erased {estimate(erased[i], 3)}; directions of the probe "
            f"{estimate(probes[i], 2)}, learned rotation {estimate(rotations[i], 3)}; {one.dims} dimensions, "
            f"{len(one.pairs[ASKED])} pairs"
            for i, one in enumerate(found)
        ),
        control="\n".join(
            f"{one.subject.name}: placebos {estimate(placebos[i], 2)} and {estimate(erased_placebos[i], 2)}, whole vector "
            f"{estimate(wholes[i], 3)}, rotation learnt from mismatched answers {estimate(mismatched[i], 2)}, random weights "
            f"{estimate(random[i], 2)}"
            for i, one in enumerate(found)
        ),
        numbers={
            "pairs": [len(one.pairs[ASKED]) for one in found],
            "means_low": [float(value.low) for value in means],
            "placebo_high": [float(value.high) for value in placebos],
            "leace_low": [float(value.low) for value in erased],
            "leace_placebo_high": [float(value.high) for value in erased_placebos],
        },
        figure=f"fig-{found[0].subject.name}-writing",
    )


def writing_section(study: Study, found: Sequence[Writing]) -> Section:
    """Return the section with its figures."""
    text = (
        "Two documents, base and source. The base's activation gets the source's component in a subspace: the span of the "
        "conditional means E[activation | topic], along which activations move with E[theta], or the directions of a ridge "
        "probe, from which it is read. Exact inference says what must follow: a hidden word has the predictive of the source's "
        "belief. Erasure takes away all that an affine probe could find of the belief; then the unigram must follow. Placebos "
        "change the activation as far in a random direction. After the last block a rotation is learnt as well, on other pairs, "
        "to answer as exact inference says, and as a control from answers of other pairs.",
        "At the asked position alone the belief can be written only after it has arrived there. At all positions it may also be "
        "written where it is still spread over the words shown; the source's whole activations at all positions are the source's "
        "run and explain everything, so that only subspaces tell anything there.",
    )
    return Section("writing", "Is the belief used?", text, tuple(_figure(study, one) for one in found))


def _figure(study: Study, one: Writing) -> FigureData:
    shown = (
        (ASKED, WHOLE, "asked: whole vector", False),
        (ASKED, MEANS, "asked: belief subspace", False),
        (ASKED, MEANS + PLACEBO, "asked: its placebo", True),
        (ASKED, PROBE, "asked: directions of the probe", False),
        (ASKED, LEACE, "asked: belief erased", False),
        (EVERYWHERE, MEANS, "all positions: belief subspace", False),
        (EVERYWHERE, MEANS + PLACEBO, "all positions: its placebo", True),
        (EVERYWHERE, LEACE, "all positions: belief erased", False),
    )
    series = []
    for where, edit, name, control in shown:
        # After the last block writing at all positions is writing at the asked one.
        places = {stage: where if stage in one.written[where] else ASKED for stage in one.subject.stages}
        intervals = [one.explained(study, place, stage, edit) for stage, place in places.items()]
        series.append({"name": name, **points(intervals, "x"), **({"control": True} if control else {})})
    return FigureData(
        id=f"fig-{one.subject.name}-writing",
        kind="dots",
        title=f"{one.subject.name}: writing another document's belief, and erasing it",
        caption="Share of the way to the exact answer, 1 - KL(exact || model) after the edit / before it, with 95 % bootstrap "
        f"intervals over {len(one.pairs[ASKED])} pairs of documents whose exact predictives differ by 0.02 nats or more "
        f"({one.pairs[ASKED].share_kept:.0%} of those drawn). Edits that hurt are below 0; the axis ends at -0.5.",
        alt="Share of the way to the exact answer by stage: whole vector, belief subspace, probe's directions and erasure at the "
        "asked position, subspace and erasure at all positions, with placebos.",
        data={
            "x_title": "share of the way to the exact answer",
            "x_range": [-0.5, 1.05],
            "categories": list(one.subject.stages),
            "series": series,
        },
    )

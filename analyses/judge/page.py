"""Claim: methods that intervene tell a message that is read from one that merely stands there; methods that read do not.

No trained run is studied. Models compiled from random grammars hold messages whose places and readers are known: some are read,
some stand in two slots, some nothing reads, and some places hold other messages or nothing. Every method is asked about the same
places, under the same budget of passes. Controls: random scores, and probes offered as
localisation, which must raise false alarms.
"""

from __future__ import annotations

from analyses.judge.claims import claims_of
from mechbp.figures.picture import Picture
from mechbp.judging.table import FEW, Table, judge_all
from mechbp.report.document import FigureData, Section
from mechbp.report.opening import Opening, Said
from mechbp.study import Findings, Page, Study

FIRST = 10
"""The first grammar; methods were tried on earlier ones while they were written."""
BUDGET = 6000
QUICK = (
    *("patch-denoising", "attribution", "ablation-mean", "ablation-zero", "probe-as-localisation", "random"),
    *("probe", "random-probing", "interchange-means", "random-interchange"),
)
"""What a first look leaves out takes most of the time."""
READING = (
    "A yes where yes is right is a hit, a no there a miss; a yes where no is right is a false alarm. AUROC takes no threshold: "
    "it is how often a place where yes is right is scored above one where no is right, 0.5 for scores that know nothing, 1 for "
    "scores that put the two apart. Intervals are over grammars, each with models of its own."
)
FEW_GRAMMARS = f"Here they rest on fewer than {FEW} grammars, and so say little of others."


def study_page(study: Study) -> Findings:
    """Return the claims and sections of the page."""
    names = QUICK if study.quick else ()
    table = judge_all(names, grammars=study.size(6, 2), budget=BUDGET, first=FIRST, say=study.stage)
    return claims_of(table), (_asked(), _found(table), _cost(table))


def _asked() -> Section:
    text = (
        "A question is a compiled model, pairs of inputs that differ below one node only, and candidates: places (a hook and "
        "positions) of which a method says how sure it is that the node's message is there. What is there follows from the "
        "layout of the model, never from a method: the message, read by the answer (read), or in two slots of which each reader "
        "takes half (copy); what it is computed from or is computed from it, on the way to the answer (passed on) or not "
        "(related); the message where nothing reads it for this answer (unread); another message that the answer does read "
        "(other); or nothing.",
        "Localisation and interchange are right to say yes where the message is read, and no where it merely stands. A probe is "
        "right to say yes wherever it stands. What mixes the message with others is asked of localisation only.",
        "Places are single variables of the residual stream, each with a hook of its own (parts), outputs of attention and MLPs "
        "at one position (components), or the residual stream at several positions (streams).",
        f"One pass is one sequence through all blocks, counted at the blocks; a backward pass counts as two. Each method may use "
        f"{BUDGET:,} per question, and one that asks for more is stopped.",
    )
    return Section("asked", "What is asked", text)


def _found(table: Table) -> Section:
    text = (
        READING,
        *((FEW_GRAMMARS,) if max(found.said.n for found in table) < FEW else ()),
        "Methods with a threshold of their own say yes by it: effects whose interval lies off zero and that are at least 1 % of "
        "the difference between the runs, R² above 0.05, shares explained above 0.05. Others have as many yes taken from the top "
        "of their scores as are right.",
    )
    figures = (_figure("fig-judge-said", table.picture()), _figure("fig-judge-auroc", table.auroc_picture()))
    return Section("found", "What methods say", text, figures)


def _cost(table: Table) -> Section:
    stopped = [f"{found.method}, {found.sites}: {found.stopped[0]}" for found in table if found.stopped]
    text = (
        "Passes are what a method needs of the model; fitting probes and subspaces costs none of them.",
        *(f"Stopped: {line}." for line in stopped),
    )
    return Section("cost", "What they cost", text, (_figure("fig-judge-passes", table.passes_picture()),))


def _figure(name: str, picture: Picture) -> FigureData:
    return FigureData(name, picture.kind, picture.title, picture.caption, picture.alt, dict(picture.data))


PAGE = Page(
    title="Which method finds what is there?",
    lead="Models built by hand hold messages whose places and readers are known, among copies, decoys and messages that nothing "
    "reads. Localisation, probing and interchange are asked where the message is, at the same budget of passes.",
    runs=(),
    family=None,
    study=study_page,
    opening=Opening(
        telling="fig-judge-said",
        result=(
            Said(
                "Patching, attribution and path patching find what is read of a message, and nothing else; attribution at a "
                "fraction of the passes.",
                {"holds": ("judge-causal", "judge-cheap")},
            ),
            Said(
                "A probe finds the message where nothing reads it as well, and ablation finds what is needed, whosever message "
                "it is.",
                {"holds": ("judge-unread", "judge-probe", "judge-ablation")},
            ),
        ),
        wing="trees",
        papers=(),
    ),
)

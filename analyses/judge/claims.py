"""The claims of the page, from the table of all methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from analyses.judge.criteria import CRITERIA
from mechbp.judging.judgement import Judgement, told
from mechbp.judging.table import Table, label
from mechbp.judging.truth import TRUTHS, Truth
from mechbp.methods.statistics.intervals import seed_mean
from mechbp.report.claim import Claim

CAUSAL = ("patch-denoising", "patch-noising", "attribution", "path-patching", "transformer-lens")
ABLATIONS = ("ablation-mean", "ablation-resample")
SEARCHES = ("interchange-means", "interchange-probe", "interchange-das", "erasure-leace")
RANDOM = ("random", "random-probing", "random-interchange")


def claims_of(table: Table) -> list[Claim]:
    """Return all claims of the page."""
    parts = (_causal, _unread, _probe, _ablation, _copies, _written, _cheap, _chance)
    return [part(table) for part in parts]


def _causal(table: Table) -> Claim:
    found = _all(table, CAUSAL)
    return CRITERIA.claim(
        "causal",
        id="judge-causal",
        statement="Patching, attribution and path patching find what the answer reads of a message, and nothing else.",
        reference="by construction: yes at the message where it is read, at its copies and at what passes it on; no elsewhere",
        measured=f"hits at least {_least(_hits(found)):.2f}, false alarms at most {_most(_alarms(found)):.2f}, over "
        f"{len(found)} methods and kinds of places\n{_n(table)}",
        control=_random(table, "random"),
        numbers={"hits": _hits(found), "alarms": _alarms(found)},
        figure="fig-judge-said",
    )


def _unread(table: Table) -> Claim:
    wrong = _all(table, ("probe-as-localisation",))
    causal = _all(table, CAUSAL)
    at = TRUTHS.index("unread")
    return CRITERIA.claim(
        "unread",
        id="judge-unread",
        statement="Probes offered as localisation raise false alarms at the message that nothing reads; interventions do not.",
        reference="by construction: the message stands there, and no weight carries it to the answer",
        measured="said yes of unread messages: "
        + ", ".join(f"{label(found)} {told(found.said[at])}" for found in wrong)
        + f"\n{_n(table)}",
        control=f"interventions: at most {_most(_at(causal, 'unread')):.2f}",
        numbers={"probe_low": [float(found.said.low[at]) for found in wrong], "causal": _at(causal, "unread")},
        figure="fig-judge-said",
    )


def _probe(table: Table) -> Claim:
    found = _all(table, ("probe",))
    return CRITERIA.claim(
        "probe",
        id="judge-probe",
        statement="Probes find the message wherever it stands, read or not, and only there.",
        reference="by construction: yes at read, copied and unread messages; no at other messages and at nothing",
        measured=f"hits at least {_least(_hits(found)):.2f}, false alarms at most {_most(_alarms(found)):.2f}\n{_n(table)}",
        control=_random(table, "random-probing"),
        numbers={"hits": _hits(found), "alarms": _alarms(found)},
        figure="fig-judge-said",
    )


def _ablation(table: Table) -> Claim:
    ablated = _all(table, ABLATIONS)
    patched = _all(table, CAUSAL)
    return CRITERIA.claim(
        "ablation",
        id="judge-ablation",
        statement="Ablation says yes at other messages that the answer reads: it finds what is needed, not whose it is.",
        reference="by construction: these places say nothing of the node, and the answer reads them",
        measured="said yes of other messages: "
        + ", ".join(f"{label(found)} {told(found.said[TRUTHS.index('other')])}" for found in ablated)
        + f"\n{_n(table)}",
        control=f"patching on pairs that differ in this message only: at most {_most(_at(patched, 'other')):.2f}",
        numbers={"other": _at(ablated, "other"), "patched_other": _at(patched, "other")},
        figure="fig-judge-said",
    )


def _copies(table: Table) -> Claim:
    (zero,) = table.of("ablation-zero", "parts")
    others = [found for found in _all(table, (*CAUSAL, *ABLATIONS)) if found.sites == "parts"]
    return CRITERIA.claim(
        "copies",
        id="judge-copies",
        statement="Zeros in one of two copies are not noticed, so that zero ablation misses both; others find them.",
        reference="by construction: each reader takes half of either slot, and half a message is the message at another scale",
        measured=f"found of copies: ablation-zero {_at([zero], 'copy')[0]:.2f}\n{_n(table)}",
        control=f"other methods at the same places: at least {_least(_at(others, 'copy')):.2f}",
        numbers={"zero_hits": _at([zero], "copy")[0], "other_hits": _at(others, "copy")},
        figure="fig-judge-said",
    )


def _written(table: Table) -> Claim:
    found = _all(table, SEARCHES)
    return CRITERIA.claim(
        "written",
        id="judge-written",
        statement="Subspaces found by conditional means, probes, alignment search and LEACE tell where the message is read.",
        reference="by construction: writing or erasing the message changes the answer there, and nowhere else",
        measured="AUROC: " + ", ".join(f"{label(one)} {told(one.auroc)}" for one in found) + f"\n{_n(table)}",
        control=_random(table, "random-interchange"),
        numbers={"auroc": [float(one.auroc.mean) for one in found], "alarms": _alarms(found)},
        figure="fig-judge-auroc",
    )


def _cheap(table: Table) -> Claim:
    pairs = [(found, table.of("patch-denoising", found.sites)[0]) for found in table.of("attribution")]
    shares = [float(cheap.passes.mean / dear.passes.mean) for cheap, dear in pairs]
    return CRITERIA.claim(
        "cheap",
        id="judge-cheap",
        statement="Attribution tells yes from no as well as patching does, at a fraction of the passes.",
        reference="a gradient serves all places at once; a patch takes a pass each",
        measured="share of the passes of patching: "
        + ", ".join(f"{cheap.sites} {share:.2f}" for (cheap, _), share in zip(pairs, shares, strict=True))
        + f"\n{_n(table)}",
        control=", ".join(f"{dear.sites}: AUROC {told(cheap.auroc)}, patching {told(dear.auroc)}" for cheap, dear in pairs),
        numbers={
            "share_of_passes": shares,
            "auroc_lost": [float(dear.auroc.mean - cheap.auroc.mean) for cheap, dear in pairs],
        },
        figure="fig-judge-passes",
    )


def _chance(table: Table) -> Claim:
    found = _all(table, RANDOM)
    aurocs = np.array([float(one.auroc.mean) for one in found])
    pooled = seed_mean(aurocs)
    return CRITERIA.claim(
        "chance",
        id="judge-chance",
        statement="Random scores are judged as chance.",
        reference="AUROC 0.5",
        measured=f"mean AUROC of {len(found)} rows of random scores {told(pooled)}\n{_n(table)}",
        control="the questions are those of the other methods",
        numbers={"pooled_auroc": float(pooled.mean)},
        figure="fig-judge-auroc",
    )


def _all(table: Table, names: Iterable[str]) -> list[Judgement]:
    """The judgements of these methods that answered anything."""
    return [found for name in names for found in table.of(name) if found.said.n]


def _hits(found: Sequence[Judgement]) -> list[float]:
    return [float(share) for one in found for share in one.hits.mean if not np.isnan(share)]


def _alarms(found: Sequence[Judgement]) -> list[float]:
    return [float(share) for one in found for share in one.false_alarms.mean if not np.isnan(share)]


def _at(found: Sequence[Judgement], truth: Truth) -> list[float]:
    """The shares said yes of one truth, of those that were asked about it."""
    shares = [float(one.said.mean[TRUTHS.index(truth)]) for one in found]
    return [share for share in shares if not np.isnan(share)]


def _least(values: Sequence[float]) -> float:
    return min(values, default=float("nan"))


def _most(values: Sequence[float]) -> float:
    return max(values, default=float("nan"))


def _random(table: Table, name: str) -> str:
    return "random scores: AUROC " + ", ".join(f"{found.sites} {told(found.auroc)}" for found in table.of(name))


def _n(table: Table) -> str:
    return f"n = {max(found.said.n for found in table)} grammars"

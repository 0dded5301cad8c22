"""One small example of every result that shows itself, by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mechbp.methods.attention.comparison import AttentionMatch, compare_patterns
from mechbp.methods.attention.patterns import AttentionPatterns
from mechbp.methods.circuits.attribution import AnswerAttribution, answer_attribution
from mechbp.methods.circuits.circuit import circuits
from mechbp.methods.circuits.decompose import decompose
from mechbp.methods.circuits.decomposition import Decomposition
from mechbp.methods.circuits.mode_margins import Margin, NullScores, null_scores
from mechbp.methods.circuits.modes import Modes, modes
from mechbp.methods.circuits.order_scores import OrderScores, order_scores
from mechbp.methods.circuits.result import Circuits
from mechbp.methods.interchange.later_answers import LaterAnswers
from mechbp.methods.interchange.message_test import MessageTest
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import quadratic
from mechbp.methods.llc.result import LLCEstimate
from mechbp.methods.patching.ablate import AblationEffects, ablate
from mechbp.methods.patching.attribution import Attributions, attribution_patch
from mechbp.methods.patching.attribution_error import EstimateError, estimate_error
from mechbp.methods.patching.edges import DirectPath, Receiver, Sender
from mechbp.methods.patching.patch import PatchEffects, patch
from mechbp.methods.patching.path_patch import PathEffects, path_patch
from mechbp.methods.probing.grid import ProbeGrid
from mechbp.methods.probing.probe import probe
from mechbp.methods.statistics.answers import Agreement, Calibration, agreement, calibration
from mechbp.methods.statistics.confidence import Reliability, reliability
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.line_fit import LineFit, line_fit
from mechbp.methods.statistics.peak_fall import PeakFall, peak_fall
from mechbp.methods.statistics.rival_oracles import OracleLeads, oracle_leads
from mechbp.methods.statistics.smoothed_maximum import SmoothedMaximum, smoothed_maximum
from mechbp.methods.statistics.turning_point import Turn, turn
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.chain.constrained_values import VectorFit
from mechbp.theory.chain.distance_agreement import DistanceAgreement
from mechbp.theory.chain.exact_loss import ExactLoss
from mechbp.theory.chain.first_block import MeanPattern
from mechbp.theory.chain.prefix_probe import AffineMap, WordScore
from mechbp.theory.sorting.answer_scores import AnswerScores, answer_scores, score_changes
from mechbp.theory.sorting.attention_classes import ClassAttention as SortingAttention
from mechbp.theory.sorting.element_patching import ElementCell, ElementEffects
from mechbp.theory.sorting.gaps import GapLaws, gap_laws
from mechbp.theory.sorting.head_ablation import HeadAblation
from mechbp.theory.sorting.head_interchange import HeadInterchange
from mechbp.theory.sorting.ladder import RungLoss, information_ladder
from mechbp.theory.sorting.owner_attention import OwnerAttention
from mechbp.theory.sorting.replaced_patterns import ReplacedLosses
from mechbp.theory.topics.document_floors import DocumentFloors, document_floors
from mechbp.theory.topics.dynamics import Trajectories
from mechbp.theory.topics.key_classes import ClassAttention as TopicAttention
from mechbp.theory.tree.attention import LevelMass, mass_by_level
from mechbp.theory.tree.followed import Followed, followed
from mechbp.theory.tree.message_losses import MessageLosses
from mechbp.theory.tree.oracle_distances import Lead, lead_of
from mechbp.theory.tree.oracle_table import OracleTable
from mechbp.theory.tree.pattern_ablation import AblationRow, AttentionAblation, PatternReplacement
from mechbp.theory.tree.shared_probe import SharedProbe
from tests.support.random_models import random_model, random_tokens

N = 40
MODEL = random_model()
CLEAN = random_tokens(MODEL, N)
CORRUPTED = random_tokens(MODEL, N, seed=2)
HOOKS = ["blocks.*.hook_resid_pre", "blocks.*.attn.hook_z", "blocks.*.attn.hook_pattern"]


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    values = drawn(*shape, seed=seed) + 0.1
    return values / values.sum(axis=-1, keepdims=True)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def interval(*shape: int) -> Interval:
    return bootstrap_mean(drawn(N, *shape), rng(), resamples=50)


def metric(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, -1, 0] - logits[:, -1, 1]


def patterns() -> AttentionPatterns:
    return AttentionPatterns((0, 1), rows(N, 2, 2, 4, 4), None, None)


def effects() -> PatchEffects:
    return patch(MODEL, CLEAN, CORRUPTED, metric, HOOKS)


def grid() -> ProbeGrid:
    tokens = CLEAN.numpy().repeat(8, axis=0)
    tokens = np.random.default_rng(1).integers(0, 6, size=tokens.shape)
    targets = {"two": rows(len(tokens), 2, 3), "symbol": tokens[:, :1]}
    own = {"two": np.array([0, 0, 1, 1, -1])}
    hooks = ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_post"]
    return probe(MODEL, tokens, targets, hooks, rng=rng(), own=own, resamples=20)


def scores() -> AnswerScores:
    truth = np.sort(np.random.default_rng(0).integers(0, 5, size=(N, 3)), axis=1)
    return answer_scores(drawn(N, 3, 6) + 2 * np.eye(6)[truth], truth, rng(), n_values=5, resamples=50)


def ov_qk() -> tuple[np.ndarray, np.ndarray]:
    return np.stack([np.eye(6), np.eye(6)[::-1]]) + 0.1 * drawn(2, 6, 6), drawn(2, 6, 6)


def message_test() -> MessageTest:
    kl = {name: drawn(N, seed=seed) for seed, name in enumerate(("nothing", "whole vector", "means", "means, placebo"))}
    return MessageTest("blocks.0.hook_resid_post", kl, kl, kl, {"exact answer without the message": drawn(N, seed=9)})


def trajectories() -> Trajectories:
    steps = np.array([0, 1, 2, 5])
    curves = [drawn(2, 4, seed=seed) for seed in range(5)]
    return Trajectories(
        steps, *curves, {"key": drawn(2, 4)}, {"key": drawn(2, 4)}, np.array([1.0, np.inf]), np.array([2.0, 5.0]), ()
    )


def oracle_table() -> OracleTable:
    tables = [drawn(2, 2, seed=seed) for seed in range(6)]
    return OracleTable("masked", (0, 1), N, *tables, np.zeros((2, 2), np.int64))


def ablation() -> AttentionAblation:
    found = [
        AblationRow(name, layers, None, interval(), drawn(N)) for name in ("uniform", "relabelled") for layers in ((0,), (0, 1))
    ]
    return AttentionAblation(interval(), tuple(found))


EXAMPLES: dict[type, Callable[[], Any]] = {
    AttentionMatch: lambda: compare_patterns(
        patterns(), rows(2, 2, 4, 4, seed=3), rng=rng(), control=patterns(), permutations=19
    ),
    AttentionPatterns: patterns,
    AnswerAttribution: lambda: answer_attribution(drawn(N, 2, 2, 5), np.random.default_rng(0).integers(0, 4, size=(N, 2))),
    Circuits: lambda: circuits(MODEL, variant="raw"),
    Decomposition: lambda: decompose(MODEL, CLEAN),
    Margin: lambda: Margin("splitting", np.array([0.3, np.inf, 0.7])),
    NullScores: lambda: null_scores(*ov_qk(), rng(), 8),
    Modes: lambda: modes(*ov_qk()),
    OrderScores: lambda: order_scores(drawn(2, 5, 5)),
    LaterAnswers: lambda: LaterAnswers("blocks.0.hook_resid_post", {"nothing": rows(N, 3, 4), "whole": rows(N, 3, 4, seed=1)}),
    MessageTest: message_test,
    LLCEstimate: lambda: llc(
        *quadratic(np.array([0.5, 1.0])),
        [None],
        n_beta=20.0,
        localization=4.0,
        step_size=2e-3,
        chains=2,
        burn_in=20,
        draws=60,
        rng=rng(),
    ),
    AblationEffects: lambda: ablate(MODEL, CLEAN, metric, HOOKS[1], "zero", jointly=False),
    Attributions: lambda: attribution_patch(MODEL, CLEAN, CORRUPTED, metric, HOOKS),
    EstimateError: lambda: estimate_error(attribution_patch(MODEL, CLEAN, CORRUPTED, metric, HOOKS), effects(), rng()),
    PatchEffects: effects,
    PathEffects: lambda: path_patch(
        MODEL, CLEAN, CORRUPTED, metric, [DirectPath(Sender("embedding"), (Receiver("final"),))], ln="recomputed"
    ),
    ProbeGrid: grid,
    Agreement: lambda: agreement(rows(N, 2, 4), rows(N, 2, 4, seed=1), rng()),
    Calibration: lambda: calibration(rows(N, 2, 4), rows(N, 2, 4, seed=1), rng(), bins=8),
    Reliability: lambda: reliability(drawn(N, 3), drawn(N, 3, seed=1) < 0.5, rng(), bins=5),
    Interval: lambda: interval(2, 2),
    LineFit: lambda: line_fit(drawn(N), drawn(N, seed=1), rng()),
    PeakFall: lambda: peak_fall(drawn(N, 4)),
    OracleLeads: lambda: oracle_leads([rows(N, 2, 3, seed=seed) for seed in range(3)], 0, rows(N, 2, 3, seed=5), rng()),
    SmoothedMaximum: lambda: smoothed_maximum(np.array([1.0, 2, 4, 8, 16]), drawn(4, 5), 0.3, rng(), resamples=20),
    Turn: lambda: turn(drawn(4, 5)),
    VectorFit: lambda: VectorFit(drawn(4, 3, 3), drawn(4, 3, 3, seed=1), drawn(3, 3, seed=2)),
    DistanceAgreement: lambda: DistanceAgreement({"belief": 0.9, "words": 0.3}, {"belief": drawn(20), "words": drawn(20)}, 12),
    ExactLoss: lambda: ExactLoss(0.01 * drawn(5), 0.3 + drawn(5), 1 + drawn(5)),
    MeanPattern: lambda: MeanPattern(rows(2, 4, 4), 0.1 * drawn(2, 4, 4), 81),
    WordScore: lambda: WordScore(0.9, 0.01, 0.8, 0.7, 0.9, 0.02, 0.1, AffineMap(drawn(3, 2), drawn(2), 3), 60, 3),
    AnswerScores: scores,
    SortingAttention: lambda: SortingAttention(rows(N, 2, 3, 7), np.ones((N, 3, 7), np.int64)),
    ElementEffects: lambda: ElementEffects(
        (ElementCell("attn.hook_v", 0), ElementCell("hook_resid_pre", None)), drawn(N, 2), -drawn(N), 1 + drawn(N)
    ),
    GapLaws: lambda: gap_laws(SortedLists(8, 3)),
    HeadAblation: lambda: HeadAblation((1,), "zero", scores(), score_changes(scores(), scores(), rng())),
    HeadInterchange: lambda: HeadInterchange(
        ((), (0,)),
        np.random.default_rng(0).integers(0, 3, size=(N, 2)),
        -drawn(N, 2),
        np.zeros(N, np.int64),
        np.ones(N, np.int64),
    ),
    RungLoss: lambda: next(iter(information_ladder(SortedLists(8, 3)).values())),
    OwnerAttention: lambda: OwnerAttention(drawn(N, 3) < 0.5, drawn(N, 3), drawn(N, 3), drawn(N, 3)),
    ReplacedLosses: lambda: ReplacedLosses(("own", "uniform"), drawn(2, N, 3), drawn(2, N, 3) < 0.8, drawn(2, N, 3) < 0.5),
    DocumentFloors: lambda: document_floors(
        np.random.default_rng(0).integers(0, 5, size=(N, 3)), np.random.default_rng(1).integers(1, 3, size=(N, 3)), np.ones(3), 4
    ),
    Trajectories: trajectories,
    TopicAttention: lambda: TopicAttention(1 + drawn(N, 2, 1, 7), 1 + drawn(N, 7), drawn(4, 4), drawn(4, 4)),
    LevelMass: lambda: mass_by_level(patterns(), rng()),
    Followed: lambda: followed(rows(N, 3), {0: rows(N, 3, seed=1), 1: rows(N, 3, seed=2)}, rng()),
    MessageLosses: lambda: MessageLosses(interval(3), drawn(20, 3)),
    Lead: lambda: lead_of(0, drawn(N, 2, 3), rng()),
    OracleTable: oracle_table,
    PatternReplacement: lambda: PatternReplacement(drawn(N), drawn(N, seed=1)),
    AttentionAblation: ablation,
    SharedProbe: lambda: SharedProbe(
        ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"), (0, 7), interval(2, 3), drawn(2, 3, 8), 60, N
    ),
}

"""Which upward messages a run uses and needs, where the construction has them, judged against a model that has lost them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyses.shared.residual_stream import between_blocks
from analyses.tree_paper.groups import Group
from mechbp.errors import TooFewSequences
from mechbp.hooks import to_array
from mechbp.methods.interchange.continuation import pair_activations
from mechbp.methods.interchange.das import learn_rotation
from mechbp.methods.interchange.deletion import more_beyond_deletion, obedience_nats
from mechbp.methods.interchange.interchange import MessageTest, erase, interchange
from mechbp.methods.interchange.leace import leace
from mechbp.methods.interchange.subspaces import at_leaves, mean_subspace
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.statistics.refits import over_refits
from mechbp.models.runs import Run
from mechbp.models.tasks.tree import training_evidence
from mechbp.study import Study
from mechbp.theory.tree.message_pairs import MessagePairs, message_pairs

MEANS, SHUFFLED, LEARNED, LEACE = "conditional means", "means of shuffled messages", "learned subspace", "LEACE"
PLACEBO = ", placebo"
REFITS = 2
STEPS = 40
BATCH = 32


@dataclass(frozen=True, eq=False)
class DepthTest:
    """All tests of the messages that nodes of one depth send up, at the stage where the construction has them."""

    depth: int
    pairs: MessagePairs
    written: MessageTest
    """Conditional means, and those of messages shuffled over sequences."""
    learned: tuple[MessageTest, ...]
    """One per refit of the learned subspace; none where it is not asked for."""
    erased: MessageTest

    def beyond(self, study: Study, edit: str) -> Interval:
        """Return the share beyond deletion; of the learned subspace the mean, lowest and highest end over refits."""
        tests = self.learned if edit == LEARNED else [self.written]
        gone = self.pairs.deletion_kl_nats
        return over_refits([test.beyond(edit, gone, study.rng("beyond deletion", self.depth)) for test in tests])

    def above(self, study: Study, rival: str) -> Interval:
        """Return by how much conditional means carry more than another edit, on the same pairs."""
        kl = self.written.target_kl_nats
        return more_beyond_deletion(self.pairs, kl[MEANS], kl[rival], study.rng("above", rival, self.depth))

    def obeyed(self, study: Study, edit: str = LEACE) -> Interval:
        """Return how much nearer the erased run is to exact inference without the message than with it, nats."""
        return bootstrap_mean(obedience_nats(self.erased, edit), study.rng("obeyed", self.depth))

    def obeyed_above_placebo(self, study: Study) -> Interval:
        """Return how much more so than after a random change of equal norm, on the same pairs, nats."""
        gained = obedience_nats(self.erased, LEACE) - obedience_nats(self.erased, LEACE + PLACEBO)
        return bootstrap_mean(gained, study.rng("obeyed above placebo", self.depth))

    def more_used(self, study: Study, other: DepthTest) -> Interval:
        """Return by how much conditional means carry more here than in another run, on the same pairs."""
        mine, theirs = (test.written.target_kl_nats[MEANS] for test in (self, other))
        return more_beyond_deletion(self.pairs, mine, theirs, study.rng("more used", self.depth))

    def more_needed(self, study: Study, other: DepthTest) -> Interval:
        """Return by how much nearer this run is, once erased, to exact inference without the message than another is, nats."""
        mine, theirs = (test.erased.target_kl_nats[LEACE] for test in (self, other))
        return bootstrap_mean(theirs - mine, study.rng("more needed", self.depth))


def tested_messages(study: Study, group: Group, run: Run) -> list[DepthTest]:
    """Test every inner depth that has enough pairs; runs of one group are tested on the same pairs.

    Leaves are left out: their message is their token, and the embedding holds nothing else that could be told from it.
    """
    process, objective = run.process, run.config.objective
    study.stage(f"{run.name}: messages")
    sample = process.sample(study.size(2000, 300), study.rng(group.slug, "fit"))
    evidence = training_evidence(objective, process, sample.tokens, study.rng(group.slug, "fit masks"))
    upward = process.beliefs(evidence).upward
    hooks = list(between_blocks(run.config.model.n_layers).values())
    stream = captured(run.model, run.task.inputs(process, evidence), hooks)
    rates = (objective.mask_rate_low, objective.mask_rate_high) if objective.mask == "rate" else (0.0, 0.0)
    found = []
    for depth in range(process.depth - 1, max(process.filter_level, 1) - 1, -1):
        hook = hooks[min(process.depth - depth, run.config.model.n_layers)]
        try:
            held_out, training = (
                message_pairs(process, objective.task, depth, n, study.rng(group.slug, part, depth), mask_rates=rates)
                for part, n in (("pairs", study.size(512, 24)), ("training pairs", study.size(512, 48)))
            )
        except TooFewSequences:
            continue
        activations, messages = to_array(stream[hook]), at_leaves(upward[depth], process.n_leaves)
        refits = REFITS if group.question == "root" else 0  # masked models are tested so on a page of their own
        found.append(_test_depth(study, run, hook, held_out, training, activations, messages, refits))
    return found


def _test_depth(
    study: Study,
    run: Run,
    hook: str,
    pairs: MessagePairs,
    training: MessagePairs,
    activations: np.ndarray,
    messages: np.ndarray,
    refits: int,
) -> DepthTest:
    dims = run.process.vocab_size - 1
    of_pairs, of_training = (pair_activations(run.model, on.base, on.source, [hook])[hook] for on in (pairs, training))

    def learned(refit: int) -> MessageTest:
        rng = study.rng(run.name, "learned", pairs.depth, refit)
        steps = study.size(STEPS, 3)
        subspace = learn_rotation(
            run.model, training, hook, dims, rng=rng, steps=steps, batch_size=BATCH, activations=of_training
        )
        return interchange(run.model, pairs, hook, {LEARNED: subspace}, rng=rng, activations=of_pairs)

    rng = study.rng(run.name, "placebos", pairs.depth)
    subspaces = {
        MEANS: mean_subspace(activations, messages, dims),
        SHUFFLED: mean_subspace(activations, messages[rng.permutation(len(messages))], dims),
    }
    return DepthTest(
        pairs.depth,
        pairs,
        written=interchange(run.model, pairs, hook, subspaces, rng=rng, activations=of_pairs),
        learned=tuple(learned(refit) for refit in range(refits)),
        erased=erase(run.model, pairs, hook, {LEACE: leace(activations, messages)}, rng=rng, activations=of_pairs),
    )

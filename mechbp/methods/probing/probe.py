"""Probes: what can be read linearly from one activation at one position, on sequences the probe has not seen.

A score shows that a message is a linear function of the activation. It does not show that anything in the model reads it, and a
low one does not show that the message is absent: held up to a factor that varies, or as logarithms, it is no linear function.

Beliefs are read by ridge regression, symbols by multinomial logistic regression. Every probe of one activation shares one
Gram matrix and its eigendecomposition, so that hundreds of targets cost little more than one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechbp.arguments import check_memory, checked_count, checked_flag, checked_number, checked_reals, told
from mechbp.errors import InputError
from mechbp.hooks import HookedModel, capture, matching_hooks, require_control, require_hooked, to_array, to_tokens
from mechbp.methods.patching.plain_capture import captured
from mechbp.methods.probing.grid import OwnNodes, ProbeGrid
from mechbp.methods.probing.ridge import PENALTIES
from mechbp.methods.probing.scores import FLOOR
from mechbp.methods.probing.sweep import Labels, OneHot, Sweep, checked_own
from mechbp.methods.probing.targets import split_sequences, target_banks
from mechbp.methods.statistics.shared_bootstrap import Resampling
from mechbp.randomness import checked_generator

CONTROLS = ("shuffled", "tokens")
RESAMPLES = 400
LEAST_FLOOR = 1e-30
"""Logarithms run in float32, whose least number is 1e-38."""
NO_POSITION_AXIS = ("hook_pattern", "hook_attn_scores")
"""Activations [n, head, query, key]: where there are as many heads as positions, their shape would not give them away."""


def probe(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    targets: Mapping[str, np.ndarray | Tensor],
    hooks: str | Iterable[str],
    *,
    rng: np.random.Generator,
    control_model: HookedModel | None = None,
    controls: str | Collection[str] = CONTROLS,
    own: OwnNodes | None = None,
    only_own: bool = False,
    groups: Int[np.ndarray, " n"] | None = None,
    baselines: Mapping[str, Float[np.ndarray, "n d"] | Float[Tensor, "n d"]] | None = None,
    penalties: Sequence[float] = PENALTIES,
    floor: float = FLOOR,
    resamples: int = RESAMPLES,
) -> ProbeGrid:
    """Fit a probe of every node of every target at every hook and position, and score it on held-out sequences.

    `targets` maps names to beliefs [n, nodes, q] or integer symbols [n, nodes]; `hooks` are names or globs of activations
    [n, position, ...], whose trailing axes are flattened. Distinct sequences are split 60 : 20 : 20 to fit, to choose each
    ridge penalty among `penalties` (relative to the mean eigenvalue of the Gram matrix), and to score.
    `groups` [n] numbers examples that belong together: those of one group, say masked copies of one tree, always share a part.
    Groups are then what is split and resampled, and the control "shuffled" permutes whole groups (see `Split.shuffle`).
    `own` says which node of a target belongs to each position, -1 where none does: {target: [position]}. Scores of own nodes
    are then averaged over the positions that have one (`ProbeGrid.own_mean`); with `only_own` no other node is fitted (NaN).
    `control_model`, the same architecture with random weights, adds the control "random_init".
    `controls` names one or more of "shuffled" and "tokens". `baselines` adds controls of other names: features [n, d] of each
    sequence that no model computed, read in place of every activation.
    Memory: all captured activations in the model's precision, and 8 n nodes q bytes for the targets and as much shuffled.
    Raises InputError for arguments that do not fit and activations that are NaN or infinite, and its subclass TooFewSequences for
    sequences that cannot be split in three, or are no more in the training part than an activation, or the control "tokens", has
    features; HookError for what is no model, hook or control model.

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> tokens = run.process.sample(500, mechbp.rng(0, "probe")).tokens
    >>> parents = run.process.beliefs(tokens).upward[3]
    >>> hooks = ["blocks.3.hook_resid_post"]
    >>> grid = mechbp.probe(run.model, tokens, {"parent": parents}, hooks=hooks, rng=mechbp.rng(0, "fit"))
    >>> grid.r2["parent"].shape, sorted(grid.controls)
    ((1, 16, 8), ['shuffled', 'tokens'])
    """
    checked_generator(rng, "probe")
    require_hooked(model)
    positions = to_tokens(model, tokens).cpu().numpy()
    chosen = _controls(controls)
    features_of = _baselines(baselines, len(positions))
    resamples = checked_count(resamples, "probe", "resamples", least=2)
    check_memory(16.0 * resamples * len(positions), "probe", f"{resamples:,} resamples", "Take fewer resamples.")
    floor = checked_number(floor, "probe", "floor", least=LEAST_FLOOR, below=0.5)
    steps = np.atleast_1d(checked_reals(penalties, "probe", "penalties", "numbers above 0"))
    if steps.ndim != 1 or not steps.size or not (np.isfinite(steps) & (steps > 0)).all():
        raise InputError(f"probe: penalties must be finite numbers above 0, at least one, got {told(penalties)}.")
    checked_flag(only_own, "probe", "only_own")
    n_positions = positions.shape[1]
    names = matching_hooks(model, hooks)
    if control_model is not None:
        require_control("probe", model, control_model, names)
    for name in names:
        if name.endswith(NO_POSITION_AXIS):
            raise InputError(
                f"probe: {name} is [n, head, query, key], which is no activation of one position.\n"
                f"Probe [n, position, ...], such as blocks.*.hook_resid_post; compare_attention studies patterns."
            )
    split = split_sequences(positions, rng, groups)
    one_hot = OneHot(positions)
    if "tokens" in chosen:
        one_hot.check(split)
    resampling = Resampling.draw(split.test_groups, resamples, rng)
    banks = target_banks(targets, len(positions))
    given_nodes = checked_own(own, only_own, banks, n_positions)
    labels = {"model": [Labels.of(bank, split, given_nodes, only_own) for bank in banks]}
    if "shuffled" in chosen:
        labels["shuffled"] = [label.shuffled(split, rng) for label in labels["model"]]

    sweep = Sweep(split, resampling, tuple(steps.tolist()), floor)
    # Logistic fits stop at a tolerance: another rounding of the activations would end them elsewhere.
    see = captured if all(bank.kind == "distribution" for bank in banks) else capture
    tables = sweep.run(see(model, tokens, names), labels)
    scores = {source: table.scores() for source, table in tables.items()}
    if control_model is not None:
        tables |= sweep.run(see(control_model, tokens, names), {"random_init": labels["model"]})
        scores["random_init"] = tables["random_init"].scores()
    if "tokens" in chosen:
        tables |= sweep.run({"tokens": one_hot}, {"tokens": labels["model"]})
        scores["tokens"] = tables["tokens"].scores(repeats=len(names))
    for name, features in features_of.items():
        everywhere = torch.from_numpy(features)[:, None].expand(-1, n_positions, -1)
        tables |= sweep.run({name: everywhere}, {name: labels["model"]})
        scores[name] = tables[name].scores(repeats=len(names))
    order = ("random_init", "shuffled", "tokens", *features_of)
    return ProbeGrid(
        hooks=names,
        n_positions=n_positions,
        own=given_nodes,
        n_nodes={name: where.stop - where.start for bank in banks for name, where in bank.slices.items()},
        model=scores["model"],
        controls={name: scores[name] for name in order if name in scores},
        penalty=tables["model"].penalties(),
        n_train=len(split.train),
        n_validation=len(split.validation),
        n_test=len(split.test),
        floor=floor,
        unconverged=sum(table.unconverged for table in tables.values()),
    )


def _controls(controls: object) -> set[str]:
    """The controls asked for by name."""
    given = [controls] if isinstance(controls, str) else controls
    if not isinstance(given, Collection):
        raise InputError(f"probe: controls must be names out of {', '.join(CONTROLS)}, got {told(controls)}.")
    for name in given:
        if not isinstance(name, str) or name not in CONTROLS:
            raise InputError(f"probe: unknown control {told(name)}; there are {', '.join(CONTROLS)}, and control_model=.")
    return set(given)


def _baselines(baselines: object, n: int) -> dict[str, np.ndarray]:
    """Features that no model computed, by name, float64 [n, d]."""
    taken = {*CONTROLS, "random_init", "model"}
    if baselines is not None and not isinstance(baselines, Mapping):
        raise InputError(f"probe: baselines must be {{name: features [n, d]}}, got {told(baselines)}.")
    found = {}
    for name, given in (baselines or {}).items():
        features = checked_reals(to_array(given), "probe", f"baseline {told(name)}", f"real numbers [{n}, d]")
        if not isinstance(name, str) or name in taken or features.ndim != 2 or len(features) != n or not features.shape[1]:
            raise InputError(
                f"probe: baselines must be [{n}, d], by names other than {', '.join(sorted(taken))}; "
                f"got {list(features.shape)} for {told(name)}."
            )
        if not np.isfinite(features).all():
            example, d = (int(i) for i in np.argwhere(~np.isfinite(features))[0])
            raise InputError(
                f"probe: baseline {name!r} is {features[example, d]} at example {example}, feature {d}; all must be finite."
            )
        found[name] = features.astype(np.float64)
    return found

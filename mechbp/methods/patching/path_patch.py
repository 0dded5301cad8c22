"""Path patching: change what one component tells another directly, and measure what that does to the answer.

A path is an edge of the residual stream: a sender adds its output, a receiver reads the sum. The receiver is shown the sum with
the sender's term taken from the donor run; the terms of all components between them stay those of the base run, and everything
after the receiver is computed anew. It shows how much of an effect runs along that edge. It cannot show effects that pass
through a third component (those are other paths), nor whether the donor's term is one the receiver would ever meet beside
the base run's other terms.

With several receivers all of their edges are patched at once, and what an earlier receiver changes reaches the later ones as
in any run. So patching the edges to all later receivers is the same as patching the sender's output itself.
(Source: Goldowsky-Dill et al. 2023, "Localizing model behavior with path patching".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from mechbp.errors import HookError, InputError
from mechbp.figures.picture import Picture
from mechbp.hook_check import can_restart, require_sound
from mechbp.hooks import HookedModel, capture, edit, forward, matching_hooks, require_hooked, to_tokens
from mechbp.methods.patching.edges import (
    DirectPath,
    Receiver,
    Sender,
    check_path,
    hooks_of,
    path_name,
    receiver_name,
    sender_name,
)
from mechbp.methods.patching.metric import Direction, Metric, score
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import dots, ends, examples, gap_caution, largest, told
from mechbp.randomness import rng as named_rng

Edits = dict[str, Callable[[Tensor], Tensor]]
Normalisation = Literal["frozen", "recomputed"]


@dataclass(frozen=True, eq=False, repr=False)
class PathEffects(Shown):
    """Metric of the run with each path patched, per example, with bootstrap intervals over examples.

    The base run is the one patched into, the donor the one the sender's output comes from, as in `PatchEffects`.
    """

    direction: Direction
    ln: Normalisation
    paths: tuple[DirectPath, ...]
    values: Float64[np.ndarray, "n path"]
    """Metric of the patched run."""
    base: Float64[np.ndarray, " n"]
    """Metric of the base run."""
    donor: Float64[np.ndarray, " n"]
    """Metric of the donor run."""
    gap: Interval
    """Mean of donor - base: what normalised effects are divided by."""
    effect: Interval
    """Mean of `effects` over examples, one per path."""
    normalized_effect: Interval
    """Mean effect / mean gap, one per path."""

    @property
    def effects(self) -> Float64[np.ndarray, "n path"]:
        """Patched minus base metric, in the metric's own unit."""
        return self.values - self.base[:, None]

    @property
    def normalized(self) -> Float64[np.ndarray, "n path"]:
        """Effects divided by the mean gap; NaN if that is 0."""
        return self.effects / self.gap.mean if self.gap.mean != 0 else np.full_like(self.values, np.nan)

    @property
    def names(self) -> tuple[str, ...]:
        """Each path in words, "sender -> receivers"."""
        return tuple(f"{sender_name(p.sender)} -> {', '.join(map(receiver_name, p.receivers))}" for p in self.paths)

    def picture(self, normalized: bool = True) -> Picture:
        """Draw the mean effect of every path, in units of the mean gap or, if not `normalized`, of the metric."""
        found = self.normalized_effect if normalized else self.effect
        ends_of_gap = [{"name": "base run", "x": 0}, *([{"name": "donor run", "x": 1}] if normalized else [])]
        numbered = {f"{i + 1}: {name}" if self.names.count(name) > 1 else name: found[i] for i, name in enumerate(self.names)}
        return Picture(
            kind="dots",
            title=f"Path patching, {self.direction}, layer norms {self.ln}",
            caption=f"Patched minus base metric, one path at a time; the gap of the two runs is {told(self.gap)}. "
            f"{found.level:.0%} bootstrap intervals over n = {found.n:,} pairs.",
            alt=f"Dots with intervals: effects of {len(self.paths)} paths.",
            data=dots("effect / gap" if normalized else "effect on the metric", numbered, references=ends_of_gap),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per path: its two ends, and both mean effects with their interval's ends."""
        table = pd.DataFrame({"sender": [sender_name(path.sender) for path in self.paths]})
        table["receivers"] = [", ".join(map(receiver_name, path.receivers)) for path in self.paths]
        for name, interval in (("effect", self.effect), ("normalized", self.normalized_effect)):
            for column, values in ends(name, interval).items():
                table[column] = values
        table["n"] = len(self.base)
        return table

    def summary(self) -> str:
        """Return the two runs, the largest effect and n in four lines."""
        name, value = largest(self.effect.mean, self.names)
        return "\n".join(
            [
                f"{self.direction}: {len(self.paths)} paths patched one at a time, layer norms {self.ln}",
                f"metric: base run {self.base.mean():.3g}, donor run {self.donor.mean():.3g}, gap {told(self.gap)}",
                f"largest effect {value:.3g}: {name}",
                examples(self.gap, "pairs"),
                *gap_caution(self.gap),
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """Return everything but single examples for JSON."""
        ends = [
            {"sender": sender_name(path.sender), "receivers": [receiver_name(r) for r in path.receivers]} for path in self.paths
        ]
        intervals = {name: getattr(self, name).to_dict() for name in ("gap", "effect", "normalized_effect")}
        return {"direction": self.direction, "ln": self.ln, "paths": ends, **intervals}


@torch.no_grad()
def path_patch(
    model: HookedModel,
    clean: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    corrupted: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    metric: Metric,
    paths: Sequence[DirectPath],
    ln: Normalisation,
    *,
    direction: Direction = "denoising",
    batch_size: int = 128,
    rng: np.random.Generator | None = None,
) -> PathEffects:
    """Patch each path by itself and measure the patched run.

    `ln` says how a receiver's layer norm treats the changed sum. "recomputed": it normalises what it is given, as the model
    would. "frozen": it divides by the scale of the sum without the change, so that the norm is an affine map (centring is
    linear and stays) and the changes that several senders make to one receiver's normalised input add up. Layer norms after
    the receiver are always computed anew. Without layer norms the two are the same.
    `clean`, `corrupted`, `metric`, `direction` and `rng` are those of `patch`.
    Raises HookError where the model lacks a hook on the way, one is not what it is called (`check_model`), or the model, if `ln`
    is "frozen", normalises out of sight of any `hook_scale`; InputError for a receiver that is not after its sender and other
    arguments that do not fit.
    """
    require_hooked(model)
    for name, value, options in (("ln", ln, Normalisation), ("direction", direction, Direction)):
        if value not in get_args(options):
            raise InputError(f"path_patch: {name} must be one of {', '.join(get_args(options))}, got {value!r}.")
    if batch_size < 1 or not paths:
        raise InputError(f"path_patch: need batch_size >= 1 and at least one path, got {batch_size} and {len(paths)} paths.")
    base, donor = to_tokens(model, corrupted), to_tokens(model, clean)
    if base.shape != donor.shape:
        shapes = f"{list(donor.shape)} and {list(base.shape)}"
        raise InputError(f"path_patch: clean and corrupted must pair up row by row in one shape, got {shapes}.")
    if direction == "noising":
        base, donor = donor, base
    n_layers = len(matching_hooks(model, "blocks.*.hook_resid_pre"))
    for path in paths:
        check_path(path, n_layers, base.shape[1])
        require_sound("path_patch", model, matching_hooks(model, hooks_of(path, n_layers)), base)
    ends = [
        score(metric, torch.cat([forward(model, rows) for rows in tokens.split(batch_size)]), "path_patch: the unpatched run")
        for tokens in (base, donor)
    ]
    logits: list[list[Tensor]] = [[] for _ in paths]
    for base_rows, donor_rows in zip(base.split(batch_size), donor.split(batch_size), strict=True):
        stream = _Stream(model, base_rows, n_layers, ln)
        for path, found in zip(paths, logits, strict=True):
            found.append(_patched(stream, path, _sent(stream, donor_rows, path.sender)))
    values = np.stack(
        [score(metric, torch.cat(found), f"path_patch: {path_name(path)}") for path, found in zip(paths, logits, strict=True)],
        axis=1,
    )
    draw, effects, gaps = named_rng(0, "path patch") if rng is None else rng, values - ends[0][:, None], ends[1] - ends[0]
    return PathEffects(
        direction=direction,
        ln=ln,
        paths=tuple(paths),
        values=values,
        base=ends[0],
        donor=ends[1],
        gap=bootstrap_mean(gaps, draw),
        effect=bootstrap_mean(effects, draw),
        normalized_effect=bootstrap_ratio(effects, gaps, draw),
    )


class _Stream:
    """The base run of one batch, ready to be continued from any block with another residual stream."""

    def __init__(self, model: HookedModel, tokens: Tensor, n_layers: int, ln: Normalisation) -> None:
        self.model, self.tokens, self.n_layers, self.frozen = model, tokens, n_layers, ln == "frozen"
        captured = capture(model, tokens, "blocks.*.hook_resid_pre", len(tokens))
        self.residuals = [captured[f"blocks.{layer}.hook_resid_pre"] for layer in range(n_layers)]
        self.restarts = can_restart(model, tokens)
        if self.restarts:  # believe the signature only after a restart has reproduced the run
            restarted = forward(model, self.residuals[-1][:2], start_at_layer=n_layers - 1)
            self.restarts = torch.allclose(restarted, forward(model, tokens[:2]), rtol=1e-4, atol=1e-4)

    def run(
        self, layer: int, residual: Tensor, edits: Edits, read: Sequence[str], *, to_end: bool = False
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Continue from a block's input through that block (or to the end): the activations read, and the output."""
        found: dict[str, Tensor] = {}
        until = {} if to_end else {"stop_at_layer": layer + 1}
        with edit(self.model, edits) if edits else _nothing(), edit(self.model, _readers(read, found)) if read else _nothing():
            if self.restarts:
                return found, forward(self.model, residual, start_at_layer=layer, **until)
            with edit(self.model, {f"blocks.{layer}.hook_resid_pre": lambda _: residual.clone()}):
                return found, forward(self.model, self.tokens)

    def scale_edits(self, norm: str, layer: int, residual: Tensor, edits: Edits, *, to_end: bool = False) -> Edits:
        """Edits that hold a layer norm at the scale it has in this run; none if norms are to be recomputed."""
        hook = f"{norm}.hook_scale"
        if not self.frozen or (hook not in self.model.hook_dict and getattr(self.model.cfg, "normalization_type", "?") is None):
            return {}
        if hook not in self.model.hook_dict:
            raise HookError(
                f"path_patch: ln='frozen' needs {hook} to hold the norm's scale, and the model has no such hook.\n"
                f"Pass ln='recomputed'; only a model whose cfg.normalization_type is None is taken to have no layer norms."
            )
        scale = self.run(layer, residual, edits, [hook], to_end=to_end)[0][hook]
        return {hook: lambda _: scale.clone()}


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _readers(names: Sequence[str], found: dict[str, Tensor]) -> Edits:
    """Edits that change nothing and keep what they see."""

    def reader(name: str) -> Callable[[Tensor], Tensor]:
        return lambda value: found.setdefault(name, value)

    return {name: reader(name) for name in names}


def _sent(stream: _Stream, donor: Tensor, sender: Sender) -> Tensor:
    """What the sender adds to the stream in the donor run minus what it adds in the base run, [n, position, d_model]."""
    model, base, n = stream.model, stream.tokens, len(donor)
    if sender.component == "attention" and sender.head is not None:
        z, out = f"blocks.{sender.layer}.attn.hook_z", f"blocks.{sender.layer}.hook_attn_out"
        values = capture(model, donor, z, n)[z]
        _check_head(sender.head, values, z)
        layer = sender.layer or 0
        replaced, kept = (
            stream.run(layer, stream.residuals[layer], edits, [out])[0][out]
            for edits in ({z: lambda mine: _with_head(mine, values, sender.head)}, {})
        )
        difference = replaced - kept  # the output map is linear in z: its bias and the other heads cancel
    else:
        hook = {
            "embedding": "blocks.0.hook_resid_pre",
            "attention": f"blocks.{sender.layer}.hook_attn_out",
            "mlp": f"blocks.{sender.layer}.hook_mlp_out",
        }[sender.component]
        difference = capture(model, donor, hook, n)[hook] - capture(model, base, hook, n)[hook]
    if sender.positions is None:
        return difference
    sent = torch.zeros_like(difference)
    sent[:, list(sender.positions)] = difference[:, list(sender.positions)]
    return sent


def _patched(stream: _Stream, path: DirectPath, sent: Tensor) -> Tensor:
    """Logits of the base run in which the receivers see `sent` added to the residual stream, and nothing else does."""
    by_layer: dict[int, list[Receiver]] = {}
    for receiver in path.receivers:
        by_layer.setdefault(stream.n_layers - 1 if receiver.layer is None else receiver.layer, []).append(receiver)
    layer = min(by_layer)
    residual = stream.residuals[layer]
    while True:
        receivers = by_layer.get(layer, [])
        last = layer == max(by_layer)
        edits = _attention_edits(stream, layer, residual, sent, [r for r in receivers if r.reads in ("q", "k", "v")])
        if any(r.reads == "mlp" for r in receivers):
            edits |= _mlp_edits(stream, layer, residual, sent, edits)
        if last:
            if any(r.reads == "final" for r in receivers):
                edits |= _final_edits(stream, layer, residual, sent, edits)
            return stream.run(layer, residual, edits, [], to_end=True)[1]
        post = f"blocks.{layer}.hook_resid_post"
        residual = stream.run(layer, residual, edits, [post])[0][post]
        layer += 1


def _attention_edits(stream: _Stream, layer: int, residual: Tensor, sent: Tensor, receivers: Sequence[Receiver]) -> Edits:
    """Edits that give heads the queries, keys or values of the changed stream, which one pass through the block computes."""
    heads: dict[str, list[int | None]] = {}
    for receiver in receivers:
        heads.setdefault(f"blocks.{layer}.attn.hook_{receiver.reads}", []).append(receiver.head)
    if not heads:
        return {}
    scale = stream.scale_edits(f"blocks.{layer}.ln1", layer, residual, {})
    changed, _ = stream.run(layer, residual + sent, scale, list(heads))

    def edit_of(hook: str) -> Callable[[Tensor], Tensor]:
        def exchange(mine: Tensor) -> Tensor:
            for head in heads[hook]:
                _check_head(head, mine, hook)
                mine = _with_head(mine, changed[hook], head)
            return mine

        return exchange

    return {hook: edit_of(hook) for hook in heads}


def _mlp_edits(stream: _Stream, layer: int, residual: Tensor, sent: Tensor, before: Edits) -> Edits:
    """Edits that let the MLP read the changed stream and take the change out again after it."""
    mid, out, post = (f"blocks.{layer}.hook_{name}" for name in ("resid_mid", "mlp_out", "resid_post"))
    kept: dict[str, Tensor] = {}

    def change(value: Tensor) -> Tensor:
        kept[mid] = value
        return value + sent

    def keep(value: Tensor) -> Tensor:
        kept[out] = value
        return value

    scale = stream.scale_edits(f"blocks.{layer}.ln2", layer, residual, before)
    return {mid: change, out: keep, post: lambda _: kept[mid] + kept[out], **scale}


def _final_edits(stream: _Stream, layer: int, residual: Tensor, sent: Tensor, before: Edits) -> Edits:
    """Edits that let the unembedding read the changed stream, after whatever edits there are at the end of the last block."""
    post = f"blocks.{layer}.hook_resid_post"
    earlier = before.get(post, lambda value: value)
    return {post: lambda value: earlier(value) + sent, **stream.scale_edits("ln_final", layer, residual, before, to_end=True)}


def _with_head(mine: Tensor, theirs: Tensor, head: int | None) -> Tensor:
    """Write one head (None = all) of another activation [n, position, head, d_head] into the given copy."""
    which = slice(None) if head is None else head
    mine[:, :, which] = theirs[:, :, which]
    return mine


def _check_head(head: int | None, activation: Tensor, hook: str) -> None:
    if head is not None and not 0 <= head < activation.shape[2]:
        raise InputError(f"path_patch: {hook} has heads 0..{activation.shape[2] - 1}, got head {head}.")

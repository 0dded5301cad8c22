"""Does a write to a hook do what the hook's name says? Asked of models that are not mechbp's own, before a method believes them.

A model may offer TransformerLens's hook names and mean other places by them: a residual stream that a skip path goes past, scores
whose edits are thrown away, a restart that ends elsewhere. A method would then give numbers, and wrong ones. So every hook is
tried on a few of the user's own sequences, by forward passes alone: laws that hold of the activations as the model computes them
have to hold after a write as well. mechbp's own models and the HookedTransformer of TransformerLens are tested elsewhere, and are
not tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from einops import einsum
from jaxtyping import Int
from torch import Tensor

from mechbp.errors import HookError
from mechbp.finite import check_finite
from mechbp.hooks import (
    HookedModel,
    accepts,
    forward,
    is_ours,
    layer_of,
    listening,
    require_hooked,
    same_point,
    to_tokens,
    why_silent,
)

Tokens = Int[np.ndarray, "n position"] | Int[Tensor, "n position"]
Verdict = Literal["sound", "unsound", "no effect", "silent"]

CUTS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")
"""Where the whole residual stream stands: all that later blocks know of the input."""
TOLERANCE = 1e-4
"""Largest difference, relative to the largest value, that counts as none."""


class Law(NamedTuple):
    """What an activation of the same block has to be, given the value at a hook and at another one."""

    result: str
    other: str
    combined: Callable[[Tensor, Tensor], Tensor]


def _mixed(pattern: Tensor, value: Tensor) -> Tensor:
    return einsum(pattern, value, "batch head query key, batch key head d -> batch query head d")


LAWS = {
    "hook_attn_out": Law("hook_resid_mid", "hook_resid_pre", torch.add),
    "hook_mlp_out": Law("hook_resid_post", "hook_resid_mid", torch.add),
    "attn.hook_pattern": Law("attn.hook_z", "attn.hook_v", _mixed),
    "attn.hook_v": Law("attn.hook_z", "attn.hook_pattern", lambda value, pattern: _mixed(pattern, value)),
}
"""By the part of a hook's name after its block."""


@dataclass(frozen=True)
class CheckedHook:
    """What one hook, or one keyword of the forward pass, was found to do."""

    name: str
    """Hook name, or "start_at_layer=2"."""
    shape: tuple[str | int, ...] | None
    """Shape of the activation, "batch" standing for the batch axis; None where it does not fire, and for keywords."""
    verdict: Verdict
    """"sound": a write does what the name says, as far as was tried. "no effect": the output is computed from it and did not
    change on these sequences. "silent": it does not fire."""
    reason: str
    """Why it is not sound; empty where it is."""
    other_names: tuple[str, ...] = ()
    """Further names of the same point: a pattern that matches two of them means one edit."""


@dataclass(frozen=True, repr=False)
class ModelCheck:
    """Every hook of a model with what a write there does, and every restart; prints as aligned text."""

    rows: tuple[CheckedHook, ...]

    def __iter__(self) -> Iterator[CheckedHook]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def unsound(self) -> tuple[CheckedHook, ...]:
        """Those that do not do what their name says."""
        return tuple(row for row in self.rows if row.verdict == "unsound")

    def __repr__(self) -> str:
        counts = Counter(row.verdict for row in self.rows)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no hook"
        return f"ModelCheck({told}; print it for the table)"

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per hook or keyword: name, shape, verdict, reason and the other names of the same point."""
        return pd.DataFrame([vars(row) for row in self.rows], columns=["name", "shape", "verdict", "reason", "other_names"])

    def __str__(self) -> str:
        shapes = ["-" if row.shape is None else f"[{', '.join(map(str, row.shape))}]" for row in self.rows]
        notes = [
            "; ".join(filter(None, [row.reason, "also named " + ", ".join(row.other_names) if row.other_names else ""]))
            for row in self.rows
        ]
        table = [("name", "shape", "a write is", "why, and further names")]
        table += [(row.name, shape, row.verdict, note) for row, shape, note in zip(self.rows, shapes, notes, strict=True)]
        widths = [max(len(line[column]) for line in table) for column in range(3)]
        return "\n".join("  ".join([*map(str.ljust, line[:3], widths), line[3]]).rstrip() for line in table)


_SOUND: WeakKeyDictionary[HookedModel, dict[str, int]] = WeakKeyDictionary()
"""Model -> what was found sound, a hook or RESTARTS -> identity of its point, so that a point exchanged since is tried again."""
RESTARTS = "start_at_layer and stop_at_layer"


def check_model(model: HookedModel, tokens: Tokens) -> ModelCheck:
    """Try every hook of a model, and every layer at which it may stop or start, on two of the sequences.

    A write of the activation itself must change nothing; a write of another value must change the output, or at least the
    output must be computed from it; a residual stream written over by another sequence's must give that sequence's output; what
    is added to it must arrive there; a pattern must mix the values; scores must not be the pattern. Four to six forward passes
    per hook, fewer where it is silent.
    Raises HookError where the model offers no hooks, InputError for tokens that it does not take and logits that are not finite.

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> found = mechbp.check_model(run.model, run.process.sample(4, mechbp.rng(0, "check")).tokens)
    >>> found.unsound, sum(row.verdict == "sound" for row in found) > 60
    ((), True)
    """
    require_hooked(model)
    trial = _Trial(model, tokens)
    rows = [trial.checked(name) for name in model.hook_dict]
    return ModelCheck((*rows, *trial.restarts()))


def require_sound(where: str, model: HookedModel, names: Iterable[str], tokens: Tokens) -> None:
    """Raise HookError, in the name of `where`, if a write to one of the hooks does not do what its name says.

    What was found sound is remembered for as long as the model lives. Costs nothing for models that are mechbp's own.
    """
    if is_ours(model):
        return
    asked = list(names)
    for name in asked:
        if twins := [other for other in asked if other != name and other in same_point(model, name)]:
            raise HookError(f"{where}: {name} and {twins[0]} are one point of this {type(model).__name__}. Name one of them.")
    known, points = _remembered(model), model.hook_dict
    trial = _Trial(model, tokens)
    for name in (name for name in asked if known.get(name) != id(points[name])):
        found = trial.checked(name)
        if found.verdict == "unsound":
            raise HookError(
                f"{where}: {name} of this {type(model).__name__} is not what it is called: {found.reason}\n"
                f"print(mechbp.check_model(model, tokens)) tells of all hooks."
            )
        if found.verdict == "sound":
            known[name] = id(points[name])


def can_restart(model: HookedModel, tokens: Tokens) -> bool:
    """Return whether the model takes `start_at_layer` and `stop_at_layer`, up to the number of its blocks, and means it.

    Models that are mechbp's own are believed; any other is tried once.
    """
    if not accepts(model, "start_at_layer", "stop_at_layer"):
        return False
    if is_ours(model):
        return True
    known = _remembered(model)
    if RESTARTS not in known:
        known[RESTARTS] = int(all(row.verdict == "sound" for row in _Trial(model, tokens).restarts()))
    return bool(known[RESTARTS])


def _remembered(model: HookedModel) -> dict[str, int]:
    try:
        return _SOUND.setdefault(model, {})
    except TypeError:  # a model that cannot be hashed or referred to weakly is tried every time
        return {}


class _Trial:
    """A model, and two sequences to try it on."""

    def __init__(self, model: HookedModel, tokens: Tokens) -> None:
        self.model = model
        rows = to_tokens(model, tokens)
        differing = (rows != rows[0]).any(dim=1).nonzero()[:, 0]
        second = rows[differing[0]] if len(differing) else rows[0].roll(1)
        self.tokens = torch.stack([rows[0], second])
        self.others = self.tokens.flip(0)
        self.of_points: dict[int, tuple[Verdict, str]] = {}

    @cached_property
    def activations(self) -> dict[str, Tensor]:
        """Every activation of the unedited run."""
        return self._run(self.tokens, {}, self.model.hook_dict)[1]

    @cached_property
    def of_others(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Output and residual streams of the run on the same sequences in the other order."""
        return self._run(self.others, {}, [name for name in self.model.hook_dict if name.rpartition(".")[2] in CUTS])

    @cached_property
    def output(self) -> Tensor:
        return check_finite("check_model", "logits", self._run(self.tokens, {}, ())[0])

    def checked(self, name: str) -> CheckedHook:
        """Try one hook."""
        twins = tuple(other for other in same_point(self.model, name) if other != name)
        value = self.activations.get(name)
        if value is None:
            return CheckedHook(name, None, "silent", why_silent(name), twins)
        verdict, reason = self._judged(name, value)
        shape = ("batch", *value.shape[1:]) if value.shape[:1] == (len(self.tokens),) else tuple(value.shape)
        return CheckedHook(name, shape, verdict, reason, twins)

    def _judged(self, name: str, value: Tensor) -> tuple[Verdict, str]:
        point = id(self.model.hook_dict[name])
        if point not in self.of_points:
            self.of_points[point] = self._of_point(name, value)
        if self.of_points[point][0] != "sound":
            return self.of_points[point]
        kind = name.rpartition(".")[2]
        if kind in CUTS and (gap := self._past(name)):
            return "unsound", f"a skip path goes past it: with the stream of another sequence the output is off by {gap:.2g}."
        block, after = _split(name)
        if after == "attn.hook_attn_scores" and _close(value, self.activations.get(f"{block}attn.hook_pattern")):
            return "unsound", "it shows the attention pattern, after the softmax."
        if (law := LAWS.get(after)) and not self._holds_after(name, block, law, _others(value)[-1]):
            return "unsound", f"what is written here does not arrive at {law.result}."
        return "sound", ""

    def _of_point(self, name: str, value: Tensor) -> tuple[Verdict, str]:
        """What a write does, whatever the point is called."""
        kept = self._run(self.tokens, {name: value}, ())[0]
        if not _close(kept, self.output):
            return "unsound", f"its own value written back changes the output by up to {_gap(kept, self.output):.2g}."
        if any(not torch.equal(self._run(self.tokens, {name: other}, ())[0], kept) for other in _others(value)):
            return "sound", ""
        if self._is_read(name, value):
            return "no effect", "other values written here leave the output as it is, on these sequences."
        return "unsound", "edits are thrown away: the output is not computed from it."

    def _past(self, name: str) -> float:
        """How far the output is from that of the other sequences once their whole stream is written here; 0 for not at all."""
        output, streams = self.of_others
        written = self._run(self.tokens, {name: streams[name]}, ())[0]
        return 0.0 if _close(written, output) else _gap(written, output)

    def _holds_after(self, name: str, block: str, law: Law, written: Tensor) -> bool:
        """Whether a law of the unedited run, if it is one there, is one after a write."""
        result, other = block + law.result, block + law.other
        seen = self.activations
        if result not in seen or other not in seen:
            return True
        try:
            if not _close(law.combined(seen[name], seen[other]), seen[result]):
                return True
        except (RuntimeError, ValueError):  # of other shapes: no law of this model
            return True
        after = self._run(self.tokens, {name: written}, (result, other))[1]
        return _close(law.combined(written, after[other]), after[result])

    def _is_read(self, name: str, value: Tensor) -> bool:
        """Whether the output is connected with the hook, be its gradient 0; yes where gradients cannot say."""
        if not value.is_floating_point():
            return False
        with torch.inference_mode(False), torch.enable_grad():
            leaf = value.detach().clone().requires_grad_()
            with listening(self.model, {name: lambda _, __: leaf}):
                output = forward(self.model, self.tokens.clone())
            if not output.requires_grad:
                return False
            return torch.autograd.grad(output.sum(), leaf, allow_unused=True)[0] is not None

    def restarts(self) -> Iterator[CheckedHook]:
        """Try to stop and to start at every layer; nothing where the forward pass names no such keyword."""
        if not accepts(self.model, "start_at_layer", "stop_at_layer"):
            return
        blocks = sum(name.endswith(".hook_resid_pre") and layer_of(name) is not None for name in self.model.hook_dict)
        for layer in range(blocks + 1 if blocks else 0):
            last = layer == blocks
            stream = self.activations.get(f"blocks.{layer - last}.hook_resid_{'post' if last else 'pre'}")
            if stream is None:
                continue
            yield self._restart("stop_at_layer", layer, self.tokens, stream)
            yield self._restart("start_at_layer", layer, stream, self.output)

    def _restart(self, keyword: str, layer: int, inputs: Tensor, expected: Tensor) -> CheckedHook:
        name = f"{keyword}={layer}"
        try:
            with torch.no_grad():
                found = forward(self.model, inputs, **{keyword: layer})
        except Exception as error:  # a foreign model may raise anything
            text = str(error).splitlines() or [""]
            return CheckedHook(name, None, "unsound", f"it raises {type(error).__name__}: {text[0]:.100}")
        if _close(found, expected):
            return CheckedHook(name, None, "sound", "")
        what = "the input of that block" if keyword == "stop_at_layer" else "the output of the whole run"
        return CheckedHook(name, None, "unsound", f"it returns {_shape(found)}, which is not {what}, {_shape(expected)}.")

    @torch.no_grad()
    def _run(self, tokens: Tensor, writes: dict[str, Tensor], read: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The output with activations written, and the activations read, copied as they fire."""
        seen: dict[str, Tensor] = {}

        def fired(name: str, value: Tensor) -> Tensor | None:
            if name in writes:
                return writes[name].clone()
            if isinstance(value, Tensor):
                seen[name] = value.clone()
            return None

        with listening(self.model, dict.fromkeys([*writes, *read], fired)):
            return forward(self.model, tokens), seen


def _others(value: Tensor) -> Sequence[Tensor]:
    """Values to write in place of an activation: zeros, and one that differs everywhere."""
    if not value.is_floating_point():
        return [torch.zeros_like(value), torch.where(value == 0, 1, 0).to(value.dtype)]
    finite = value.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    steps = torch.linspace(-1, 1, max(value.numel(), 1), dtype=value.dtype, device=value.device)
    return [torch.zeros_like(value), finite + steps.reshape(value.shape)]


def _split(name: str) -> tuple[str, str]:
    """A hook's name as that of its block, with the dot, and the rest; the first is empty outside the blocks."""
    layer = layer_of(name)
    block = "" if layer is None else f"blocks.{layer}."
    return block, name.removeprefix(block)


def _gap(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


def _close(found: object, expected: object) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, float(expected.abs().max())))


def _shape(found: object) -> str:
    return str(list(found.shape)) if isinstance(found, Tensor) else type(found).__name__

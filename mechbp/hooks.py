"""Capture and edit activations by hook name, on any model that offers TransformerLens's hook protocol.

The protocol: `cfg`, `hook_dict` (hook name -> module whose output is the activation), `run_with_cache` and `run_with_hooks`.
Names may be glob patterns (`blocks.*.hook_resid_post`). A pattern that matches nothing is an error, and so is an edit that
never fired; hooks are registered on entering a block and removed, exactly those and no others, on every way out of it.
"""

from __future__ import annotations

import fnmatch
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from mechbp.arguments import as_array, check_memory, check_protocol, checked_count, told
from mechbp.errors import HookError, InputError, did_you_mean
from mechbp.finite import check_finite

PROTOCOL = ("cfg", "hook_dict", "run_with_cache", "run_with_hooks")

SWITCHES = {
    "hook_result": "use_attn_result",
    "hook_q_input": "use_split_qkv_input",
    "hook_k_input": "use_split_qkv_input",
    "hook_v_input": "use_split_qkv_input",
    "hook_attn_in": "use_attn_in",
    "hook_mlp_in": "use_hook_mlp_in",
}
"""TransformerLens computes these activations only while the switch is on; otherwise their hooks exist and never fire."""

Edit = Callable[[Tensor], Tensor]


@runtime_checkable
class HookedModel(Protocol):
    """What mechbp asks of a model; HookedTransformer is one, and so is anything else with these four names."""

    cfg: Any
    hook_dict: Any

    def run_with_cache(self, *args: Any, **kwargs: Any) -> Any:
        """Return (output, {hook name: activation})."""
        ...

    def run_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of a forward pass with `fwd_hooks`, a list of (hook name, function), in place."""
        ...


@dataclass(frozen=True)
class EditSession:
    """What an `edit` block yields: how often each edit has fired so far."""

    firings: dict[str, int]
    """Hook name -> number of activations edited."""


def require_hooked(model: HookedModel) -> None:
    """Raise HookError unless the model offers the hook protocol, InputError if any part of it is in train mode."""
    check_protocol(model, PROTOCOL)
    modules: Iterable[Any] = model.modules() if isinstance(model, nn.Module) else [model]
    if any(getattr(module, "training", False) for module in modules):
        raise InputError(f"{type(model).__name__} is in train mode, where dropout would add noise. Call model.eval() first.")


def matching_hooks(model: HookedModel, patterns: str | Iterable[str]) -> tuple[str, ...]:
    """Return the hook names matched by any of the names or glob patterns, in the model's order.

    Raises HookError, naming the nearest hooks, for the first pattern that matches nothing, and if no pattern is given.
    """
    check_protocol(model, PROTOCOL)
    wanted = _patterns(patterns)
    if not wanted:
        raise HookError("No hook was named. Pass one hook name or glob pattern, or more, e.g. 'blocks.*.hook_resid_post'.")
    matched: set[str] = set()
    for pattern in wanted:
        found = fnmatch.filter(model.hook_dict, pattern)
        if not found:
            names = list(model.hook_dict)
            if "*" in pattern:  # a mistyped pattern is nearest to a pattern, not to a name
                names = list(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in names))
            raise HookError(
                f"No hook matches {pattern!r:.80}; {did_you_mean(pattern, names)}\n"
                "print(mechbp.hook_table(model)) lists all hooks."
            )
        matched.update(found)
    return tuple(name for name in model.hook_dict if name in matched)


def require_control(where: str, model: HookedModel, control: HookedModel, names: Iterable[str] = ()) -> None:
    """Raise HookError or InputError unless `control` is a hooked model of the model's sizes, which has the hooks named, too."""
    require_hooked(control)
    for size in ("n_layers", "n_heads", "d_model", "n_ctx"):
        mine, theirs = (getattr(one.cfg, size, None) for one in (model, control))
        if mine is not None and theirs is not None and mine != theirs:
            raise InputError(
                f"{where}: control_model must be of the model's architecture; it has {size} = {theirs}, the model {mine}.\n"
                f"Of a run, run.untrained() is such a control."
            )
    for name in names:
        if name not in control.hook_dict:
            raise HookError(f"{where}: control_model has no hook {name}. Give the model's architecture with other weights.")


def check_batch(where: str, model: HookedModel, n: int, batch_size: object) -> int:
    """Return the batch size as an integer >= 1; LimitExceeded where one layer's activations of such a batch do not fit."""
    size = checked_count(batch_size, where, "batch_size")
    first = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    width = 4 if first is None else first.element_size()
    positions, heads, d_model, d_mlp, outputs = (
        getattr(model.cfg, name, None) or 0 for name in ("n_ctx", "n_heads", "d_model", "d_mlp", "d_vocab_out")
    )
    rows = min(size, n)
    numbers = rows * positions * (4 * d_model + max(d_mlp, outputs, 0) + heads * positions)
    check_memory(float(width) * numbers, where, f"a batch of {rows:,} sequences", "Take a smaller batch_size.")
    return size


def _patterns(patterns: object) -> list[str]:
    """The names or patterns as a list; HookError for anything that is no text, or no collection of texts."""
    wanted: list[Any] = [patterns] if isinstance(patterns, str) or not isinstance(patterns, Iterable) else list(patterns)
    if isinstance(patterns, bytes | Mapping) or not all(isinstance(pattern, str) for pattern in wanted):
        raise HookError(
            f"Hooks are named by texts, got {told(patterns)}.\n"
            f"Pass one hook name or glob pattern, or a list of them, e.g. 'blocks.*.hook_resid_post'."
        )
    return wanted


def one_per_point(model: HookedModel, names: Iterable[str]) -> list[str]:
    """Return the names without further names of a point that is among them already: other models name one point twice."""
    points, first = model.hook_dict, dict[int, str]()
    for name in names:
        first.setdefault(id(points[name]), name)
    return list(first.values())


def same_point(model: HookedModel, name: str) -> tuple[str, ...]:
    """Return all names, this one too, of the point that a hook name stands for, in the model's order."""
    points = model.hook_dict
    return tuple(other for other, point in points.items() if point is points[name])


def model_device(model: HookedModel) -> torch.device:
    """Return the device of the model's first parameter, the CPU if it has none."""
    first = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if first is None else first.device


def to_tokens(model: HookedModel, tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]) -> Int[Tensor, "n position"]:
    """Return the tokens as an int64 tensor on the model's device, a private copy.

    Raises InputError unless they are integers [n, position] with n >= 1 that fit the model's `d_vocab` and `n_ctx`, where its
    cfg names them; HookError for what is no hooked model.
    """
    check_protocol(model, PROTOCOL)
    if isinstance(tokens, Tensor):
        if tokens.layout is not torch.strided or tokens.is_meta or tokens.is_quantized:
            kind = "on no device (meta)" if tokens.is_meta else str(tokens.layout).removeprefix("torch.")
            raise InputError(f"tokens must be a dense tensor of integers, got one that is {kind}. Pass tokens.to_dense().")
        private = tokens.detach().clone(memory_format=torch.contiguous_format)
    else:  # torch takes neither reversed nor byte-swapped arrays, nor all unsigned types; models view tokens flat
        array = as_array(tokens, "to_tokens", "tokens", "integers [n, position]")
        if array.dtype.kind not in "iu":
            raise InputError(f"tokens must be integers, got dtype {array.dtype}.")
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise InputError(f"tokens must be below 2**63, got {array.max()}.")
        private = torch.from_numpy(np.array(array, dtype=np.int64, order="C"))
    if private.is_floating_point() or private.is_complex() or private.dtype == torch.bool:
        raise InputError(f"tokens must be integers, got dtype {private.dtype}.")
    if private.ndim != 2 or private.numel() == 0:
        raise InputError(f"tokens must have shape [n, position] with n >= 1, got {list(private.shape)}.")
    longest, d_vocab = (getattr(model.cfg, name, None) for name in ("n_ctx", "d_vocab"))
    if longest is not None and private.shape[1] > longest:
        raise InputError(f"tokens have {private.shape[1]} positions; the model takes at most {longest} (cfg.n_ctx).")
    low, high = int(private.min()), int(private.max())
    if low < 0 or (d_vocab is not None and high >= d_vocab):
        bound = "" if d_vocab is None else f", the model knows 0..{d_vocab - 1} (cfg.d_vocab)"
        raise InputError(f"tokens must be >= 0{bound}, got {low if low < 0 else high}.")
    return private.to(device=model_device(model), dtype=torch.int64)


def to_array(activation: Tensor | np.ndarray) -> np.ndarray:
    """Return an activation as a NumPy array, half precisions as float32: NumPy lacks bfloat16, and sums in float16 overflow.

    Arrays come back as they are, so that methods take what `capture` returns and arrays alike.
    """
    if not isinstance(activation, Tensor):
        array = as_array(activation, "to_array", "an array of activations", "numbers")
        return array.astype(np.float32) if array.dtype == np.float16 else array
    if activation.layout is not torch.strided or activation.is_meta:
        raise InputError(f"an array of activations must be a dense tensor with values, got {told(activation)}.")
    half = activation.dtype in (torch.bfloat16, torch.float16)
    return (activation.float() if half else activation).detach().cpu().numpy()


def layer_of(name: str) -> int | None:
    """Return the block number in a hook name such as `blocks.2.attn.hook_z`; None outside the blocks."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found[1]) if found else None


def is_ours(model: HookedModel) -> bool:
    """Return whether the model's class is mechbp's, or the HookedTransformer of TransformerLens: its hooks are tested here."""
    home = type(model).__module__
    return home.partition(".")[0] == "mechbp" or home == "transformer_lens.HookedTransformer"


def accepts(model: HookedModel, *keywords: str) -> bool:
    """Return whether the model's forward pass names all these keyword arguments in its signature."""
    forward_pass = getattr(model, "forward", None)
    return forward_pass is not None and set(keywords) <= set(inspect.signature(forward_pass).parameters)


def forward(model: HookedModel, inputs: Tensor, **layers: int) -> Tensor:
    """Run the model without adding hooks: logits, or the residual stream where `stop_at_layer` is given."""
    return model.run_with_hooks(inputs, fwd_hooks=[], **layers)


@torch.no_grad()
def capture(
    model: HookedModel,
    tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"],
    patterns: str | Iterable[str],
    batch_size: int = 512,
) -> dict[str, Tensor]:
    """Return the activations [n, ...] at every matching hook, run in batches of `batch_size` sequences.

    The tensors are detached and share no memory with the model or one another. The model runs only as deep as the last
    hook where its forward pass offers `stop_at_layer`. Inside an `edit` block, captured values are the edited ones.
    Raises HookError if a pattern matches nothing, a matching hook does not fire, an activation has no batch axis, or scores of a
    model that is not mechbp's own are probabilities; InputError, naming hook, layer, example and position, for an activation that
    is NaN or infinite (scores may be -inf); LimitExceeded, before it runs the rest, for more than memory holds.

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> tokens = run.process.sample(2, mechbp.rng(0, "capture")).tokens
    >>> {name: list(value.shape) for name, value in mechbp.capture(run.model, tokens, "blocks.3.hook_resid_*").items()}
    {'blocks.3.hook_resid_pre': [2, 16, 64], 'blocks.3.hook_resid_mid': [2, 16, 64], 'blocks.3.hook_resid_post': [2, 16, 64]}
    """
    require_hooked(model)
    rows = to_tokens(model, tokens)
    batch_size = check_batch("capture", model, len(rows), batch_size)
    names = matching_hooks(model, patterns)
    depth = _depth_needed(model, names)
    captured: dict[str, Tensor] = {}
    taken = 0
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        values: dict[str, Tensor] = {}  # copied as they fire: an edit of a later hook may write to the same memory
        with listening(model, dict.fromkeys(names, lambda name, value, values=values: values.update({name: value.clone()}))):
            forward(model, batch, **depth)
        for name in names:
            if name not in values:
                raise HookError(f"capture: {name} did not fire. {why_silent(name)}")
            if values[name].shape[:1] != batch.shape[:1]:
                shape = list(values[name].shape)
                raise HookError(f"capture: {name} has no batch axis: its shape is {shape} on a batch of {len(batch)}.")
            if start == 0:
                taken += values[name].nbytes // len(batch) * len(rows)
                check_memory(
                    taken, "capture", f"{len(names)} hooks of {len(rows):,} sequences", "Capture fewer hooks, or sequences."
                )
                if name.endswith("hook_attn_scores") and not is_ours(model):
                    _refuse_probabilities(name, values[name])
                captured[name] = values[name].new_empty((len(rows), *values[name].shape[1:]))
            captured[name][start : start + batch_size] = check_finite("capture", name, values[name], start)
    return captured


@torch.no_grad()
def firing_hooks(
    model: HookedModel, patterns: Iterable[str], tokens: Int[np.ndarray, "n position"] | Int[Tensor, "n position"]
) -> list[str]:
    """Return the hooks that match any of the patterns and fire on `tokens`, none if there are none.

    Architectures differ in what they compute: attention-only blocks, say, have no output of an MLP.
    """
    require_hooked(model)
    wanted = list(patterns)
    names = [name for name in model.hook_dict if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    fired: set[str] = set()
    with listening(model, dict.fromkeys(names, lambda name, _: fired.add(name))):
        forward(model, to_tokens(model, tokens))
    return [name for name in names if name in fired]


@contextmanager
def edit(model: HookedModel, edits: Mapping[str, Edit]) -> Iterator[EditSession]:
    """Replace activations inside a `with` block: {hook name or glob pattern: activation -> activation}.

    Each function gets a private copy of the activation, in the graph when gradients are on, and returns a tensor of the
    same shape, dtype and device. Where several patterns, or several blocks, match one hook, they apply in the order given,
    outer blocks first; a pattern that matches several names of one point edits it once. The object yielded counts `.firings`
    per hook name.
    Raises InputError for what is no function, and HookError if a pattern matches nothing, if a function returns something else,
    and, on leaving the block normally, if any matched hook never fired. Leaving by an exception removes the same hooks and lets
    that exception through.

    >>> import mechbp, torch
    >>> model = mechbp.load("tree-mlm-k0").model
    >>> with mechbp.edit(model, {"blocks.*.attn.hook_z": torch.zeros_like}) as session:
    ...     logits = model(torch.zeros((1, 16), dtype=torch.int64))
    >>> session.firings["blocks.0.attn.hook_z"], len(session.firings)
    (1, 4)
    """
    require_hooked(model)
    chains: dict[str, list[Edit]] = {}
    if not isinstance(edits, Mapping):
        raise InputError(f"edit: edits must be {{hook name or glob pattern: function}}, got a {type(edits).__name__}.")
    for pattern, function in edits.items():
        if not isinstance(pattern, str):
            raise HookError(f"edit: hooks are named by texts, got {told(pattern)}. Pass {{hook name or glob pattern: function}}.")
        if not callable(function):
            raise InputError(
                f"edit: what is given for {pattern!r} must be a function of the activation, got a {type(function).__name__}.\n"
                f"To set a value: lambda activation: torch.full_like(activation, value)."
            )
        points = model.hook_dict
        for name in one_per_point(model, matching_hooks(model, pattern)):
            held = next((known for known in chains if points[known] is points[name]), name)
            chains.setdefault(held, []).append(function)
    if not chains:
        raise HookError("edit: no hook was named. Pass {hook name or glob pattern: function}.")
    session = EditSession(firings=dict.fromkeys(chains, 0))

    with listening(model, dict.fromkeys(chains, partial(_apply, chains, session))):
        yield session
    for name, count in session.firings.items():
        if count == 0:
            raise HookError(f"edit: {name} never fired inside the block, so nothing was edited. {why_silent(name)}")


@contextmanager
def listening(model: HookedModel, functions: Mapping[str, Callable[[str, Tensor], Tensor | None]]) -> Iterator[None]:
    """Call function(name, activation) at each named hook inside the block; a tensor that it returns replaces the activation.

    PyTorch's own handles are used, so TransformerLens's resets inside the block cannot remove them, nor do we remove its hooks.
    """
    points = model.hook_dict  # other models gather theirs at every access
    with ExitStack() as handles:
        for name, function in functions.items():
            handle = points[name].register_forward_hook(partial(_fire, function, name))
            handles.callback(handle.remove)
        yield


def _fire(function: Callable[[str, Tensor], Tensor | None], name: str, module: Any, _: Any, output: Tensor) -> Tensor | None:
    """A PyTorch forward hook around function(name, activation)."""
    conversion = getattr(module, "hook_conversion", None)  # a TransformerLens hook may present a reshaped view
    result = function(name, output if conversion is None else conversion.convert(output))
    return result if result is None or conversion is None else conversion.revert(result)


def _apply(chains: Mapping[str, Sequence[Edit]], session: EditSession, name: str, value: Tensor) -> Tensor:
    """Apply all edits of one hook in turn, each to a private copy, and count."""
    for function in chains[name]:
        edited = function(value.clone())
        if not isinstance(edited, Tensor) or _signature(edited) != _signature(value):
            got = _signature(edited) if isinstance(edited, Tensor) else type(edited).__name__
            raise HookError(f"edit: the function for {name} must return {_signature(value)} as it was given, got {got}.")
        value = edited
    session.firings[name] += 1
    return value


def _depth_needed(model: HookedModel, names: Iterable[str]) -> dict[str, int]:
    """Keyword arguments that end the forward pass after the last of the named hooks, where the model can do so."""
    if not accepts(model, "stop_at_layer"):
        return {}
    layers = [-1 if name in ("hook_embed", "hook_pos_embed") else layer_of(name) for name in names]
    known = [layer for layer in layers if layer is not None]
    return {"stop_at_layer": max(known) + 1} if len(known) == len(layers) else {}


def _refuse_probabilities(name: str, scores: Tensor) -> None:
    """Raise HookError for scores that sum to 1 over keys, which scores do only after the softmax."""
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(dim=-1), scores.new_ones(()), rtol=0, atol=1e-4):
        raise HookError(
            f"capture: {name} shows the attention pattern, after the softmax: it sums to 1 over keys. Capture hook_pattern.\n"
            f"print(mechbp.check_model(model, tokens)) tells what this model's hooks are."
        )


def why_silent(name: str) -> str:
    """One sentence on why the hook did not fire."""
    switch = SWITCHES.get(name.rpartition(".")[2])
    if switch is None:
        return "The forward pass did not reach this hook; run the model inside the block, through this layer."
    return f"It is computed only while cfg.{switch} is on: call model.set_{switch}(True) first."


def _signature(value: Tensor) -> tuple[list[int], torch.dtype, str]:
    return list(value.shape), value.dtype, value.device.type

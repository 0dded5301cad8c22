"""Direct paths of the residual stream: which component writes, and which later input reads.

Block l reads the stream for its attention, writes that attention's output to it, reads the sum for its MLP, and writes that
one's output. So attention l is heard by the MLP of its own block, and MLP l from block l + 1 on.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mechbp.errors import InputError


class Sender(NamedTuple):
    """A component whose output is added to the residual stream."""

    component: Literal["embedding", "attention", "mlp"]
    layer: int | None = None
    """Block of the component; None for the embedding."""
    head: int | None = None
    """Head of the attention layer; None = all of them, and for other components."""
    positions: tuple[int, ...] | None = None
    """Where the donor's output is sent; None = everywhere."""


class Receiver(NamedTuple):
    """An input that is read from the residual stream."""

    reads: Literal["q", "k", "v", "mlp", "final"]
    """A head's queries, keys or values, an MLP, or the unembedding (with its layer norm)."""
    layer: int | None = None
    """Block of the receiver; None for "final"."""
    head: int | None = None
    """Head that reads; None = all of the block, and for other receivers."""


class DirectPath(NamedTuple):
    """The direct paths from one sender to one or more receivers."""

    sender: Sender
    receivers: tuple[Receiver, ...]


def sender_name(sender: Sender) -> str:
    """Return "embedding", "attention 1", "head 1.0" or "mlp 1", with the positions if not all."""
    name = sender.component if sender.layer is None else f"{sender.component} {sender.layer}"
    if sender.head is not None:
        name = f"head {sender.layer}.{sender.head}"
    return name if sender.positions is None else f"{name} at {', '.join(map(str, sender.positions))}"


def receiver_name(receiver: Receiver) -> str:
    """Return "q 2", "q 2.0", "mlp 2" or "final"."""
    head = "" if receiver.head is None else f".{receiver.head}"
    return receiver.reads if receiver.layer is None else f"{receiver.reads} {receiver.layer}{head}"


def path_name(path: DirectPath) -> str:
    """Return "head 1.0 to q 2.0, q 2.1"."""
    return f"{sender_name(path.sender)} to {', '.join(map(receiver_name, path.receivers))}"


def hooks_of(path: DirectPath, n_layers: int) -> list[str]:
    """Return the hooks that patching the path writes to or takes the sender's output from, in models of so many blocks."""
    sender, receivers = path
    sent = {"embedding": "hook_resid_pre", "attention": "hook_attn_out", "mlp": "hook_mlp_out"}[sender.component]
    names = [f"blocks.{sender.layer or 0}.{'attn.hook_z' if sender.head is not None else sent}"]
    for receiver in receivers:
        block = f"blocks.{n_layers - 1 if receiver.layer is None else receiver.layer}"
        read = {"mlp": ("hook_resid_mid", "hook_mlp_out", "hook_resid_post"), "final": ("hook_resid_post",)}
        names += [f"{block}.{hook}" for hook in read.get(receiver.reads, (f"attn.hook_{receiver.reads}",))]
    return list(dict.fromkeys(names))


def check_path(path: DirectPath, n_layers: int, n_positions: int) -> None:
    """Raise InputError for a path whose ends the model lacks, or whose receiver reads before its sender has written."""
    sender, receivers = path
    if sender.component not in ("embedding", "attention", "mlp") or not receivers:
        raise InputError(f"path_patch: need a sender embedding, attention or mlp and at least one receiver, got {path}.")
    where = sender.layer
    if not _is_layer(where, n_layers, outside=sender.component == "embedding") or (
        sender.head is not None and sender.component != "attention"
    ):
        raise InputError(f"path_patch: no such sender in {n_layers} blocks: {sender}.")
    if sender.positions is not None and not all(0 <= p < n_positions for p in sender.positions):
        raise InputError(f"path_patch: positions must lie in 0..{n_positions - 1}, got {sender.positions}.")
    written = 0 if where is None else 2 * where + (1 if sender.component == "attention" else 2)
    for receiver in receivers:
        final = receiver.reads == "final"
        fits = receiver.reads in ("q", "k", "v", "mlp", "final") and _is_layer(receiver.layer, n_layers, outside=final)
        if not fits or (receiver.head is not None and receiver.reads not in ("q", "k", "v")):
            raise InputError(f"path_patch: no such receiver in {n_layers} blocks: {receiver}.")
        read = 2 * n_layers if receiver.layer is None else 2 * receiver.layer + (receiver.reads == "mlp")
        if read < written:
            raise InputError(
                f"path_patch: {receiver_name(receiver)} reads the stream before {sender_name(sender)} has written to it."
            )


def _is_layer(layer: int | None, n_layers: int, *, outside: bool) -> bool:
    return layer is None if outside else layer is not None and 0 <= layer < n_layers

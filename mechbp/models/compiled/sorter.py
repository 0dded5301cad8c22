"""HookedTransformers that sort lists by construction, their heads specialised in a known way: the ground truth for circuits.

One attention-only block without LayerNorm. Token t stands in a slot of its own, a flag says whether a position is in the list,
another whether it is in the answer (SEP and what follows), and heads write to slots that nothing but the unembedding reads.

    attention  query q (SEP: q = -1) scores key k  -5 (k - q) if k > q, else -5 (V + 1); keys outside the list  1024 less
    values     token i of the list adds OV[i] to the logit of i: of every head a diagonal matrix

so that a head looks at the smallest larger value b of the list, with weight above 1 - 1 / (e^5 - 1), and at nothing but the list:
exp(-1024) is exactly 0 in float64. What tells the kinds apart is which values which head copies:

    splitting    head 0 adds c to values of R, head 1 to all others. Without head 0 exactly the values of R are answered wrongly
                 (a tie counts as wrong), a share |R| / V of the answers where lists are uniform
    suppression  head 0 adds c to all values, head 1 takes s c off: confidence falls, no answer changes
    both         head 0 adds c to values of R and head 1 takes s c off those; head 1 adds c to all others
    overlap      both heads add c to all values

The weights are no minimum of the cross-entropy, which larger c would lower without end: a local learning coefficient measured
here is that of no trained model. (Source for the splitting kind: plain derivation; the modes are those of Urdshals and Urdshals
2025.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64

from mechbp.errors import InputError
from mechbp.models.architectures import HookedTransformer, hooked_transformer
from mechbp.models.compiled.slots import SlotAllocator, Slots
from mechbp.processes.sorting.sorted_lists import SortedLists

Kind = Literal["splitting", "suppression", "both", "overlap"]
Reads = Literal["list", "answer"]

SHARPNESS = 5.0
"""Nats between the scores of neighbouring values."""
OUT_OF_SIGHT = 1024.0
"""What a key in the wrong half of the sequence loses: exp(-1024) underflows to exactly 0 in float64."""
MAX_IDLE_HEADS = 8


@dataclass(frozen=True)
class HeadTruth:
    """What is so about one head of a compiled sorter, and a method should find."""

    copies: frozenset[int]
    """Values whose logit rises where the head attends to them."""
    suppresses: frozenset[int]
    """Values whose logit falls where the head attends to them."""
    reads: Reads
    """Which half of the sequence it attends to."""

    @property
    def idle(self) -> bool:
        """Whether it writes nothing."""
        return not self.copies and not self.suppresses


@dataclass(frozen=True, eq=False)
class CompiledSorter:
    """A model that sorts the lists of `lists`, its slots by name, and what is so about its heads."""

    model: HookedTransformer
    """In eval mode, float64; tokens 0..V-1 and SEP = V, which is an output too."""
    lists: SortedLists
    slots: Slots
    kind: Kind
    ov: Float64[np.ndarray, "head value value"]
    """What attending to a value (row) adds to the logits; diagonal."""
    qk: Float64[np.ndarray, "head query value"]
    """Scores of keys in the half of the sequence that the head reads; queries are the values, then SEP."""
    truth: tuple[HeadTruth, ...]

    @property
    def process(self) -> SortedLists:
        """The lists, by the name that a run has for them."""
        return self.lists

    def slot_table(self) -> str:
        """Return slot, dimensions, writer, readers and meaning as aligned text."""
        return str(self.slots)


def compile_sorter(
    lists: SortedLists,
    kind: Kind = "splitting",
    *,
    owned: Collection[int] | None = None,
    confidence: float = 20.0,
    suppression: float = 0.5,
    suppressor_reads: Reads = "list",
    idle_heads: int = 0,
) -> CompiledSorter:
    """Return a model that sorts every list, its heads specialised as `kind` says.

    owned: R, values that head 0 copies where the kind splits them, by default the lower half. confidence: c, what a copying head
    adds to the logit of a value that has all its attention. suppression: s, which share of c a suppressing head takes off.
    suppressor_reads: "answer" makes a suppressor attend, evenly, to SEP and the values named so far instead of the list; kind
    "suppression" only. idle_heads: further heads that attend evenly and write nothing.
    Raises InputError for other arguments, and for lists with repeats, whose next value need not be larger.
    """
    copied = _checked(lists, kind, owned, confidence, suppression, suppressor_reads, idle_heads)
    diagonals = _diagonals(kind, copied, confidence, suppression)
    ov = np.zeros((2 + idle_heads, lists.vocab_size, lists.vocab_size))
    ov[:2] = diagonals[:, :, None] * np.eye(lists.vocab_size)
    qk = np.zeros((2 + idle_heads, lists.vocab_size + 1, lists.vocab_size))
    qk[:2] = scores(lists.vocab_size)
    reads: list[Reads] = ["list"] * len(ov)
    reads[1] = suppressor_reads
    slots = _slots(lists.vocab_size)
    model = hooked_transformer(
        n_layers=1,
        n_heads=len(ov),
        d_model=slots.d_model,
        d_head=lists.vocab_size + 2,
        attn_only=True,
        normalization_type=None,
        attention_dir="causal",
        use_attn_scale=False,
        n_ctx=lists.n_tokens,
        d_vocab=lists.vocab_size + 1,
        d_vocab_out=lists.vocab_size + 1,
        dtype=torch.float64,
    )
    _write(model, lists, slots, ov, qk, reads)
    truth = tuple(_head_truth(matrix, half) for matrix, half in zip(ov, reads, strict=True))
    return CompiledSorter(model.eval(), lists, slots, kind, ov, qk, truth)


def scores(vocab_size: int) -> Float64[np.ndarray, "query value"]:
    """Return the score of every key for every query, the values and then SEP: the smallest larger value comes first."""
    query = np.append(np.arange(vocab_size), -1)
    distance = np.arange(vocab_size) - query[:, None]
    return -SHARPNESS * np.where(distance > 0, distance, vocab_size + 1)


def _diagonals(kind: Kind, owned: np.ndarray, confidence: float, suppression: float) -> Float64[np.ndarray, "head value"]:
    """What heads 0 and 1 add to the logit of each value; `owned` is 1 for values of R."""
    everything = np.ones_like(owned)
    shares = {
        "splitting": (owned, 1 - owned),
        "suppression": (everything, -suppression * everything),
        "both": (owned, 1 - owned - suppression * owned),
        "overlap": (everything, everything),
    }
    return confidence * np.stack(shares[kind])


def _head_truth(matrix: Float64[np.ndarray, "value value"], reads: Reads) -> HeadTruth:
    diagonal = np.diag(matrix)
    return HeadTruth(frozenset(np.flatnonzero(diagonal > 0).tolist()), frozenset(np.flatnonzero(diagonal < 0).tolist()), reads)


def _slots(vocab_size: int) -> Slots:
    slots = SlotAllocator()
    slots.add("token", (vocab_size + 1,), "embed", ("blocks.0.attn",), "1 for the token at this position, SEP last")
    slots.add("in list", (), "embed", ("blocks.0.attn",), "1 at positions before SEP")
    slots.add("in answer", (), "embed", ("blocks.0.attn",), "1 at SEP and behind it")
    slots.add("answer", (vocab_size + 1,), "blocks.0.attn", ("unembed",), "logit of each value; that of SEP stays 0")
    return slots.done()


@torch.no_grad()
def _write(
    model: HookedTransformer, lists: SortedLists, slots: Slots, ov: np.ndarray, qk: np.ndarray, reads: list[Reads]
) -> None:
    """Set every weight: channel t < V + 1 of a head is query token t, the last channel is the half of the sequence."""
    for parameter in model.parameters():
        parameter.zero_()
    parts: Any = model  # torch types every submodule as Tensor | Module
    v, n = lists.vocab_size, lists.length
    token, answer = slots["token"].dims, slots["answer"].dims
    values, answers = (slice(slot.start, slot.stop - 1) for slot in (token, answer))  # all but SEP
    parts.embed.W_E[:, token] = torch.eye(v + 1, dtype=torch.float64)
    parts.pos_embed.W_pos[:n, slots["in list"].dims] = 1
    parts.pos_embed.W_pos[n:, slots["in answer"].dims] = 1
    attention = parts.blocks[0].attn
    lowest = -SHARPNESS * (v + 1)
    for head, half in enumerate(reads):
        attention.W_V[head, values, :v] = torch.from_numpy(np.diag(ov[head]).copy()).diag()
        attention.W_O[head, :v, answers] = torch.eye(v, dtype=torch.float64)
        if not qk[head].any():
            continue
        attention.W_Q[head, token, : v + 1] = torch.eye(v + 1, dtype=torch.float64)
        attention.W_K[head, values, : v + 1] = torch.from_numpy(qk[head].T.copy())
        attention.W_K[head, token.stop - 1, : v + 1] = lowest  # SEP as a key is like a value that is not larger
        attention.b_Q[head, v + 1] = 1
        attention.b_K[head, v + 1] = -OUT_OF_SIGHT
        attention.W_K[head, slots[f"in {half}"].dims, v + 1] = OUT_OF_SIGHT
    parts.unembed.W_U[answer] = torch.eye(v + 1, dtype=torch.float64)


def _checked(
    lists: SortedLists,
    kind: str,
    owned: Collection[int] | None,
    confidence: float,
    suppression: float,
    suppressor_reads: str,
    idle_heads: int,
) -> Float64[np.ndarray, " value"]:
    """Refuse what cannot be built, and return 1 for every value that head 0 copies where the kind splits them."""
    where = "compile_sorter"
    if not isinstance(lists, SortedLists):
        raise InputError(f"{where}: lists must be SortedLists, got {type(lists).__name__}. Pass SortedLists(51, 10).")
    if lists.repeats:
        raise InputError(f"{where}: with repeats the next value need not be larger than the current one. Use repeats=False.")
    if kind not in get_args(Kind):
        raise InputError(f"{where}: kind must be one of {', '.join(map(repr, get_args(Kind)))}, got {kind!r:.60}.")
    if owned is not None and kind not in ("splitting", "both"):
        raise InputError(f"{where}: owned is for kinds that split values between heads, got it with {kind!r}. Leave it out.")
    if not confidence > 0 or not np.isfinite(confidence) or not 0 < suppression < 1:
        raise InputError(
            f"{where}: need a finite confidence > 0 and 0 < suppression < 1, got {confidence!r:.40} and {suppression!r:.40}.\n"
            f"From 1 on the suppressor would cancel the copies."
        )
    if suppressor_reads not in get_args(Reads) or (suppressor_reads == "answer" and kind != "suppression"):
        raise InputError(
            f"{where}: suppressor_reads must be 'list', or 'answer' with kind 'suppression', got {suppressor_reads!r:.40} "
            f"with {kind!r}."
        )
    if isinstance(idle_heads, bool) or not isinstance(idle_heads, int) or not 0 <= idle_heads <= MAX_IDLE_HEADS:
        raise InputError(f"{where}: idle_heads must be an integer in 0..{MAX_IDLE_HEADS}, got {idle_heads!r:.40}.")
    chosen = range(lists.vocab_size // 2) if owned is None else owned
    if not all(isinstance(i, int | np.integer) and 0 <= i < lists.vocab_size for i in chosen):
        raise InputError(f"{where}: owned must hold values in 0..{lists.vocab_size - 1}, got {sorted(chosen)!r:.60}.")
    marks = np.zeros(lists.vocab_size)
    marks[[int(i) for i in chosen]] = 1
    return marks

"""A HookedTransformer that computes belief propagation by construction: the known answer on which methods are judged.

One block per level of the tree, one head, no LayerNorm; all messages are unnormalised and non-negative. A token stands for
its leaf, and block m (from 0) raises what it knows from the leaf's ancestor m levels up, n_m, to n_(m+1):

    attention  sibling m  [c]    = mean of "upward m" over the 2^m leaves below the sibling of n_m
    MLP        upward m+1 [a]    = sum_hc N[a; h, c] upward m [h]   sibling m [c]
               joint m+1  [a, b] = sum_hc N[b; h, c] joint m [a, h] sibling m [c]
    unembed    sum_b p_0(b) joint l [a, b] at every leaf, or p_0(b) upward l [b], the same at every leaf

with N[a; h, c] the rules M[a, h, c] where n_m is a left child, M[a, c, h] where it is a right one. "joint m" [a, b] is the law
of (leaf = a, all other evidence below n_m) given n_m = b, so the leaf's posterior needs no downward pass.

Departures from the published construction (Garnier-Brun et al. 2025, App. F), which keeps one slot each for u, v, r and p:
- joint 0 is the identity, not 1/q, which would leave all rows equal and the leaf marginals wrong.
- Every message of every level has a slot of its own, written once and never erased. Erasing needs units whose rounding errors
  stay behind; and a stream in which old messages remain readable though nothing reads them any more is the harder case for
  methods that are to tell "present" from "used". It costs d_model = (2 l + 1) q + (l + 1) q² + 2 l dimensions.
- A turn is a pair of flags, left and right, not one number ±1: gates then cost no precision (see `square_units`), attention
  compares flags, and its matrix is diagonal all the same.

Attention of block m scores key j by +λ for every turn above the block's that j shares with the query and -λ if it shares the
block's own turn; the 2^m leaves below the sibling reach the maximum, all others are at least λ = 1024 lower, and
exp(-1024) is exactly 0 in float64: weights are exactly 2^-m and 0.

Filter level k > 0: the 2^k nodes of depth k hang from the root like a star. The top k levels become a binary tree whose inner
nodes copy the root's symbol: the block that joins the nodes of depth k in pairs has N[a; h, c] = T_j[a, h] T_j'[a, c], gated
by the k turns that name the own node j and its sibling j', and the blocks above it multiply entry by entry. There are l blocks
at every k, where the paper remarks that l - k would do if one MLP combined all 2^k messages, as messages of the siblings must
come from somewhere and one head averages.

Numerics: an error of a product is about 1e-16 times the larger of the two squares, so factors should be of like size. Messages
would shrink with every observed leaf and not with masked ones; observed leaves therefore carry evidence γ = exp(H / 2^l), with H
the entropy of a tree (or of independent leaves, if less), which keeps a typical message near 1 however much is masked.
Improbable sequences, such as uniform ones, lose about 1e-16 times the largest ratio of messages that meet: on data errors stay
below 1e-8 at depths up to 5, on uniform sequences of random grammars below 1e-7. Under rules most of which have probabilities
of 1e-3 or 1e-4, 3 or 18 % of uniform sequences of depth 5 are off by more than 1e-5, and some by 1.

Logits are UNNORMALISED PROBABILITIES: divide them by their sum (`answers`). Their softmax is not the posterior; `cfg.outputs`
says so, and `mechbp.score`, `interchange` and `erase` read them as they are meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.arguments import checked_choice, checked_count, told
from mechbp.errors import ImpossibleEvidence, InputError, LimitExceeded
from mechbp.models.architectures import HookedTransformer, hooked_transformer
from mechbp.models.compiled.layout import Answer, Plant, bp_slots
from mechbp.models.compiled.slots import Slots
from mechbp.models.compiled.weights import block_units, gate_size, readout, write_weights
from mechbp.models.config import MAX_PARAMETERS
from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.randomness import rng

Activation = Literal["relu2", "relu"]

MAX_DEPTH = 6
"""Messages of 2^6 leaves and their squares stay far inside the range of float64, whatever the evidence."""
MIN_KNOTS, MAX_KNOTS = 2, 4096


@dataclass(frozen=True)
class SlotTruth:
    """What is so about one slot of a compiled model, and a method should find."""

    slot: str
    present: str
    """Which variable can be read there, and how well."""
    used: bool
    """Whether the answer depends on it: some edit of the slot alone changes the answer."""
    necessary: bool
    """Whether the answer is lost without it: zeros in the slot alone change the answer."""
    why: str


@dataclass(frozen=True, eq=False, repr=False)
class CompiledBP:
    """A model that computes belief propagation on `tree`, its slots by name, and what is so about them."""

    model: HookedTransformer
    """In eval mode, float64; tokens 0..q-1, MASK = q at positions that are the leaves. ROOT (q + 1) is no leaf's token."""
    tree: FilteredTree
    slots: Slots
    answer: Answer
    """Which posterior the logits are proportional to: "leaf", of each leaf given all other leaves, or "root"."""
    knots: int | None
    """Relu units per square; None where squares are exact."""
    truth: tuple[SlotTruth, ...] = ()
    """What was planted; empty for the plain construction."""

    def __repr__(self) -> str:
        tree, squares = self.tree, "exact squares" if self.knots is None else f"{self.knots} knots"
        told = f"{tree.vocab_size} symbols, depth {tree.depth}, filter level {tree.filter_level}, {len(self.slots)} slots"
        return f"CompiledBP({self.answer}, {told}, {squares}, {len(self.truth)} planted)"

    @property
    def process(self) -> FilteredTree:
        """The tree, by the name that a run has for it."""
        return self.tree

    def slot_table(self) -> str:
        """Return slot, dimensions, writer, readers and meaning as aligned text."""
        return str(self.slots)

    def probabilities(self, logits: Float[Tensor, "n leaves q"]) -> Float[Tensor, "n leaves q"]:
        """Divide logits by their sum, negative rounding errors set to 0; NaN where nothing is left."""
        positive = logits.clamp(min=0)
        return positive / positive.sum(dim=-1, keepdim=True)

    @torch.no_grad()
    def answers(self, tokens: Int[np.ndarray, "n leaves"], batch_size: int = 256) -> Float64[np.ndarray, "n leaves q"]:
        """Return the posterior read at every leaf: of the leaf itself given all other leaves, or of the root.

        Raises ImpossibleEvidence, naming the first example, where all logits of a leaf are 0.
        """
        inputs = torch.from_numpy(self.tree.check_tokens(tokens, "CompiledBP.answers"))
        return self._defined([self.model(part) for part in inputs.split(batch_size)])

    @torch.no_grad()
    def leaves_and_root(
        self, tokens: Int[np.ndarray, "n leaves"], batch_size: int = 256
    ) -> tuple[Float64[np.ndarray, "n leaves q"], Float64[np.ndarray, "n leaves q"]]:
        """Return both posteriors, of the leaves and of the root, at every leaf from one pass: only W_U tells them apart.

        Raises ImpossibleEvidence as `answers` does.
        """
        inputs = torch.from_numpy(self.tree.check_tokens(tokens, "CompiledBP.leaves_and_root"))
        streams = [self.model(part, stop_at_layer=self.tree.depth) for part in inputs.split(batch_size)]
        leaf, root = (torch.from_numpy(readout(self.tree, self.slots, answer).T.copy()) for answer in ("leaf", "root"))
        return self._defined([F.linear(part, leaf) for part in streams]), self._defined(
            [F.linear(part, root) for part in streams]
        )

    def _defined(self, logits: list[Float[Tensor, "_batch leaves q"]]) -> Float64[np.ndarray, "n leaves q"]:
        found = [self.probabilities(part).numpy() for part in logits]
        answers = np.concatenate(found) if found else np.empty((0, self.tree.n_leaves, self.tree.vocab_size))
        undefined = np.argwhere(np.isnan(answers))
        if len(undefined):
            example, leaf = (int(i) for i in undefined[0][:2])
            raise ImpossibleEvidence(
                f"CompiledBP.answers: no positive logit at leaf {leaf} of example {example}: its evidence has probability 0, or "
                f"too little for {self.knots or 'exact'} {'knots' if self.knots else 'squares in float64'}.\n"
                f"Remove this example, or mask the offending leaves.",
                example=example,
            )
        return answers


def compile_bp(
    tree: FilteredTree, answer: Answer = "leaf", *, activation: Activation = "relu2", knots: int | None = None
) -> CompiledBP:
    """Return a model whose logits are proportional to the exact posteriors of `tree`, at any filter level.

    answer: "leaf" reads P(x_i | all other observed leaves) at every leaf i, "root" the root's posterior; only W_U differs.
    activation: "relu2" squares exactly; "relu" interpolates each square between `knots` nodes, an ordinary transformer that is
    only approximately right (see `relu_width.accuracy_by_width`).
    Raises InputError for other arguments, LimitExceeded for a deeper tree than MAX_DEPTH or more than MAX_PARAMETERS weights.
    (Source: Garnier-Brun et al. 2025, App. F; departures in the module's docstring.)

    >>> import mechbp
    >>> tree = mechbp.FilteredTree(mechbp.TreeGrammar.random(vocab_size=3, seed=0), depth=3)
    >>> compiled = mechbp.compile_bp(tree)
    >>> tokens = tree.sample(20, mechbp.rng(0, "compiled")).tokens
    >>> bool(abs(compiled.answers(tokens) - tree.leave_one_out(tokens)).max() < 1e-9)
    True
    """
    checked_choice(activation, "compile_bp", "activation", get_args(Activation))
    if (activation == "relu") != (knots is not None):
        raise InputError(
            f"compile_bp: knots is for activation 'relu', and needed there; got knots={told(knots)} with {activation!r}.\n"
            f"Pass activation='relu', knots=64, or leave both out for exact squares."
        )
    if knots is not None:
        knots = checked_count(knots, "compile_bp", "knots", least=MIN_KNOTS, most=MAX_KNOTS)
    return construct(tree, answer, knots, Plant())


def construct(tree: FilteredTree, answer: Answer, knots: int | None, plant: Plant) -> CompiledBP:
    """Return the construction with a plant in it; the arguments that compile_bp has not checked are checked here."""
    if not isinstance(tree, FilteredTree):
        raise InputError(
            f"compile_bp: tree must be a FilteredTree, got {type(tree).__name__}. Pass FilteredTree(grammar, depth)."
        )
    checked_choice(answer, "compile_bp", "answer", get_args(Answer))
    slots = bp_slots(tree, answer, plant)
    _check_size(tree, slots, knots or 1)
    nodes = [None] * tree.depth if knots is None else _interpolation_nodes(tree, knots)
    mlps = [block_units(tree, slots, m).weights(gate_size(tree, m), nodes[m]) for m in range(tree.depth)]
    model = hooked_transformer(
        n_layers=tree.depth,
        n_heads=1,
        d_model=slots.d_model,
        d_head=max(2 * tree.depth, tree.vocab_size),
        d_mlp=max(len(mlp.b_in) for mlp in mlps),
        act_fn="relu2" if knots is None else "relu",
        normalization_type=None,
        attention_dir="bidirectional",
        use_attn_scale=False,
        n_ctx=tree.n_leaves,
        d_vocab=tree.vocab_size + 2,
        d_vocab_out=tree.vocab_size,
        dtype=torch.float64,
    )
    settings: Any = model.cfg  # TransformerLens declares no such field
    settings.outputs = "probabilities"  # up to scale: what reads answers takes shares of their sum, and no softmax
    write_weights(model, tree, slots, answer, mlps)
    return CompiledBP(model.eval(), tree, slots, answer, knots)


def _interpolation_nodes(tree: FilteredTree, knots: int) -> list[Float64[np.ndarray, " nodes"]]:
    """Return, per block, 0 and a geometric series up to the largest argument of the exact squares on a fixed sample.

    The smallest positive node, below which a square is off by more than its own size, is 10^depth times less: measured at
    depths 2 to 4, that is best up to 32 knots, and of more knots some are better spent below it. Half of the sample is masked.
    """
    draw = rng(0, "knots")
    tokens = tree.sample(256, draw).tokens
    hidden = draw.random(tokens.shape) < draw.random((len(tokens), 1))
    inputs = torch.from_numpy(np.where(hidden, tree.mask_token, tokens))
    exact = construct(tree, "leaf", None, Plant()).model
    with torch.no_grad():
        _, cache = exact.run_with_cache(inputs, names_filter=lambda name: name.endswith("mlp.hook_pre"))
    largest = [float(cache[f"blocks.{m}.mlp.hook_pre"].max()) for m in range(tree.depth)]
    ratio = 10.0**tree.depth * max(1.0, knots / 32)
    return [np.concatenate([[0.0], np.geomspace(top / ratio, top, knots)]) for top in largest]


def _check_size(tree: FilteredTree, slots: Slots, knots: int) -> None:
    """Refuse what would not fit before anything is allocated."""
    q, k = tree.vocab_size, tree.filter_level
    if tree.depth > MAX_DEPTH:
        raise LimitExceeded(
            f"compile_bp: depth {tree.depth}; at most {MAX_DEPTH}, beyond which squares of messages could overflow float64."
        )
    d_mlp = max(2 * (k < tree.depth), 2**k) * (q**3 + 2 * q**2 + 2 * q) * knots
    weights = tree.depth * slots.d_model * 2 * d_mlp
    if weights > MAX_PARAMETERS:
        raise LimitExceeded(
            f"compile_bp: about {weights:,} weights ({d_mlp:,} units per block); at most {MAX_PARAMETERS:,} are allowed.\n"
            f"Lower the vocabulary size, the depth, the filter level or knots."
        )

"""What the heads carry to the position asked at: put another list's there, head by head, and see which value is named.

In one block all that the answer knows of the list passes through the outputs z of the heads at that position. That all of them
together carry the other list's answer is therefore no discovery beyond the direct path; which of them do alone is the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, capture, edit, forward, to_tokens
from mechbp.methods.interchange.pairs import Pairs
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean
from mechbp.methods.telling import examples, frame, told
from mechbp.randomness import rng as named_rng

BATCH = 512
HeadSet = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class HeadInterchange(Shown):
    """What the model names after each interchange."""

    head_sets: tuple[HeadSet, ...]
    """Heads whose z is the source's; the first is empty, the unedited run."""
    named: Int[np.ndarray, "n set"]
    """The likeliest token, the first one if tied."""
    source_log_probability: Float64[np.ndarray, "n set"]
    """ln of the probability of the source's answer, nats."""
    base_answer: Int[np.ndarray, " n"]
    source_answer: Int[np.ndarray, " n"]

    @property
    def follows(self) -> Bool[np.ndarray, "n set"]:
        """Whether the source's answer is named."""
        return self.named == self.source_answer[:, None]

    @property
    def keeps(self) -> Bool[np.ndarray, "n set"]:
        """Whether the base's answer is named."""
        return self.named == self.base_answer[:, None]

    def rates(self, rng: np.random.Generator, among: Bool[np.ndarray, " n"] | None = None) -> dict[str, Interval]:
        """Return the shares of pairs that follow the source, keep the base's answer, or name a third value, one per set.

        among: of these pairs only. Raises InputError where there is none.
        """
        chosen = slice(None) if among is None else among
        both = np.stack([self.follows[chosen], self.keeps[chosen], ~(self.follows | self.keeps)[chosen]], axis=-1)
        if not len(both):
            raise InputError("HeadInterchange.rates: no pair is among those chosen.")
        found = bootstrap_mean(both.astype(np.float64), rng)
        return {name: found[:, column] for column, name in enumerate(("follows", "keeps", "other"))}

    def picture(self, rng: np.random.Generator | None = None) -> Picture:
        """Draw the shares of pairs that follow the source, keep the base's answer, or name a third value, per set of heads."""
        rates = self.rates(named_rng(0, "HeadInterchange") if rng is None else rng)
        follows = rates["follows"]
        return Picture(
            kind="dots",
            title="Heads interchanged: whose answer is named",
            caption=f"{follows.level:.0%} bootstrap intervals over n = {follows.n:,} pairs. Control: no head, the unedited run.",
            alt=f"Dots with intervals by set of heads ({len(self.head_sets)}): follows, keeps, other.",
            data={
                "x_title": "share of pairs",
                "x_range": [-0.02, 1.02],
                "categories": self._sets,
                "series": [{"name": name, **points(found, "x")} for name, found in rates.items()],
            },
        )

    def to_dataframe(self, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return one row per set of heads: the three shares with their intervals, and ln P of the source's answer."""
        rates = self.rates(named_rng(0, "HeadInterchange") if rng is None else rng)
        columns = {**rates, "source_log_probability": self.source_log_probability.mean(axis=0)}
        return frame({"heads": self._sets}, columns).assign(n=len(self.named))

    def summary(self, rng: np.random.Generator | None = None) -> str:
        """Return how often up to four sets of heads carry the source's answer, beside the unedited run, and n."""
        follows = self.rates(named_rng(0, "HeadInterchange") if rng is None else rng)["follows"]
        lines = [f"{name}: follows the source in {told(follows[row])}" for row, name in enumerate(self._sets)][:5]
        return "\n".join([*lines, examples(follows, "pairs")])

    @property
    def _sets(self) -> list[str]:
        return [f"heads {', '.join(map(str, heads))}" if heads else "no head (control)" for heads in self.head_sets]


@torch.no_grad()
def head_interchange(
    model: HookedModel,
    pairs: Pairs,
    head_sets: Sequence[HeadSet] | None = None,
    *,
    taken_at: Int[np.ndarray, " n"] | None = None,
    layer: int = 0,
) -> HeadInterchange:
    """Write the source's z of some heads into the base run at the position asked at, and read what is named there.

    head_sets: by default every head alone, and all of them. taken_at: position of the source that z is taken from, by default
    the one asked at; another is a control. Raises InputError for heads or positions that there are none of.
    """
    n_heads = int(model.cfg.n_heads)
    every = tuple(range(n_heads))
    wanted = [*((head,) for head in every), *([every] if n_heads > 1 else [])] if head_sets is None else list(head_sets)
    taken = pairs.query if taken_at is None else taken_at
    if any(not 0 <= head < n_heads for chosen in wanted for head in chosen) or len(taken) != len(pairs):
        raise InputError(
            f"head_interchange: need heads among 0..{n_heads - 1} and {len(pairs)} positions, got {wanted} and {len(taken)}."
        )
    if ((taken < 0) | (taken >= pairs.source.shape[1])).any():
        raise InputError(f"head_interchange: taken_at must lie in 0..{pairs.source.shape[1] - 1}.")
    hook = f"blocks.{layer}.attn.hook_z"
    sets = ((), *wanted)
    z = capture(model, pairs.source, hook)[hook]
    lent = z[torch.arange(len(z)), torch.from_numpy(taken)]
    base = to_tokens(model, pairs.base)
    query = torch.from_numpy(pairs.query)
    said = torch.stack([_answers(model, base, query, hook, lent, chosen) for chosen in sets], dim=1)
    source_answer = pairs.expected.argmax(axis=1)
    log_probabilities = said.double().log_softmax(dim=-1).cpu().numpy()
    of_source = np.take_along_axis(log_probabilities, source_answer[:, None, None], axis=2)[..., 0]
    return HeadInterchange(sets, log_probabilities.argmax(axis=2), of_source, pairs.before.argmax(axis=1), source_answer)


def _answers(model: HookedModel, base: Tensor, query: Tensor, hook: str, lent: Tensor, heads: HeadSet) -> Tensor:
    """Logits [n, q] at the questions with some heads of z replaced there."""
    found = []
    for start in range(0, len(base), BATCH):
        part = slice(start, start + BATCH)
        rows = torch.arange(len(base[part]))

        def written(z: Tensor, part: slice = part, rows: Tensor = rows) -> Tensor:
            for head in heads:
                z[rows, query[part], head] = lent[part, head]
            return z

        with edit(model, {hook: written}):
            logits = forward(model, base[part])
        found.append(logits[rows, query[part]])
    return torch.cat(found)

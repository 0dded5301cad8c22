"""Write at one position of a run and read what the model answers there and at every later position.

Of a causal model: earlier positions cannot see the edit, and later ones see it only through attention, beside all tokens that
are still there. Where later answers stay, the model does not hand on what was written, though it may answer from it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from mechbp.divergence import kl_nats
from mechbp.errors import InputError
from mechbp.figures.intervals import points
from mechbp.figures.picture import Picture
from mechbp.hooks import HookedModel, require_hooked
from mechbp.methods.interchange.continuation import Continuation
from mechbp.methods.interchange.leace import Eraser
from mechbp.methods.interchange.message_test import NOTHING
from mechbp.methods.interchange.subspaces import Subspace
from mechbp.methods.shown import Shown
from mechbp.methods.statistics.intervals import Interval, bootstrap_mean, bootstrap_ratio
from mechbp.methods.telling import examples, frame, told
from mechbp.randomness import rng as named_rng

MOST_TOLD = 4
"""Edits that a summary names."""

Edit = Callable[[Float[Tensor, "n 1 d"], Float[Tensor, "n 1 d"]], Float[Tensor, "n 1 d"]]
"""Base and source activations at the position written -> the base's with the edit made."""


@dataclass(frozen=True, eq=False, repr=False)
class LaterAnswers(Shown):
    """What a model answers after each edit, from the position written on."""

    hook: str
    answers: Mapping[str, Float64[np.ndarray, "n lag q"]]
    """Edit -> probabilities; lag 0 is the position written. The first edit is "nothing"."""

    def kl_nats(self, edit: str, exact: Float64[np.ndarray, "n lag q"], lags: slice = slice(None)) -> Float64[np.ndarray, " n"]:
        """Return KL(exact || model) after an edit, nats, mean over `lags`. Raises InputError for an edit that was not made."""
        if edit not in self.answers:
            raise InputError(f"LaterAnswers: no edit {edit!r} here; there are {', '.join(self.answers) or 'none'}.")
        return kl_nats(exact[:, lags], self.answers[edit][:, lags]).mean(axis=1)

    def moved(
        self, edit: str, exact: Float64[np.ndarray, "n lag q"], lags: slice, rng: np.random.Generator, *, level: float = 0.95
    ) -> Interval:
        """Return how far of the way to `exact` an edit takes the answers at `lags`: 1 - mean KL after it / mean KL unedited."""
        return self.moved_beyond(edit, NOTHING, exact, lags, rng, level=level)

    def moved_beyond(
        self,
        edit: str,
        rival: str,
        exact: Float64[np.ndarray, "n lag q"],
        lags: slice,
        rng: np.random.Generator,
        *,
        level: float = 0.95,
    ) -> Interval:
        """Return how much farther of that way an edit goes than a rival edit, on the same pairs."""
        gain = self.kl_nats(rival, exact, lags) - self.kl_nats(edit, exact, lags)
        return bootstrap_ratio(gain, self.kl_nats(NOTHING, exact, lags), rng, level=level)

    def beside(self, others: Mapping[str, Float64[np.ndarray, "n lag q"]]) -> LaterAnswers:
        """Return the same with answers to other edits of the same pairs, made at another hook."""
        return replace(self, answers={**self.answers, **others})

    def nearer(
        self,
        edit: str,
        exact: Float64[np.ndarray, "n lag q"],
        other: Float64[np.ndarray, "n lag q"],
        lags: slice,
        rng: np.random.Generator,
        *,
        level: float = 0.95,
    ) -> Interval:
        """Return mean KL(other || model) - KL(exact || model) after an edit, nats: above 0 the answers are nearer to `exact`."""
        return bootstrap_mean(self.kl_nats(edit, other, lags) - self.kl_nats(edit, exact, lags), rng, level=level)

    def picture(self, exact: Float64[np.ndarray, "n lag q"] | None = None, rng: np.random.Generator | None = None) -> Picture:
        """Draw lag by lag how far answers are from `exact` after every edit; without it, how far each edit moved them."""
        found = self._distances(exact, rng)
        first = next(iter(found.values()))
        name = "KL(unedited || edited) (nats)" if exact is None else "KL(exact || model) (nats)"
        return Picture(
            kind="lines",
            title=f"Answers after writing at {self.hook}",
            caption=f"{name}, mean over n = {first.n:,} pairs with {first.level:.0%} bootstrap bands; lag 0 is the position "
            "written.",
            alt=f"Lines over lags, one per edit: {name}.",
            data={
                "x_title": "tokens after the position written",
                "y_title": name,
                "series": [
                    {"name": edit, "x": np.arange(len(kl.mean)), **points(kl, "y"), "control": edit == NOTHING}
                    for edit, kl in found.items()
                ],
            },
        )

    def to_dataframe(
        self, exact: Float64[np.ndarray, "n lag q"] | None = None, rng: np.random.Generator | None = None
    ) -> pd.DataFrame:
        """Return one row per edit and lag: KL(exact || model), without `exact` KL(unedited || edited), nats, with intervals."""
        found = self._distances(exact, rng)
        parts = [frame({"edit": [edit], "lag": range(len(kl.mean))}, {"kl_nats": kl, "n": kl.n}) for edit, kl in found.items()]
        return pd.concat(parts, ignore_index=True)

    def summary(self, exact: Float64[np.ndarray, "n lag q"] | None = None, rng: np.random.Generator | None = None) -> str:
        """Return n and, for up to four edits, the distance in place and at later lags."""
        found = self._distances(exact, rng)
        first = next(iter(found.values()))
        lines = [
            f"{edit}: {told(kl[0])} nats in place, {float(kl.mean[1:].mean()) if len(kl.mean) > 1 else float('nan'):.3g} later"
            for edit, kl in found.items()
        ]
        what = "KL(unedited || edited)" if exact is None else "KL(exact || model)"
        return "\n".join([f"written at {self.hook}: {what}, {examples(first, 'pairs')}", *lines[:MOST_TOLD]])

    def _distances(self, exact: np.ndarray | None, rng: np.random.Generator | None) -> dict[str, Interval]:
        """Interval [lag] of every edit."""
        draw = named_rng(0, "LaterAnswers") if rng is None else rng
        wanted = self.answers[NOTHING] if exact is None else exact
        edits = [edit for edit in self.answers if exact is not None or edit != NOTHING] or [NOTHING]
        return {edit: bootstrap_mean(kl_nats(wanted, self.answers[edit]), draw) for edit in edits}


def whole_vector(base: Float[Tensor, "n 1 d"], source: Float[Tensor, "n 1 d"]) -> Float[Tensor, "n 1 d"]:
    """Write the source's activation as it is: the most that any edit at this position can carry."""
    del base
    return source


def component(subspace: Subspace) -> Edit:
    """Return the edit that writes the source's component in a subspace of one position."""
    return lambda base, source: base + subspace.part(source - base)


def component_of_others(subspace: Subspace, order: Int[np.ndarray, " n"]) -> Edit:
    """Return the edit that writes the component of the source `order[i]` into base i: as large a change, of no meaning here."""
    return lambda base, source: base + subspace.part(source[torch.from_numpy(order)] - base)


def without(eraser: Eraser) -> Edit:
    """Return the edit that erases from the base, whatever the source."""
    return lambda base, source: eraser.erased(base)


@torch.no_grad()
def write_at(
    model: HookedModel,
    base: Int[np.ndarray, "n position"],
    source: Int[np.ndarray, "n position"],
    position: int,
    hook: str,
    edits: Mapping[str, Edit],
) -> LaterAnswers:
    """Make every edit at one position of a hook, and return the answers from there on; the unedited run is "nothing".

    Raises HookError for a hook that is not [n, position, d], InputError for a position outside or an edit of another shape.
    """
    require_hooked(model)
    if base.shape != source.shape or not 0 <= position < base.shape[1]:
        raise InputError(
            f"write_at: need base and source of one shape and a position inside, got {list(base.shape)}, "
            f"{list(source.shape)} and {position!r}."
        )
    place = Continuation.at(model, hook)
    of_base, of_source = place.of_pairs(base, source, None)
    here = slice(position, position + 1)
    answers = {}
    for name, edit in {NOTHING: lambda base, source: base, **edits}.items():
        written = edit(of_base[:, here], of_source[:, here])
        if written.shape != of_base[:, here].shape:
            raise InputError(f"write_at: {name!r} gives {list(written.shape)}, expected {list(of_base[:, here].shape)}.")
        changed = of_base.clone()
        changed[:, here] = written
        logits = place.logits(base, changed)[:, position:]
        answers[name] = logits.double().softmax(dim=-1).cpu().numpy()
    return LaterAnswers(place.hook, answers)

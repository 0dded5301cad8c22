"""Does a model use this message? One call for a model and a process: fit where the message is, write or erase it, with controls.

    run = mechbp.load("tree-mlm-k0")
    found = mechbp.interchange(run.model, run.process, "blocks.1.hook_resid_post", depth=2, rng=mechbp.rng(0, "i"))
    print(found.summary())

is what `mechbp.methods.interchange` and the pairs of `mechbp.theory` do step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

from mechbp.arguments import checked_count, told
from mechbp.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mechbp.message_questions import Asked
    from mechbp.methods.interchange.answer_heads import Reading
    from mechbp.methods.interchange.leace import Eraser
    from mechbp.methods.interchange.message_test import MessageTest
    from mechbp.methods.interchange.subspaces import Subspace

Found = Literal["means", "probe", "rotation"]
"""Where a message may be: along the conditional means, where ridge probes read it, or in a subspace learnt from pairs."""
Removed = Literal["leace", "means"]
"""How a message may be erased: all that is linear in it, or the component along its conditional means."""


def interchange(
    model: Any,
    process: Any,
    hook: str,
    depth: int | None = None,
    subspace: Found | Subspace = "means",
    *,
    position: int | None = None,
    message: Literal["upward", "downward"] = "upward",
    task: str | None = None,
    n: int = 512,
    n_fit: int = 4000,
    dims: int | None = None,
    mask_rates: tuple[float, float] = (0.0, 0.4),
    reading: Reading | None = None,
    rng: np.random.Generator,
) -> MessageTest:
    """Write another sequence's message into the model at `hook`, and hold its answers against exact inference that is told so.

    Trees: the `message` of a node at `depth`, written below it; task "masked" (default), "root" or "root-all"; leaves are hidden
    at rates drawn from `mask_rates` as in training. Hidden Markov models: the belief after the token at `position`, counted
    from 0. `subspace` is fitted to `n_fit` sequences: "means" (along which the activation moves with the message), "probe" (from
    which it is read) or "rotation" (learnt from as many pairs as are tested), of `dims` dimensions, by default one less than a
    message has values; or a Subspace of your own. `n` pairs are tested, held out from all fitting, kept if exact inference says
    that the answer moves. `reading`: logits [n, q] -> log-probabilities, where it is neither softmax nor what `cfg.outputs` says.
    The result holds the whole vector and the subspace, and as controls a random subspace whose change has the same norm
    (", placebo"), the component of a mismatched source (", another source"), and what an answer scores that only loses the
    message; `print(found.summary())`, `found.plot()`.
    Raises InputError for a process that has no such pairs, or a depth, position, task or subspace that there is none of;
    TooFewSequences where exact answers hardly move; HookError for what is no model or no hook of activations [n, position, d].

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> mechbp.interchange(run.model, run.process, "blocks.1.hook_resid_post", depth=2, rng=mechbp.rng(0, "i"), n=64).edits
    ('nothing', 'whole vector', 'means', 'means, placebo', 'means, another source')
    """
    from mechbp.message_questions import asked_of
    from mechbp.methods.interchange import interchange as tests
    from mechbp.methods.interchange.answer_heads import checked_reading, reading_of
    from mechbp.methods.interchange.continuation import Continuation, pair_activations
    from mechbp.methods.interchange.message_test import ANOTHER_SOURCE
    from mechbp.methods.interchange.subspaces import Subspace

    read = reading_of(model) if reading is None else checked_reading("interchange", reading)
    given = isinstance(subspace, Subspace)
    if not given and not (isinstance(subspace, str) and subspace in FINDERS):
        raise InputError(
            f"interchange: subspace must be {', '.join(map(repr, FINDERS))} or a Subspace, got {told(subspace)}.\n"
            "Subspaces are fitted by mechbp.methods.interchange.subspaces, das and sensitivity."
        )
    place = Continuation.at(model, hook).hook
    asked = asked_of("interchange", model, process, depth, position, message, task, (n, n_fit), mask_rates, rng)
    size = asked.dims if dims is None else checked_count(dims, "interchange", "dims")
    pairs = asked.pairs()
    found = cast("Subspace", subspace) if given else FINDERS[cast(str, subspace)](model, place, asked, size, read, rng)
    name = found.name if given else cast(str, subspace)
    known = pair_activations(model, pairs.base, pairs.source, [place])[place]
    test = tests.interchange(model, pairs, place, {name: found}, rng=rng, reading=read, activations=known)
    order = _others(len(pairs), rng)
    strangers = replace(pairs, source=pairs.source[order])
    lent = (known[0], known[1][order])
    other = tests.interchange(model, strangers, place, {name: found}, rng=rng, reading=read, activations=lent)
    return test.beside(other, ANOTHER_SOURCE, [name])


def erase(
    model: Any,
    process: Any,
    hook: str,
    depth: int | None = None,
    eraser: Removed | Eraser = "leace",
    *,
    position: int | None = None,
    message: Literal["upward", "downward"] = "upward",
    task: str | None = None,
    n: int = 512,
    n_fit: int = 4000,
    dims: int | None = None,
    mask_rates: tuple[float, float] = (0.0, 0.4),
    reading: Reading | None = None,
    rng: np.random.Generator,
) -> MessageTest:
    """Erase a message from the model at `hook`, and hold its answers against exact inference without the message.

    eraser: "leace" (all that is linear in the message), "means" (the component along its conditional means, of `dims`
    dimensions), fitted to `n_fit` sequences, or an Eraser of your own. The other arguments, and the errors, are those of
    `interchange`. Controls in the result: a random change of the same norm (", placebo"), the eraser fitted to messages of other
    sequences (", other messages"), and what answers score that do something else instead.

    >>> import mechbp
    >>> run = mechbp.load("tree-mlm-k0")
    >>> mechbp.erase(run.model, run.process, "blocks.1.hook_resid_post", depth=2, rng=mechbp.rng(0, "e"), n=64).edits
    ('nothing', 'leace', 'leace, placebo', 'leace, other messages')
    """
    from mechbp.message_questions import asked_of
    from mechbp.methods.interchange import interchange as tests
    from mechbp.methods.interchange.answer_heads import checked_reading, reading_of
    from mechbp.methods.interchange.continuation import Continuation, pair_activations
    from mechbp.methods.interchange.leace import Eraser
    from mechbp.methods.interchange.message_test import OTHER_MESSAGES

    read = reading_of(model) if reading is None else checked_reading("erase", reading)
    given = isinstance(eraser, Eraser)
    if not given and not (isinstance(eraser, str) and eraser in ("leace", "means")):
        raise InputError(f"erase: eraser must be 'leace', 'means' or an Eraser, got {told(eraser)}.")
    place = Continuation.at(model, hook).hook
    asked = asked_of("erase", model, process, depth, position, message, task, (n, n_fit), mask_rates, rng)
    size = asked.dims if dims is None else checked_count(dims, "erase", "dims")
    pairs = asked.pairs()
    known = pair_activations(model, pairs.base, pairs.source, [place])[place]
    if given:
        own = cast("Eraser", eraser)
        return tests.erase(model, pairs, place, {own.name: own}, rng=rng, reading=read, activations=known)
    name = cast(str, eraser)
    activations = _activations(model, place, asked)
    fitted = _eraser(name, asked, activations, asked.messages, size)
    test = tests.erase(model, pairs, place, {name: fitted}, rng=rng, reading=read, activations=known)
    others = asked.messages[_others(len(asked.messages), rng)]
    control = {name: _eraser(name, asked, activations, others, size)}
    other = tests.erase(model, pairs, place, control, rng=rng, reading=read, activations=known)
    return test.beside(other, OTHER_MESSAGES, [name])


def _activations(model: Any, hook: str, asked: Asked) -> Tensor:
    from mechbp.methods.patching.plain_capture import captured

    return captured(model, asked.inputs, [hook])[hook][:, asked.positions]


def _means(model: Any, hook: str, asked: Asked, dims: int, reading: Reading, rng: np.random.Generator) -> Subspace:
    from mechbp.methods.interchange.subspaces import mean_subspace

    return mean_subspace(_activations(model, hook, asked), asked.messages, dims)


def _probe(model: Any, hook: str, asked: Asked, dims: int, reading: Reading, rng: np.random.Generator) -> Subspace:
    from mechbp.methods.interchange.subspaces import probe_subspace

    return probe_subspace(_activations(model, hook, asked), asked.messages, dims)


def _rotation(model: Any, hook: str, asked: Asked, dims: int, reading: Reading, rng: np.random.Generator) -> Subspace:
    """Begun at the conditional means, and at the directions to which the answer is most sensitive."""
    from mechbp.methods.interchange.das import learn_rotation
    from mechbp.methods.interchange.sensitivity import sensitive_subspace

    training = asked.pairs()
    starts = [
        _means(model, hook, asked, dims, reading, rng),
        sensitive_subspace(model, training, hook, dims, rng=rng, groups=asked.groups, reading=reading),
    ]
    return learn_rotation(model, training, hook, dims, rng=rng, starts=starts, groups=asked.groups, reading=reading)


FINDERS: dict[str, Callable[..., Subspace]] = {"means": _means, "probe": _probe, "rotation": _rotation}


def _eraser(name: str, asked: Asked, activations: Tensor, messages: np.ndarray, dims: int) -> Eraser:
    from mechbp.methods.interchange.leace import leace, projection
    from mechbp.methods.interchange.subspaces import mean_subspace

    if name == "leace":
        return leace(activations, messages)
    return projection(activations, mean_subspace(activations, messages, dims))


def _others(n: int, rng: np.random.Generator) -> np.ndarray:
    """For every row another one, drawn at random: a cyclic shift of a random order leaves none where it was."""
    import numpy as np

    order = rng.permutation(n)
    found = np.empty(n, np.int64)
    found[order] = np.roll(order, 1)
    return found

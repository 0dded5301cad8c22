"""One message of one process, as causal tests ask for it: sequences to fit on, the message at every position, pairs to test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mechbp.arguments import check_memory, checked_count, checked_reals, checked_text, is_integer, told
from mechbp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from mechbp.methods.interchange.pairs import Pairs
    from mechbp.models.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Asked:
    """One message of one process: sequences to fit on, what each position is fitted to, and pairs held out from that."""

    inputs: np.ndarray
    messages: np.ndarray
    """[n, position, value]."""
    positions: slice
    """Of the model's input, those that `messages` are about."""
    dims: int
    groups: Sequence[int] | None
    """Positions that may hold the message in different directions, by number; None: one basis for all."""
    pairs: Callable[[], Pairs]
    """Draws pairs, others at every call."""


def asked_of(
    where: str,
    model: Any,
    process: Any,
    depth: int | None,
    position: int | None,
    message: Literal["upward", "downward"],
    task: str | None,
    sizes: tuple[int, int],
    mask_rates: tuple[float, float],
    rng: np.random.Generator,
) -> Asked:
    """What is asked of a process, by its family; InputError where no message of it can be written."""
    from mechbp.hooks import require_hooked
    from mechbp.models.families import families
    from mechbp.randomness import checked_generator

    require_hooked(model)
    checked_generator(rng, where)
    sizes = (checked_count(sizes[0], where, "n"), checked_count(sizes[1], where, "n_fit"))
    if task is not None:
        checked_text(task, where, "task")
    family = next((one for one in families() if isinstance(process, one.processes)), None)
    if family is None or family.name not in OF_FAMILY:
        raise InputError(
            f"{where}: messages of a FilteredTree (depth=) and beliefs of a HiddenMarkovModel (position=) can be written; got "
            f"{type(process).__name__}.\nOf topics use mechbp.theory.topics.belief_pairs, of lists mechbp.theory.sorting."
            "head_interchange; your own Pairs go to mechbp.methods.interchange."
        )
    given, wrong, ask, tasks = OF_FAMILY[family.name]
    places = {"depth": depth, "position": position}
    if places[given] is None or places[wrong] is not None:
        got = ", ".join(f"{name}={told(value, 20)}" for name, value in places.items() if value is not None)
        raise InputError(
            f"{where}: of a {type(process).__name__} name the message by {given}=, {MEANINGS[given]}; got "
            f"{got or f'neither {given} nor {wrong}'}."
        )
    if (task or tasks[0]) not in tasks:
        raise InputError(f"{where}: models of a {type(process).__name__} are asked {' or '.join(tasks)}, got task={told(task)}.")
    return ask(where, process, places[given], message, family.tasks[task or tasks[0]], task or tasks[0], sizes, mask_rates, rng)


def _of_tree(
    where: str,
    process: Any,
    depth: int,
    message: Literal["upward", "downward"],
    task: Task,
    name: str,
    sizes: tuple[int, int],
    mask_rates: tuple[float, float],
    rng: np.random.Generator,
) -> Asked:
    import numpy as np

    from mechbp.methods.interchange.pairs import CANDIDATES
    from mechbp.methods.interchange.subspaces import at_leaves
    from mechbp.theory.tree.message_pairs import child_sides, message_pairs

    rates = checked_reals(mask_rates, where, "mask_rates", "two numbers 0 <= low <= high < 1")
    if rates.shape != (2,) or not 0 <= rates[0] <= rates[1] < 1:
        raise InputError(f"{where}: mask_rates must be 0 <= low <= high < 1, got {told(mask_rates)}.")
    low, high = rates.tolist()
    lowest = max(process.filter_level, 1)
    there = is_integer(depth) and lowest <= depth <= process.depth
    if not there or not isinstance(message, str) or message not in ("upward", "downward"):
        raise InputError(
            f"{where}: this tree's nodes send upward and downward messages at depths {lowest}..{process.depth}, got depth "
            f"{told(depth, 20)} and message {told(message, 20)}."
        )
    drawn = max(2 * CANDIDATES * sizes[0], sizes[1])
    each = 8.0 * process.n_leaves * (5 + 6 * process.vocab_size)
    check_memory(drawn * each, where, f"{sizes[0]:,} pairs and {sizes[1]:,} sequences to fit on", "Take fewer.")
    tokens = process.sample(sizes[1], rng).tokens
    if name == MASKED:
        hidden = rng.random(tokens.shape) < rng.uniform(low, high, size=(len(tokens), 1))
        tokens = np.where(hidden, process.mask_token, tokens)
    inputs = task.inputs(process, tokens)
    return Asked(
        inputs=inputs,
        messages=at_leaves(getattr(process.beliefs(tokens), message)[depth], process.n_leaves),
        positions=slice(None),
        dims=process.vocab_size - 1,
        groups=child_sides(process, depth, inputs.shape[1]).tolist(),
        pairs=lambda: message_pairs(process, name, depth, sizes[0], rng, message=message, mask_rates=mask_rates),
    )


def _of_chain(
    where: str,
    process: Any,
    position: int,
    message: Literal["upward", "downward"],
    task: Task,
    name: str,
    sizes: tuple[int, int],
    mask_rates: tuple[float, float],
    rng: np.random.Generator,
) -> Asked:
    from mechbp.methods.interchange.pairs import CANDIDATES
    from mechbp.theory.chain.belief_pairs import belief_pairs

    position = checked_count(position, where, "position", least=0, why="the token after which the belief is held")
    drawn = max(2 * CANDIDATES * sizes[0], sizes[1])
    each = 8.0 * (position + 1) * (4 + 2 * process.n_states)
    check_memory(drawn * each, where, f"{sizes[0]:,} pairs and {sizes[1]:,} sequences to fit on", "Take fewer.")
    tokens = process.sample(sizes[1], rng, position + 1).tokens
    beliefs = process.beliefs(tokens)[:, -1:]
    return Asked(
        inputs=task.inputs(process, tokens),
        messages=beliefs,
        positions=slice(position, position + 1),
        dims=beliefs.shape[-1] - 1,
        groups=None,
        pairs=lambda: belief_pairs(process, position, sizes[0], rng),
    )


MASKED = "masked"
OF_FAMILY: dict[str, tuple[str, str, Callable[..., Asked], tuple[str, ...]]] = {
    "tree": ("depth", "position", _of_tree, (MASKED, "root", "root-all")),
    "chain": ("position", "depth", _of_chain, ("next-token",)),
}
"""Family -> what names a message of it, what does not, how it is asked, and the tasks, the default first."""
MEANINGS = {
    "depth": "the level of the nodes that send it, where 1 is next to the root",
    "position": "that of the token after which it is held, from 0",
}
"""What each of these names is about, as an error tells it."""

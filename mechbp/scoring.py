"""Is a model exact? One call for a model and a process that were not shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mechbp.arguments import check_memory, checked_count, told
from mechbp.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from mechbp.methods.statistics.answers import Agreement
    from mechbp.models.tasks.task import Task


def score(model: Any, process: Any, *, task: str | Task, n: int = 1000, rng: np.random.Generator) -> Agreement:
    """Return how near a model's answers are to the exact ones, on n sequences drawn from `process`.

    task: what the model is asked, "masked", "root", "root-all" or "next-token" for trees, "next-token" for hidden Markov models,
    "masked", "mask-a" or "mask-b" for topics, "sort" for lists; or a Task of your own. The result holds KL in both directions
    (nats), the expected accuracy and that of the optimum, with 95 % bootstrap intervals over sequences; `print(found.summary())`.
    Raises InputError for a task that models of this process cannot be asked, n < 1, or an rng that is no Generator; HookError
    for what is no model, or one whose vocabulary or input length does not fit the task.

    >>> import mechbp
    >>> run = mechbp.load("mess3-s24")
    >>> found = mechbp.score(run.model, run.process, task="next-token", n=200, rng=mechbp.rng(0, "score"))
    >>> bool(found.kl_bp_to_model_nats.high < 1e-3)
    True
    """
    import torch

    from mechbp.finite import check_finite
    from mechbp.hooks import require_hooked, to_tokens
    from mechbp.methods.statistics.answers import agreement
    from mechbp.models.answers import ask, model_answers
    from mechbp.randomness import checked_generator

    asked_of = _task(process, task)
    require_hooked(model)
    checked_generator(rng, "score")
    n = checked_count(n, "score", "n")
    _check_room(asked_of, process, model, n)
    tokens = ask(asked_of, process, n, rng).tokens
    to_tokens(model, asked_of.prompts(process, tokens).inputs)  # whether they fit the model's vocabulary and length
    answers = model_answers(model, asked_of, process, tokens)
    exact = asked_of.exact(process, tokens)
    check_finite("score", "the model's answer", torch.from_numpy(answers))
    if answers.shape != exact.shape:
        raise InputError(
            f"score: the model gives {answers.shape[-1]} probabilities per query, the exact answer has {exact.shape[-1]}.\n"
            "Its outputs must be the symbols of the process, in their order (d_vocab_out)."
        )
    return agreement(exact, answers, rng)


def _check_room(task: Task, process: Any, model: Any, n: int) -> None:
    """Raise LimitExceeded for more sequences than fit with their prompts and answers, estimated from one of them."""
    from mechbp.models.answers import ask
    from mechbp.randomness import rng

    one = task.prompts(process, ask(task, process, 1, rng(0, "score", "room")).tokens)
    symbols = getattr(model.cfg, "d_vocab_out", None) or 1
    each = 4 * one.inputs.nbytes + 8 * symbols * (3 * one.read.size + one.inputs.size)
    check_memory(
        float(each) * n, "score", f"{n:,} sequences, their prompts and answers", "Take fewer; 2,000 give a narrow interval."
    )


def _task(process: Any, task: str | Task) -> Task:
    from mechbp.models.families import families
    from mechbp.models.tasks.task import Task

    if isinstance(task, Task):
        return task
    for family in families():
        if isinstance(process, family.processes):
            if isinstance(task, str) and task in family.tasks:
                return family.tasks[task]
            known = ", ".join(map(repr, family.tasks))
            raise InputError(f"score: a model of a {type(process).__name__} can be asked {known}, got task={told(task)}.")
    raise InputError(
        f"score: {type(process).__name__} belongs to no registered family, so that task={told(task)} has no meaning.\n"
        "Pass a Task of your own, or name the class in your Family's `processes`."
    )

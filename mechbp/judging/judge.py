"""Judge a method where the answer is known: on compiled models, whose every message has a known place and known readers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from mechbp.arguments import check_memory, checked_choice, checked_count, checked_text
from mechbp.errors import InputError, MechbpError
from mechbp.judging.answer import checked_answer
from mechbp.judging.judgement import Judgement
from mechbp.judging.passes import BudgetSpent, metered
from mechbp.judging.question import Question
from mechbp.judging.scoring import Score, scored
from mechbp.judging.setting import Sites, settings
from mechbp.judging.truth import TRUTHS, Kind
from mechbp.methods.statistics.intervals import Interval, seed_mean

Method = Callable[[Question], Any]
"""A question -> a float or bool array [candidate], or both as a pair (scores, found)."""

GRAMMARS, PAIRS, INPUTS = 8, 16, 400
"""Seeds, pairs per question, and further inputs per question, unless told otherwise."""


BYTES_PER_PAIR, BYTES_PER_INPUT, BYTES_PER_GRAMMAR = 64e3, 4e3, 1e3
"""What a question takes at most: 16 trees with their messages are drawn per pair, one with its message per input."""


def judge(
    method: Method,
    kind: Kind = "localisation",
    *,
    sites: Sites = "parts",
    grammars: int = GRAMMARS,
    pairs: int = PAIRS,
    inputs: int = INPUTS,
    budget: int | None = None,
    name: str | None = None,
    first: int = 0,
) -> Judgement:
    """Ask a method where a message is, in models whose every message is known, and return its hits and false alarms.

    method: a function of a `Question`, which holds a HookedTransformer, clean and corrupted inputs, a metric, inputs with their
    exact messages, and candidates (hook, positions). It returns one value per candidate, in their order: floats, larger where
    more sure, or bools, its own decisions, or both as (scores, found). Without decisions as many candidates as are right are
    taken from the top.
    kind: what a yes claims, that the answer causally reads the message there ("localisation", and "interchange" where the
    method writes it), or that the message can be decoded there ("probing"). `mechbp.judging.truth` tables the right answers.
    sites: "parts", single variables of the residual stream, each with a hook of its own; "components", outputs of attention and
    MLPs by position; "streams", whole residual streams.
    grammars: random grammars `first`, `first` + 1, ..., two models each; intervals are over them. pairs, inputs: how many each
    question holds. budget: passes per question, one being one sequence through all blocks, backward counted twice; a method that
    exceeds it is stopped there, and the question counts as unanswered.
    Raises InputError for arguments that do not fit, for what is no answer, and where the method raises.

    >>> import mechbp, torch
    >>> def gradient(question):
    ...     seen = {}
    ...     def keep(value, hook):
    ...         value.retain_grad()
    ...         seen[hook.name] = value
    ...     tokens = torch.from_numpy(question.corrupted)
    ...     kept = [(name, keep) for name in question.hooks()]
    ...     logits = question.model.run_with_hooks(tokens, fwd_hooks=kept)
    ...     question.metric(logits).sum().backward()
    ...     return [float(seen[hook].grad[:, positions].norm()) for hook, positions in question.candidates]
    >>> found = mechbp.judge(gradient, "localisation", grammars=2)
    >>> print(found.summary())
    gradient (localisation, parts): AUROC ...
    """
    _check(method, kind, sites, grammars, pairs, inputs, budget, first)
    called = (name and checked_text(name, "judge", "name")) or getattr(method, "__name__", type(method).__name__)
    tables: list[list[Score]] = []
    passes: list[float] = []
    stopped: list[str] = []
    counts = np.zeros(len(TRUTHS), int)
    decided: set[bool] = set()
    for grammar in range(first, first + grammars):
        scores: list[Score] = []
        spent: list[float] = []
        for setting in settings(grammar, sites):
            question = setting.question(kind, pairs, inputs, budget)
            given, used, reason = _asked(method, question, called)
            spent.append(used)
            if reason:
                stopped.append(f"{question.name}: {reason}")
                continue
            answer = checked_answer(given, question, called)
            decided.add(answer.found is not None)
            scores.append(scored(answer, setting.truth, kind))
            counts += [setting.truth.count(truth) for truth in TRUTHS]
        tables.append(scores)
        passes.append(float(np.mean(spent)))
    if len(decided) > 1:
        raise InputError(f"judge: {called} decided by itself on some questions only; return decisions always, or never.")
    said = np.array([_mean([score.said for score in scores]) for scores in tables if scores]).reshape(-1, len(TRUTHS))
    answered = [score for scores in tables for score in scores]
    auroc, precision = (
        np.array([np.mean([getattr(score, name) for score in scores]) for scores in tables if scores])
        for name in ("auroc", "average_precision")
    )
    return Judgement(
        method=called,
        kind=kind,
        sites=sites,
        candidates=counts,
        said=_share(said),
        auroc=_share(auroc),
        average_precision=_share(precision),
        chance_precision=float(np.mean([score.chance_precision for score in answered])) if answered else float("nan"),
        passes=seed_mean(np.array(passes)),
        budget=budget,
        own_threshold=decided == {True},
        per_grammar=said,
        stopped=tuple(stopped),
    )


def _asked(method: Method, question: Question, called: str) -> tuple[Any, float, str]:
    """Return what the method gave, the passes it used, and why it was stopped if it was."""
    with metered(question.model, question.budget) as meter:
        try:
            given = method(question)
        except BudgetSpent:
            given = None
        except MechbpError as error:
            if not meter.exceeded:
                raise InputError(f"judge: {called} on {question.name!r}: {error}") from error
            given = None
        except Exception as error:
            if not meter.exceeded:
                where = f"judge: {called} raised {type(error).__name__} on {question.name!r}: {error!s:.200}"
                raise InputError(f"{where}\nexpected a score for each of {len(question.candidates)} candidates.") from error
            given = None
    return given, meter.spent, meter.reason


def _mean(rows: list[np.ndarray]) -> np.ndarray:
    """The mean over the questions of one grammar that have a truth; NaN where none has."""
    table = np.stack(rows)
    known = ~np.isnan(table)
    return np.where(known.any(axis=0), np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)


def _share(values: np.ndarray) -> Interval:
    """The mean over grammars with Student's t interval, cut to what a share can be; NaN where nothing was answered."""
    if not len(values):
        nothing = np.full(values.shape[1:], np.nan)
        return Interval(nothing, nothing, nothing, 0)
    found = seed_mean(values)
    low, high = (np.asarray(np.clip(end, 0, 1)) for end in (found.low, found.high))
    return Interval(found.mean, low, high, found.n, found.level)


def _check(method: Any, kind: Any, sites: Any, *sizes: Any) -> None:
    """Raise InputError for the first argument that does not fit."""
    if not callable(method):
        raise InputError(f"judge: method must be a function of a Question, got a {type(method).__name__}.")
    try:
        inspect.signature(method).bind(None)
    except TypeError:
        raise InputError(f"judge: method must take one argument, a Question, got {method!r:.80}.") from None
    except ValueError:
        pass  # built in C, with no signature to read
    checked_choice(kind, "judge", "kind", get_args(Kind))
    checked_choice(sites, "judge", "sites", get_args(Sites))
    grammars, pairs, inputs, budget, first = sizes
    limits = {"grammars": (grammars, 1), "pairs": (pairs, 8), "inputs": (inputs, 50), "first": (first, 0)}
    if budget is not None:
        limits["budget"] = (budget, 1)
    for label, (value, least) in limits.items():
        checked_count(value, "judge", label, least=least)
    what = f"questions of {pairs:,} pairs and {inputs:,} inputs"
    check_memory(BYTES_PER_PAIR * pairs + BYTES_PER_INPUT * inputs, "judge", what, "Take fewer pairs, or inputs.")
    check_memory(BYTES_PER_GRAMMAR * grammars, "judge", f"the scores of {grammars:,} grammars", "Take fewer grammars.")

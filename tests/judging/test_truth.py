"""The truth of every place against the model itself: what carries a difference, what holds the message, what is read at all."""

import numpy as np
import pytest
import torch

from mechbp.hooks import capture, edit, to_tokens
from mechbp.judging.setting import settings
from mechbp.judging.truth import RIGHT, TRUTHS, Asked, Flow, below

EXACT = 1e-9
CARRIES = ("read", "copy", "passed on")


def observed(setting):
    """What the model shows of every candidate: whether it carries the difference, differs, is read at all, holds the message."""
    question = setting.question("localisation", 8, 64, None)
    hooks = question.hooks()
    of_clean, of_corrupted, of_tokens = (
        capture(question.model, rows, hooks) for rows in (question.clean, question.corrupted, question.tokens)
    )
    found = []
    for (hook, positions), (slots, _) in zip(setting.candidates, setting.held, strict=True):
        at = list(positions)
        held = of_tokens[hook][:, at].numpy()
        alike = len(slots) == 1 and held.shape[-1] == question.message.shape[-1]
        message = held / np.maximum(held.sum(axis=-1, keepdims=True), 1e-300)
        found.append(
            {
                "carries": moved(question, hook, at, of_clean) > EXACT,
                "differs": bool((of_clean[hook][:, at] - of_corrupted[hook][:, at]).abs().max() > EXACT),
                "read": moved(question, hook, at, of_tokens) > EXACT,
                "message": alike and bool(np.abs(message - question.message[:, None]).max() < EXACT),
                "single": len(slots) == 1,
            }
        )
    return found


def wrong(setting, truth, seen):
    """Name every candidate whose truth the model contradicts."""
    found = []
    for candidate, what, shown in zip(setting.candidates, truth, seen, strict=True):
        independent = what in ("other", "nothing")
        so = shown["carries"] == (what in CARRIES) and shown["differs"] != independent
        so &= not independent or shown["read"] == (what == "other")
        so &= not shown["single"] or shown["message"] == (what in ("read", "copy", "unread"))
        found += [] if so else [f"{candidate} {what}"]
    return found


@torch.no_grad()
def moved(question, hook, at, donors):
    """By how much the answer moves when other runs' activations are written at some positions of the corrupted runs."""

    def write(value):
        value[:, at] = donors[hook][: len(value), at]
        return value

    tokens = to_tokens(question.model, question.corrupted)
    with edit(question.model, {hook: write}):
        edited = question.model(tokens)[:, question.query]
    answers = [question.reading(logits) for logits in (edited, question.model(tokens)[:, question.query])]
    return float((answers[0] - answers[1]).abs().max())


@pytest.mark.parametrize("sites", ["parts", "components", "streams"])
@pytest.mark.parametrize("grammar", [3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (4, 5, 6))])
def test_the_model_agrees_with_every_truth(sites, grammar):
    for setting in settings(grammar, sites):
        assert wrong(setting, setting.truth, observed(setting)) == []


def test_every_truth_is_asked_about():
    asked = {what for sites in ("parts", "components", "streams") for setting in settings(3, sites) for what in setting.truth}
    assert asked == set(TRUTHS)


@pytest.fixture(scope="module")
def copied():
    *_, setting = settings(3, "parts")
    return setting, observed(setting)


@pytest.mark.parametrize(
    ("so", "planted"),
    [
        ("read", "unread"),
        ("copy", "unread"),
        ("unread", "read"),
        ("unread", "nothing"),
        ("unread", "passed on"),
        ("related", "unread"),
        ("related", "passed on"),
        ("passed on", "related"),
        ("other", "nothing"),
        ("nothing", "other"),
        ("nothing", "unread"),
    ],
)
def test_a_wrong_truth_is_seen(copied, so, planted):
    setting, seen = copied
    at = setting.truth.index(so)
    faulty = (*setting.truth[:at], planted, *setting.truth[at + 1 :])
    assert wrong(setting, faulty, seen) == [f"{setting.candidates[at]} {planted}"]


def test_a_reader_that_is_forgotten_is_seen():
    """Without the attention that reads the message, the flow says of its place that nothing does."""
    *_, setting = settings(3, "parts")
    flow = Flow.of(setting.compiled, setting.asked)
    slots = setting.compiled.slots
    place = min(setting.asked.leaves)
    assert flow.truth(slots["upward 1"], place, 2) == "copy"
    deaf = Flow(setting.compiled, setting.asked, frozenset(row for row in flow.reached if row[0] != "upward 1"))
    assert deaf.truth(slots["upward 1"], place, 2) == "unread"


def test_the_planted_slots_are_what_they_were_planted_as():
    plain, copied = settings(3, "parts")
    for setting in (plain, copied):
        flow = Flow.of(setting.compiled, setting.asked)
        slots = setting.compiled.slots
        inside, query = min(setting.asked.leaves), setting.asked.query
        assert flow.truth(slots["sibling 1"], query, 3) == "read"
        assert flow.truth(slots["sibling 1 unread"], query, 3) == "unread"
        assert flow.truth(slots["upward 1 decoy"], inside, 2) == "related"
        assert flow.truth(slots["upward 1"], inside, 2) == ("copy" if setting is copied else "read")
        assert flow.truth(slots["upward 1"], inside, 4) == "unread"


def test_right_answers_cover_every_kind_and_truth():
    assert {kind: set(row) for kind, row in RIGHT.items()} == {kind: set(TRUTHS) for kind in RIGHT}
    assert Asked(1, 3, 4).leaves == {6, 7} == below(6, 1)

"""The truth of every place against the model itself: what carries a difference, what holds the message, and what it depends on."""

import numpy as np
import pytest
import torch

from mechbp.hooks import capture, edit, to_tokens
from mechbp.judging.setting import settings
from mechbp.judging.truth import RIGHT, TRUTHS, Asked, Flow, below

EXACT = 1e-9
CARRIES = ("read", "copy", "passed on")


def wrong(setting, truth):
    """Name every candidate whose truth the model contradicts."""
    question = setting.question("localisation", 8, 64, None)
    model = question.model
    hooks = question.hooks()
    of_clean, of_corrupted, of_tokens = (
        capture(model, rows, hooks) for rows in (question.clean, question.corrupted, question.tokens[:8])
    )
    found = []
    for candidate, what, (slots, _) in zip(setting.candidates, truth, setting.held, strict=True):
        hook, positions = candidate
        at = list(positions)
        clean, corrupted = of_clean[hook][:, at], of_corrupted[hook][:, at]
        carries = moved(question, hook, at, of_clean) > EXACT
        read = moved(question, hook, at, of_tokens) > EXACT
        differs = bool((clean - corrupted).abs().max() > EXACT)
        says = {
            "carries": carries == (what in CARRIES),
            "differs": differs == (what not in ("other", "nothing")),
            "read at all": what not in ("other", "nothing") or read == (what == "other"),
        }
        if len(slots) == 1 and what in ("read", "copy", "unread"):
            held = capture(model, question.tokens, hook)[hook][:, at].numpy()
            message = held / held.sum(axis=-1, keepdims=True)
            says["message"] = np.abs(message - question.message[:, None]).max() < EXACT
        if len(slots) == 1 and what == "related":
            held = capture(model, question.tokens, hook)[hook][:, at].numpy()
            same = held.shape[-1] == question.message.shape[-1]
            says["not the message"] = not same or np.abs(held / held.sum(-1, keepdims=True) - question.message[:, None]).max() > 1e-3
        found += [f"{candidate} {what}: {name}" for name, so in says.items() if not so]
    return found


@torch.no_grad()
def moved(question, hook, at, donors):
    """By how much the answer moves when other runs' activations are written at some positions of the corrupted runs."""

    def write(value):
        value[:, at] = donors[hook][:, at]
        return value

    tokens = to_tokens(question.model, question.corrupted)
    with edit(question.model, {hook: write}):
        edited = question.model(tokens)[:, question.query]
    answers = [question.reading(logits) for logits in (edited, question.model(tokens)[:, question.query])]
    return float((answers[0] - answers[1]).abs().max())


@pytest.mark.parametrize("sites", ["parts", "components", "streams"])
@pytest.mark.parametrize("grammar", [3, 4])
def test_the_model_agrees_with_every_truth(sites, grammar):
    for setting in settings(grammar, sites):
        assert wrong(setting, setting.truth) == []


def test_every_truth_is_asked_about():
    asked = {what for sites in ("parts", "components", "streams") for setting in settings(3, sites) for what in setting.truth}
    assert asked == set(TRUTHS)


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
def test_a_wrong_truth_is_seen(so, planted):
    *_, setting = settings(3, "parts")
    at = next(
        i
        for i, (what, (slots, _)) in enumerate(zip(setting.truth, setting.held, strict=True))
        if what == so and (so != "related" or slots[0].name == "upward 1 decoy")
    )
    faulty = (*setting.truth[:at], planted, *setting.truth[at + 1 :])
    assert any(str(setting.candidates[at]) in text for text in wrong(setting, faulty))


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
    assert {kind: set(row) for kind, row in RIGHT.items()} == dict.fromkeys(RIGHT, set(TRUTHS))
    assert Asked(1, 3, 4).leaves == {6, 7} == below(6, 1)

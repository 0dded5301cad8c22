"""Judging: an oracle is right about everything, its opposite about nothing, and no answer that is none gets through."""

import json
from contextlib import suppress
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.judging.judge import judge
from mechbp.judging.localising import random_scores
from mechbp.judging.setting import settings
from mechbp.judging.truth import RIGHT, TRUTHS
from mechbp.judging.writing import probing

GRAMMARS = 1
CASES = [("localisation", "parts"), ("probing", "parts"), ("interchange", "streams"), ("localisation", "components")]


def oracle(kind, sites, form):
    """A method that has read the truth, and says in some form what is right; no of what is not judged."""
    key = {
        setting.name: np.array([bool(RIGHT[kind][what]) for what in setting.truth])
        for grammar in range(GRAMMARS)
        for setting in settings(grammar, sites)
    }
    return lambda question: form(key[question.name])


def known(shares):
    return shares[~np.isnan(shares)]


FORMS = {
    "floats": lambda right: right.astype(float),
    "both": lambda right: (right * 2.0, right),
    "list": lambda right: right.tolist(),
    "tensor": lambda right: torch.from_numpy(right),
}


@pytest.mark.parametrize(
    ("kind", "sites", "form"), [*((*case, "list") for case in CASES), *((*CASES[0], form) for form in FORMS)]
)
def test_an_oracle_gets_all_hits_and_no_false_alarm(kind, sites, form):
    found = judge(oracle(kind, sites, FORMS[form]), kind, sites=sites, grammars=GRAMMARS)
    assert (known(found.hits.mean) == 1).all() and len(known(found.hits.mean))
    assert (known(found.false_alarms.mean) == 0).all() and len(known(found.false_alarms.mean))
    assert (known(found.misses.mean) == 0).all()
    assert found.auroc.mean == found.average_precision.mean == 1


@pytest.mark.parametrize(("kind", "sites"), CASES)
def test_its_opposite_gets_none(kind, sites):
    found = judge(oracle(kind, sites, lambda right: ~right), kind, sites=sites, grammars=GRAMMARS)
    assert (known(found.hits.mean) == 0).all() and (known(found.false_alarms.mean) == 1).all()
    assert found.auroc.mean == 0 and found.own_threshold


def test_a_constant_is_chance():
    found = judge(lambda question: np.zeros(len(question.candidates)), grammars=GRAMMARS)
    assert found.auroc.mean == 0.5 and not found.own_threshold
    assert found.average_precision.mean == pytest.approx(found.chance_precision)
    assert known(found.said.mean) == pytest.approx(known(found.said.mean)[0], abs=0.05), "ties are shared out evenly"


def test_random_scores_are_chance():
    found = judge(random_scores, "probing", grammars=3)
    assert found.auroc.low < 0.5 < found.auroc.high and found.said.n == 3


def test_a_probe_offered_as_localisation_raises_false_alarms_where_nothing_reads():
    found = judge(probing, "localisation", grammars=GRAMMARS)
    unread, other = (found.false_alarms.mean[TRUTHS.index(what)] for what in ("unread", "other"))
    assert unread > 0.8 and other < 0.2
    right = judge(probing, "probing", grammars=GRAMMARS)
    assert right.hits.mean[TRUTHS.index("unread")] > 0.8 and np.isnan(right.false_alarms.mean[TRUTHS.index("unread")])


def test_every_method_is_asked_the_same():
    seen = []

    def method(question):
        seen.append((question.name, question.clean, question.tokens, question.candidates, question.rng.random()))
        question.clean[:] = 0
        return np.zeros(len(question.candidates))

    judge(method, grammars=1)
    judge(method, "probing", grammars=1)
    first, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    for one, other in zip(first, again, strict=True):
        assert one[0] == other[0] and one[3:] == other[3:] and np.array_equal(one[2], other[2])


def runs(n):
    """A method that makes n passes of one sequence, and says no."""

    @torch.no_grad()
    def method(question):
        for _ in range(n):
            question.model(torch.from_numpy(question.clean[:1]))
        return np.zeros(len(question.candidates))

    return method


def test_passes_are_told():
    found = judge(runs(5), grammars=GRAMMARS, budget=5)
    assert found.passes.mean == pytest.approx(5) and found.stopped == () and found.budget == 5


def test_a_method_over_budget_is_stopped_with_the_reason():
    found = judge(runs(6), grammars=GRAMMARS, budget=5)
    assert found.passes.mean == pytest.approx(5) and found.said.n == 0 and np.isnan(found.auroc.mean)
    assert len(found.stopped) == 2 * GRAMMARS and "grammar 0, plain: asked for more than 5 passes" in found.stopped[0]
    assert "unanswered" in found.summary() and found.to_dataframe()["hits"].isna().all()


def test_a_method_that_swallows_its_stop_is_stopped_all_the_same():
    def method(question):
        with suppress(Exception):
            runs(6)(question)
        return np.zeros(len(question.candidates))

    assert len(judge(method, grammars=1, budget=5).stopped) == 2


def raises(question):
    raise KeyError("blocks.9")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda question: [0.0], r"returned shape \[1\];\nexpected a float or bool array \[\d+\]"),
        (lambda question: None, r"returned None;\nexpected a float or bool array"),
        (lambda question: "yes", "returned a str;\nexpected a float or bool array"),
        (lambda question: [[0.0], [0.0, 1.0]], "returned a list that is no array"),
        (lambda question: np.full(len(question.candidates), np.nan), "returned nan for candidate 0;\nexpected finite numbers"),
        (lambda question: np.append(np.zeros(len(question.candidates) - 1), np.inf), r"returned inf for candidate \d+;"),
        (lambda question: {"a": 1}, "returned a dict;"),
        (
            lambda question: (np.zeros(len(question.candidates)),) * 2,
            "a pair of float64 and float64; expected floats, then bools",
        ),
        (raises, "raises raised KeyError on 'grammar 0, plain': 'blocks.9'\nexpected a score for each"),
        (lambda: 1, "method must take one argument, a Question"),
        ("patch", "method must be a function of a Question, got a str"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(method, message):
    with pytest.raises(InputError, match=f"judge: .*{message}"):
        judge(method, grammars=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "guessing"}, "kind must be one of localisation, probing, interchange, got 'guessing'"),
        ({"sites": "heads"}, "sites must be one of parts, components, streams, got 'heads'"),
        ({"grammars": 0}, "grammars must be an integer >= 1, got 0"),
        ({"pairs": 2.5}, "pairs must be an integer >= 8, got 2.5"),
        ({"budget": 0}, "budget must be an integer >= 1, got 0"),
        ({"first": True}, "first must be an integer >= 0, got True"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        judge(random_scores, **change)


def test_deciding_on_some_questions_only_is_refused():
    def method(question):
        scores = random_scores(question)
        return scores > 0.5 if "plain" in question.name else scores

    with pytest.raises(InputError, match="decisions always, or never"):
        judge(method, grammars=1)


def test_a_judgement_shows_itself():
    found = mechbp.judge(random_scores, grammars=GRAMMARS, name="mine")
    assert json.loads(json.dumps(found.to_dict()))["method"] == "mine"
    assert len(repr(found)) < 700 and "mine (localisation, parts): AUROC" in found.summary()
    assert list(found.to_dataframe()["truth"]) == list(TRUTHS) and found.plot().data and "<table" in found._repr_html_()
    with pytest.raises(FrozenInstanceError):
        found.method = "other"

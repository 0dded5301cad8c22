"""Topic tasks: exact answers equal brute force over words and what may hide them, and lessons ask what the convention says."""

import itertools

import numpy as np
import pytest

from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import own_oracle
from mechbp.models.tasks.topics import TOPICS, MaskedWords, TopicsRecipe, without_topics
from mechbp.processes.topics.masking import MaskRates
from mechbp.processes.topics.topic_model import TopicModel
from mechbp.randomness import rng

TWO = TopicModel.disjoint(2, 2, alpha=0.4, length=4)
RING = TopicModel.ring(3, 2, 1, 0.25, alpha=0.3, length=4)


def joint_of(process, length):
    """P(words) of every document, by the process's own evidence, whose brute force is tested with the process."""
    documents = np.array(list(itertools.product(range(process.vocab_size), repeat=length)))
    return documents, np.exp(process.beliefs(documents).log_evidence)


def shown_probability(task, process, word, shown, selected):
    """P(an id is shown | the word, whether it is selected), and no more than one sentence of the convention each."""
    vocabulary = task.vocabulary(process)
    n_random = vocabulary.n_ids if task.any_id else process.vocab_size
    if not selected:
        return float(shown == word)
    hidden = 1 - task.rates.keep - task.rates.random
    at_random = task.rates.random / n_random * (shown < n_random)
    return task.rates.keep * (shown == word) + at_random + hidden * (shown == vocabulary.mask)


@pytest.mark.parametrize("name", TOPICS.tasks)
def test_exact_answers_equal_bayes_rule_over_all_documents(name):
    task = TOPICS.tasks[name]
    sample = task.draw(TWO, 40, rng(0, name))
    questions = task.questions(TWO, sample)
    found = task.exact(TWO, questions.tokens)[:, 0]
    documents, prior = joint_of(TWO, 4)
    vocabulary = task.vocabulary(TWO)
    for row, tokens in enumerate(questions.tokens):
        weight = prior.copy()
        for place, token in enumerate(tokens):
            shown, unseen = token % vocabulary.n_ids, token >= vocabulary.n_ids
            if place == 0:
                weight *= [shown_probability(task, TWO, d[0], shown, True) for d in documents]
            elif unseen:
                continue
            elif name == "mask-a":  # every position is a key, selected or not
                rate = task.rates.rate
                weight *= [
                    (1 - rate) * shown_probability(task, TWO, d[place], shown, False)
                    + rate * shown_probability(task, TWO, d[place], shown, True)
                    for d in documents
                ]
            elif shown < TWO.vocab_size:
                weight *= documents[:, place] == shown
        expected = np.bincount(documents[:, 0], weights=weight, minlength=TWO.vocab_size)
        np.testing.assert_allclose(found[row], expected / expected.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("process", [TWO, RING, TopicModel.disjoint(2, 2, alpha=0.4, length=(2, 5))])
@pytest.mark.parametrize("name", TOPICS.tasks)
def test_lessons_show_what_the_convention_says(name, process):
    task = TOPICS.tasks[name]
    sample = task.draw(process, 500, rng(1, name))
    lesson = task.lesson(process, ObjectiveConfig(name), sample, rng(2, name))
    vocabulary = task.vocabulary(process)
    assert lesson.inputs.shape == (500, task.n_positions(process))
    assert lesson.inputs.max() < task.n_input_tokens(process)
    words = lesson.inputs[:, 1 : 1 + sample.tokens.shape[1]] if task.markers else lesson.inputs
    reads = lesson.reads[:, 1 : 1 + sample.tokens.shape[1]] if task.markers else lesson.reads
    assert lesson.reads.sum() == reads.sum() and reads.any(axis=1).all()
    np.testing.assert_array_equal(lesson.targets, sample.tokens[reads])
    kept = (sample.tokens >= 0) & ~reads
    np.testing.assert_array_equal(words[kept], sample.tokens[kept])
    assert ((words >= vocabulary.n_ids) == (reads & task.hidden_keys)).all()
    if task.markers:
        ends = (sample.tokens >= 0).sum(axis=1) + 1
        assert (lesson.inputs[:, 0] == vocabulary.start).all()
        assert (lesson.inputs[np.arange(500), ends] == vocabulary.end).all()
    shown = words[reads] % vocabulary.n_ids
    hidden = (shown == vocabulary.mask).mean()
    assert hidden == pytest.approx(1 - task.rates.keep - task.rates.random, abs=0.06)


def test_soft_targets_are_the_exact_answers():
    task = TOPICS.tasks["masked"]
    sample = task.draw(RING, 30, rng(3))
    lesson = task.lesson(RING, ObjectiveConfig("masked", targets="posteriors"), sample, rng(4))
    visible = np.where(lesson.inputs < RING.vocab_size, lesson.inputs, -1)
    expected = RING.beliefs(visible).predictive[np.nonzero(lesson.reads)[0]]
    np.testing.assert_allclose(lesson.targets, expected, rtol=0, atol=1e-12)


def test_questions_move_the_asked_word_to_the_front_and_lose_nothing():
    task = MaskedWords(MaskRates(keep=0.5, random=0.0))
    sample = task.draw(TWO, 200, rng(5))
    questions = task.questions(TWO, sample)
    first = sample.selected.argmax(axis=1)
    rows = np.arange(200)
    assert (first > 0).any()
    np.testing.assert_array_equal(questions.tokens[:, 0], sample.shown[rows, first])
    np.testing.assert_array_equal(np.sort(questions.tokens), np.sort(sample.shown))
    np.testing.assert_array_equal(questions.truth[:, 0], sample.tokens[rows, first])


@pytest.mark.parametrize("process", [TWO, RING])
def test_the_unigram_oracle_ignores_the_document(process):
    prior = process.beliefs(np.full((1, 1), -1)).predictive[0]
    found = without_topics(process).beliefs(np.array([[0, 0, 1]])).predictive[0]
    np.testing.assert_allclose(found, prior, rtol=0, atol=1e-12)
    assert own_oracle(TOPICS.tasks["masked"], process) == "exact"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shared": 2}, "go together"),
        ({"shared": 1, "share": 0.2, "topics_per_document": 2}, "disjoint topics only"),
        ({"length_low": 9}, "length_high must be in 9"),
        ({"n_topics": 256, "words_per_topic": 64}, "at most 4,096"),
        ({"topics_per_document": 4}, "topics_per_document must be in 0..3"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(change, message):
    settings = {"kind": "topics", "n_topics": 3, "words_per_topic": 2, "length_low": 4, "length_high": 8} | change
    with pytest.raises(ValueError, match=message):
        TopicsRecipe(**settings)

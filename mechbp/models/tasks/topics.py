"""The wing of topics: documents of a topic model, and models asked for hidden words under three conventions of masking.

A document reaches a model as ids: words 0..V-1, then MASK and PAD, then START and END where the convention has them. Word order
means nothing, so a document is asked about one word that stands first (or first after START).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int

from mechbp.errors import InputError
from mechbp.models.numbers import array_of, digest_of_numbers, nested
from mechbp.models.recipe_tables import in_range
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Attention, Family, Lesson, Prompts, Questions
from mechbp.processes.topics.masking import Masked, MaskRates, mask_documents
from mechbp.processes.topics.noisy import asked_word_posterior, noisy_beliefs
from mechbp.processes.topics.supports import SupportMixture
from mechbp.processes.topics.topic_model import ABSENT, DocumentSample, TopicModel

MAX_LENGTH = 1024
MAX_WORDS = 4096


@dataclass(frozen=True)
class TopicsRecipe:
    """The data: documents of a topic model."""

    kind: Literal["topics"]
    n_topics: int
    words_per_topic: int
    length_low: int
    length_high: int
    """Words per document, uniform between both."""
    alpha: float = 0.1
    """Dirichlet parameter of every topic."""
    topics_per_document: int = 0
    """If not 0: a document has that many topics, all alike, instead of Dirichlet proportions."""
    shared: int = 0
    """How many words a topic shares with the one before it, in a ring; 0 keeps topics disjoint."""
    share: float = 0.0
    """Probability that a topic gives to the words that it takes from the next one."""

    def __post_init__(self) -> None:
        in_range(
            "process", self, n_topics=(1, 256), words_per_topic=(1, 1024), length_low=(1, MAX_LENGTH),
            length_high=(self.length_low, MAX_LENGTH), alpha=(1e-6, 1e6), topics_per_document=(0, self.n_topics),
            shared=(0, self.words_per_topic), share=(0, 1),
        )  # fmt: skip
        if self.n_topics * self.words_per_topic > MAX_WORDS:
            raise InputError(f"process: {self.n_topics * self.words_per_topic:,} words; at most {MAX_WORDS:,}.")
        if bool(self.shared) != bool(self.share):
            raise InputError(
                f"process: shared words and their share go together, got shared {self.shared}, share {self.share:g}."
            )
        if self.shared and self.topics_per_document:
            raise InputError("process: topics_per_document has disjoint topics only; leave shared and share out.")

    @property
    def n_tokens(self) -> int:
        """Most words per document, and two markers."""
        return self.length_high + 2

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        mixing = f"{self.topics_per_document} topics per document" if self.topics_per_document else f"alpha {self.alpha:g}"
        ring = f", ring of {self.shared} shared words" if self.shared else ""
        lengths = f"{self.length_low}" if self.length_low == self.length_high else f"{self.length_low} to {self.length_high}"
        return f"{self.n_topics} topics of {self.words_per_topic} words{ring}, {mixing}, {lengths} words"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name}

    def build(self) -> TopicModel | SupportMixture:
        """Return the process."""
        length = (self.length_low, self.length_high)
        if self.topics_per_document:
            return SupportMixture.disjoint(self.n_topics, self.words_per_topic, self.topics_per_document, length=length)
        if self.shared:
            ring = (self.n_topics, self.words_per_topic, self.shared, self.share)
            return TopicModel.ring(*ring, alpha=self.alpha, length=length)
        return TopicModel.disjoint(self.n_topics, self.words_per_topic, alpha=self.alpha, length=length)


@dataclass(frozen=True)
class WordsRecipe:
    """The data: documents of topics whose words stand in the recipe, or in a file beside it."""

    kind: Literal["topic-words"]
    length_low: int
    length_high: int
    """Words per document, uniform between both."""
    word_given_topic: tuple[tuple[float, ...], ...]
    """P(word | topic) as [topic][word]. In run.toml also the name of a file of these numbers."""
    alpha: tuple[float, ...] = ()
    """Dirichlet parameter of every topic; needed unless topics_per_document is set."""
    topics_per_document: int = 0
    """If not 0: a document has that many topics, all alike, instead of Dirichlet proportions."""

    numbers: ClassVar[tuple[str, ...]] = ("word_given_topic", "alpha")
    """Keys that may name a file of numbers."""

    def __post_init__(self) -> None:
        in_range("process", self, length_low=(1, MAX_LENGTH), length_high=(self.length_low, MAX_LENGTH))
        if bool(self.alpha) == bool(self.topics_per_document):
            raise InputError("process: give alpha, one number per topic, or topics_per_document, and not both.")
        if self.build().vocab_size > MAX_WORDS:
            raise InputError(f"process: {self.build().vocab_size:,} words; at most {MAX_WORDS:,}.")

    @property
    def n_tokens(self) -> int:
        """Most words per document, and two markers."""
        return self.length_high + 2

    @property
    def n_topics(self) -> int:
        """How many topics there are."""
        return len(self.word_given_topic)

    @property
    def shared(self) -> int:
        """How many words more than one topic uses."""
        return int((self.build().topics_of_word.sum(axis=1) > 1).sum())

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        mixing = f"{self.topics_per_document} topics per document" if self.topics_per_document else "Dirichlet proportions"
        words = f"{self.n_topics} topics over {len(self.word_given_topic[0])} words"
        return f"{words}, {mixing}, {self.length_low} to {self.length_high} words"

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": self.name, "words_sha256": digest_of_numbers(self.word_given_topic, self.alpha)}

    def build(self) -> TopicModel | SupportMixture:
        """Return the process."""
        words = array_of(self.word_given_topic, "process.word_given_topic", "[topic][word]")
        length = (self.length_low, self.length_high)
        if self.topics_per_document:
            return SupportMixture(words, self.topics_per_document, length)
        return TopicModel(words, np.array(self.alpha), length)


@dataclass(frozen=True)
class Vocabulary:
    """The ids that documents are made of."""

    n_words: int
    markers: bool
    """Whether documents stand between START and END."""

    @property
    def mask(self) -> int:
        """MASK, in the place of a hidden word."""
        return self.n_words

    @property
    def pad(self) -> int:
        """PAD, after the end of a document that is shorter than the longest."""
        return self.n_words + 1

    @property
    def start(self) -> int:
        """START."""
        return self.n_words + 2

    @property
    def end(self) -> int:
        """END."""
        return self.n_words + 3

    @property
    def n_ids(self) -> int:
        """How many ids there are."""
        return self.n_words + (4 if self.markers else 2)


@dataclass(frozen=True, eq=False)
class MaskedDocuments:
    """Documents, and what a model is shown of them; ABSENT after their ends."""

    tokens: Int[np.ndarray, "n longest"]
    """The words."""
    shown: Int[np.ndarray, "n longest"]
    """Ids: words, MASK, or whatever stands in a word's place."""
    selected: Bool[np.ndarray, "n longest"]
    """Which words are asked for."""
    proportions: Float64[np.ndarray, "n topic"]


@dataclass(frozen=True)
class MaskedWords:
    """Hidden words, given the other words of a document.

    rates: how many are asked for, and how many of those show themselves, a random id, or MASK. hidden_keys: whether what stands
    in the place of an asked word is seen by its own query only (MASK-B), or by all queries (MASK-A). markers: START and
    END, which
    are keys. any_id: whether the random id may be any, or a word only.
    """

    rates: MaskRates
    hidden_keys: bool = False
    markers: bool = False
    any_id: bool = False
    attention: Attention = "bidirectional"
    verified_sequences: int = 4096

    def vocabulary(self, process: Any) -> Vocabulary:
        """Return the ids of documents."""
        return Vocabulary(process.vocab_size, self.markers)

    def n_positions(self, process: Any) -> int:
        """Return the model's input length: the longest document, and the markers."""
        return longest(process) + (2 if self.markers else 0)

    def n_input_tokens(self, process: Any) -> int:
        """Return how many tokens there are: the ids, and, where keys are hidden, each of them unseen."""
        return self.vocabulary(process).n_ids * (2 if self.hidden_keys else 1)

    def draw(self, process: Any, n: int, rng: np.random.Generator) -> MaskedDocuments:
        """Draw n documents and what is hidden of them."""
        documents: DocumentSample = process.sample(n, rng)
        masked = self._masked(process, documents.tokens, rng)
        return MaskedDocuments(documents.tokens, masked.shown, masked.selected, documents.proportions)

    def questions(self, process: Any, sample: MaskedDocuments) -> Questions:
        """Return the documents as they are shown, with the first of their hidden words moved to the front, and that word."""
        asked = sample.selected.argmax(axis=1)
        shown = self._with_unseen(process, sample.shown, sample.selected)
        rows = np.arange(len(shown))
        front = shown[rows, asked]
        shown[rows, asked] = shown[:, 0]
        shown[:, 0] = front
        ids = np.where(shown == ABSENT, self.vocabulary(process).pad, shown)
        return Questions(ids, sample.tokens[rows, asked][:, None])

    def lesson(self, process: Any, objective: ObjectiveConfig, sample: MaskedDocuments, rng: np.random.Generator) -> Lesson:
        """Hide words anew and ask for them all."""
        masked = self._masked(process, sample.tokens, rng)
        ids = self._with_unseen(process, masked.shown, masked.selected)
        ids = np.where(ids == ABSENT, self.vocabulary(process).pad, ids)
        inputs = self.inputs(process, ids)
        reads = np.zeros(inputs.shape, bool)
        offset = 1 if self.markers else 0
        reads[:, offset : offset + ids.shape[1]] = masked.selected
        if objective.targets == "tokens":
            return Lesson(inputs, reads, sample.tokens[masked.selected])
        if self.rates.keep or self.rates.random:
            raise InputError("objective.targets 'posteriors' needs a task that shows MASK in the place of every hidden word.")
        answers = process.beliefs(sample.tokens, observed=~masked.selected & (sample.tokens != ABSENT)).predictive
        return Lesson(inputs, reads, answers[np.nonzero(masked.selected)[0]])

    def inputs(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Int[np.ndarray, "n position"]:
        """Return the ids between START and END, PAD after END; without markers the ids as they are."""
        if not self.markers:
            return tokens
        vocabulary = self.vocabulary(process)
        ends = (tokens != vocabulary.pad).sum(axis=1)
        inputs = np.pad(tokens, ((0, 0), (1, 1)), constant_values=vocabulary.pad)
        inputs[:, 0] = vocabulary.start
        inputs[np.arange(len(tokens)), ends + 1] = vocabulary.end
        return inputs

    def prompts(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Prompts:
        """Return one prompt per document, read at its first word."""
        return Prompts(self.inputs(process, tokens), np.full((len(tokens), 1), 1 if self.markers else 0))

    def exact(self, process: Any, tokens: Int[np.ndarray, "n length"]) -> Float64[np.ndarray, "n query q"]:
        """Return P(first word | what is shown) by the convention of the task."""
        vocabulary = self.vocabulary(process)
        rest = np.where(tokens[:, 1:] < vocabulary.n_words, tokens[:, 1:], ABSENT)
        clean = self.hidden_keys or not self.rates.random
        beliefs = process.beliefs(rest) if clean else noisy_beliefs(process, rest, self.rates)
        shown = tokens[:, 0] % vocabulary.n_ids
        n_random = self._n_random_ids(process)
        return asked_word_posterior(beliefs.predictive, shown, self.rates, n_random)[:, None]

    def oracles(self, process: Any) -> Mapping[str, Any]:
        """Return {"exact": the process itself, "unigram": one whose documents all have the mean proportions of topics}."""
        return {"exact": process, "unigram": without_topics(process)}

    def _n_random_ids(self, process: Any) -> int:
        return self.vocabulary(process).n_ids if self.any_id else process.vocab_size

    def _masked(self, process: Any, tokens: Int[np.ndarray, "n longest"], rng: np.random.Generator) -> Masked:
        mask = self.vocabulary(process).mask
        return mask_documents(tokens, self.rates, rng, mask_token=mask, n_random_ids=self._n_random_ids(process))

    def _with_unseen(self, process: Any, shown: np.ndarray, selected: np.ndarray) -> np.ndarray:
        """A copy of the ids in which those in the place of asked words are the unseen ones, where keys are hidden."""
        return np.where(selected, shown + self.vocabulary(process).n_ids, shown) if self.hidden_keys else shown.copy()


def longest(process: Any) -> int:
    """Return the most words that a document of the process can have. Raises InputError where its length is not fixed."""
    if process.length is None:
        raise InputError("topics: this process has no length of documents; use process.of_length(50) or of_length((30, 60)).")
    return process.length if isinstance(process.length, int) else process.length[1]


def without_topics(process: TopicModel | SupportMixture) -> TopicModel:
    """Return the topic model whose documents all draw their words from the mean word distribution."""
    mean = process.beliefs(np.full((1, 1), ABSENT)).predictive
    return TopicModel(mean, np.ones(1), length=process.length)


def recipe_of(process: TopicModel | SupportMixture) -> TopicsRecipe | WordsRecipe:
    """Return the recipe that builds a topic model again: topics that share no word by their numbers, others by their table."""
    high = longest(process)
    low = high if isinstance(process.length, int) else process.length[0]  # type: ignore[index]
    per_document = getattr(process, "topics_per_document", 0)
    alpha = tuple(getattr(process, "alpha", ()))
    n_topics, n_words = process.word_given_topic.shape
    if n_words % n_topics == 0 and len(set(alpha)) <= 1:
        strength = float(alpha[0]) if alpha else TopicsRecipe.alpha
        found = TopicsRecipe("topics", n_topics, n_words // n_topics, low, high, strength, per_document)
        if np.array_equal(found.build().word_given_topic, process.word_given_topic):
            return found
    words = nested(process.word_given_topic)
    return WordsRecipe("topic-words", low, high, words, tuple(map(float, alpha)), per_document)


TOPICS = Family(
    "topics",
    (TopicsRecipe, WordsRecipe),
    {
        "mask-a": MaskedWords(MaskRates()),
        "mask-b": MaskedWords(MaskRates(), hidden_keys=True, markers=True, any_id=True),
        "masked": MaskedWords(MaskRates(keep=0.0, random=0.0)),
    },
    (TopicModel, SupportMixture),
    recipe_of,
)

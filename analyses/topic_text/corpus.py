"""Real text: the encyclopaedia articles that gensim's own tests read, cut into passages of the encoder's tokens.

A word of this page is a token of the encoder that is a whole word of the text: letters only, three or more, and not one of the
function words that gensim lists. Words are numbered; wherever no such word stands there is NO_WORD.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import files

import numpy as np
from gensim.corpora import wikicorpus
from gensim.parsing.preprocessing import STOPWORDS
from jaxtyping import Bool, Int
from tokenizers import Tokenizer

from mechbp.errors import InputError

DUMP = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHORTEST_ARTICLE = 1500
"""Characters without markup; what is shorter is a redirect or a stub."""
SHORTEST_LINE = 80
"""Characters of a line that counts as prose; what is shorter is a heading, an item of a list or what is left of a table."""
PASSAGE = 128
"""Tokens of a passage, the first and the last of them the encoder's own marks."""
NO_WORD = -1


@dataclass(frozen=True, eq=False)
class Article:
    """One article."""

    title: str
    text: str
    """Without markup, as gensim leaves it."""


@dataclass(frozen=True, eq=False)
class Passages:
    """Stretches of articles as the encoder reads them, and which words stand where."""

    tokens: Int[np.ndarray, "passage position"]
    words: Int[np.ndarray, "passage position"]
    """Number of the word at each position, or NO_WORD."""
    article: Int[np.ndarray, " passage"]
    vocabulary: tuple[str, ...]
    token_of: Int[np.ndarray, " word"]
    """The encoder's token of each word."""

    def __getitem__(self, rows: np.ndarray) -> Passages:
        """Return some of the passages, with the same vocabulary."""
        return Passages(self.tokens[rows], self.words[rows], self.article[rows], self.vocabulary, self.token_of)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def counts(self) -> Int[np.ndarray, " word"]:
        """How often each word occurs."""
        return np.bincount(self.words[self.words != NO_WORD], minlength=len(self.vocabulary))

    def keeping(self, kept: Bool[np.ndarray, " word"]) -> Passages:
        """Return the passages with a smaller vocabulary, its words numbered anew."""
        number = np.where(kept, np.cumsum(kept) - 1, NO_WORD)
        words = np.where(self.words == NO_WORD, NO_WORD, number[self.words])
        vocabulary = tuple(word for word, keep in zip(self.vocabulary, kept, strict=True) if keep)
        return Passages(self.tokens, words, self.article, vocabulary, self.token_of[kept])


def read_articles() -> list[Article]:
    """Read the articles of the dump that gensim ships, in its order.

    Raises InputError where gensim's installation lacks the dump.
    """
    dump = next((entry.locate() for entry in files("gensim") or () if entry.name == DUMP), None)
    if dump is None:
        raise InputError(f"gensim's installation holds no {DUMP}; its wheel does. Install it anew: pip install 'mechbp[text]'.")
    found: list[Article] = []
    with bz2.open(str(dump), "rb") as stream:
        for title, markup, _ in wikicorpus.extract_pages(stream):
            if len(markup) <= SHORTEST_ARTICLE:  # removing markup adds nothing
                continue
            text = wikicorpus.filter_wiki(markup)
            if len(text) > SHORTEST_ARTICLE:
                found.append(Article(title, text))
    return found


def prose(text: str) -> str:
    """Return the lines of running text, without marks of emphasis."""
    lines = (line.strip() for line in re.sub(r"'{2,}", "", text).splitlines())
    return " ".join(line for line in lines if len(line) >= SHORTEST_LINE and line[0] not in "*#=;:|!{")


def cut_passages(articles: list[Article], tokenizer: Tokenizer) -> Passages:
    """Cut the prose of each article into passages of PASSAGE tokens; what is left at its end is dropped.

    Raises InputError where no article fills a passage.
    """
    inner = PASSAGE - 2
    first, last = (tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
    rows, whole, article = [], [], []
    for index, encoding in enumerate(tokenizer.encode_batch([prose(a.text) for a in articles], add_special_tokens=False)):
        n = len(encoding.ids) // inner
        rows.append(np.array(encoding.ids[: n * inner], dtype=np.int64).reshape(n, inner))
        whole.append(_single(encoding.word_ids)[: n * inner].reshape(n, inner))
        article += [index] * n
    if not article:
        raise InputError(f"cut_passages: none of {len(articles)} articles has {inner} tokens of prose.")
    tokens, is_whole = (np.pad(np.concatenate(parts), ((0, 0), (1, 1))) for parts in (rows, whole))
    tokens[:, 0] = first
    tokens[:, -1] = last
    present = np.unique(tokens[is_whole])
    names = [tokenizer.id_to_token(int(token)) or "" for token in present]
    counted = np.array([_is_content(name) for name in names])
    token_of = present[counted]
    number = np.full(tokenizer.get_vocab_size(), NO_WORD)
    number[token_of] = np.arange(len(token_of))
    words = np.where(is_whole, number[tokens], NO_WORD)
    vocabulary = tuple(name for name, count in zip(names, counted, strict=True) if count)
    return Passages(tokens, words, np.array(article), vocabulary, token_of)


def _single(word_ids: Sequence[int | None]) -> Bool[np.ndarray, " token"]:
    """Which tokens are the only one of their word."""
    ids = np.asarray(word_ids)
    alone = np.ones(len(ids), dtype=bool)
    same = ids[1:] == ids[:-1]
    alone[1:] &= ~same
    alone[:-1] &= ~same
    return alone


def _is_content(word: str) -> bool:
    return len(word) >= 3 and word.isascii() and word.isalpha() and word not in STOPWORDS

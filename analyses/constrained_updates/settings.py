"""One-block runs with all that the theory speaks about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from analyses.shared.prefix_corpus import CONSTRAINED, Corpus
from mechbp.models.runs import Run
from mechbp.processes.chain.constrained import token_beliefs
from mechbp.theory.chain.constrained_attention import Lags, lags_of_heads, only_eigenvalue
from mechbp.theory.chain.constrained_values import read_map
from mechbp.theory.chain.first_block import MeanPattern, OneBlock, one_block, pattern_and_activations

MID = "blocks.0.hook_resid_mid"
POST = "blocks.0.hook_resid_post"
FINAL = "ln_final.hook_normalized"
COMPONENTS = 3
"""Principal components from which belief space is read, as in the paper's pictures."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One run with one block, at its last step or with other weights."""

    run: Run
    corpus: Corpus
    zeta: float
    shift: Float64[np.ndarray, "token state"]
    """k(z): what a token says, less the prior."""
    pattern: MeanPattern
    lags: tuple[Lags, ...]
    block: OneBlock
    columns: dict[str, Float32[np.ndarray, "prefix d"]]
    """Activations after every prefix: after attention, after the block and after the final LayerNorm."""

    @classmethod
    def of(cls, run: Run, length: int) -> Setting:
        """Return what the theory needs of a run. Raises InputError where the theory says nothing about its process."""
        corpus = Corpus.of(run, length)
        hmm = corpus.hmm
        words = corpus.words
        zeta = only_eigenvalue(hmm)
        pattern, columns = pattern_and_activations(run.model, words, (MID, POST, FINAL))
        shift = token_beliefs(hmm.transitions, hmm.start, "bayes") - hmm.start
        lags = lags_of_heads(pattern.mean, zeta)
        return cls(run, corpus, zeta, shift, pattern, lags, one_block(run.model, hmm.vocab_size, corpus.length), columns)

    def read(self, components: int | None = COMPONENTS) -> tuple[np.ndarray, np.ndarray]:
        """Return the map from the stream after attention to the constrained belief less its prior."""
        target = self.corpus.targets[CONSTRAINED] - self.corpus.hmm.start
        counts = np.bincount(self.corpus.words.prefix.ravel()).astype(np.float64)  # every word once
        return read_map(self.columns[MID].astype(np.float64), target, components, counts)

    @property
    def n_heads(self) -> int:
        """Number of heads."""
        return len(self.lags)


def theory_applies(setting: Setting) -> bool:
    """Return whether a model has the heads that the theory asks for: one, or two where the process swings (zeta < 0)."""
    return setting.n_heads == (1 if setting.zeta > 0 else 2)

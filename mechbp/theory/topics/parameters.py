"""The weights of the one-layer model, and the population gradient of each.

    S = (E W_Q)(E W_K)' / sqrt(d_head)      U = E W_V W_U + b      E: embeddings [id, d], ids the words, then MASK

No residual stream, no layer norm, no output matrix of attention; outputs are the words. With tied weights W_U is the transpose
of E's rows of words, and E's gradient has both paths.
(Source: Li, Li and Risteski 2023, the one-layer model; gradients by plain derivation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mechbp.brief import Brief
from mechbp.theory.topics.population import LossName, Scores, Written, population_loss
from mechbp.theory.topics.setting import TopicSetting


@dataclass(frozen=True, eq=False, repr=False)
class TopicParameters(Brief):
    """Weights in row-vector orientation, as a TransformerLens model holds them."""

    embed: Float64[np.ndarray, "id d"]
    query: Float64[np.ndarray, "d d_head"]
    key: Float64[np.ndarray, "d d_head"]
    value: Float64[np.ndarray, "d d_value"]
    unembed: Float64[np.ndarray, "d_value word"]
    bias: Float64[np.ndarray, " word"]

    @property
    def scores(self) -> Scores:
        """S, scores before softmax."""
        return (self.embed @ self.query) @ (self.embed @ self.key).T / np.sqrt(self.query.shape[1])

    @property
    def written(self) -> Written:
        """U, what a key adds to the outputs, with the bias that is added once."""
        return self.embed @ self.value @ self.unembed + self.bias

    @property
    def value_matrix(self) -> Float64[np.ndarray, "word id"]:
        """E W_V W_U as [output word, input id]: what the theory calls W^V."""
        return (self.embed @ self.value @ self.unembed).T


@dataclass(frozen=True, eq=False)
class PopulationGradients:
    """The population loss of a model and its gradient by each of the weights."""

    loss: float
    gradients: TopicParameters


def population_gradients(
    parameters: TopicParameters, setting: TopicSetting, loss: LossName = "squared", tied: bool = False
) -> PopulationGradients:
    """Return loss and gradients; `tied` adds the unembedding's to that of the embedding and leaves its own 0.

    Raises InputError where the weights do not fit the setting.
    """
    found = population_loss(parameters.scores, parameters.written, setting, loss)
    root = np.sqrt(parameters.query.shape[1])
    to_scores = found.score_gradient / root
    to_written = found.written_gradient
    embed = parameters.embed
    queries = embed @ parameters.query
    keys = embed @ parameters.key
    to_queries = to_scores @ keys
    to_keys = to_scores.T @ queries
    to_values = to_written @ parameters.unembed.T
    to_unembed = (embed @ parameters.value).T @ to_written
    to_embed = to_queries @ parameters.query.T + to_keys @ parameters.key.T + to_values @ parameters.value.T
    if tied:
        to_embed[: setting.n_words] += to_unembed.T
        to_unembed = np.zeros_like(to_unembed)
    gradients = TopicParameters(
        embed=to_embed,
        query=embed.T @ to_queries,
        key=embed.T @ to_keys,
        value=embed.T @ to_values,
        unembed=to_unembed,
        bias=to_written.sum(axis=0),
    )
    return PopulationGradients(found.loss, gradients)

"""Which models a [model] table of a recipe can become: each with the function that builds it for a task and a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mechbp.models.answers import ask
from mechbp.models.architectures import HookedTransformer, build_model
from mechbp.models.config import ModelConfig, PostNormConfig, TopicAttentionConfig
from mechbp.models.post_norm import PostNormEncoder, build_post_norm
from mechbp.models.tasks.task import Task
from mechbp.models.topic_attention import build_topic_attention
from mechbp.randomness import rng


def n_outputs(task: Task, process: Any) -> int:
    """Return how many symbols an exact answer ranges over: those of the process, and any that its sequences add to them."""
    asked = ask(task, process, 1, rng(0, "outputs"))
    return task.exact(process, asked.tokens).shape[-1]


def _transformer(config: ModelConfig, task: Task, process: Any, seed: int) -> HookedTransformer:
    return build_model(
        config,
        d_vocab=task.n_input_tokens(process),
        d_vocab_out=n_outputs(task, process),
        n_ctx=task.n_positions(process),
        seed=seed,
    )


def _post_norm(config: PostNormConfig, task: Task, process: Any, seed: int) -> PostNormEncoder:
    return build_post_norm(config, task, process, n_outputs=n_outputs(task, process), seed=seed)


BUILDERS: Mapping[type, Callable[[Any, Task, Any, int], Any]] = {
    ModelConfig: _transformer,
    PostNormConfig: _post_norm,
    TopicAttentionConfig: build_topic_attention,
}
"""Configuration class -> function of (configuration, task, process, seed) that returns the model at step 0, in eval mode."""

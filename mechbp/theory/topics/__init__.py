"""Exact theory of one-layer attention trained on documents of topics."""

from mechbp.theory.topics.attention import hidden_key_ratio as hidden_key_ratio
from mechbp.theory.topics.attention import optimal_attention_ratio as optimal_attention_ratio
from mechbp.theory.topics.values import optimal_values as optimal_values

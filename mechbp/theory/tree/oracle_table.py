"""How well exact inference does, matched and mismatched: BP_k for every filter level k on data of every filter level.

These figures are the yardstick for trained models: the diagonal is the best any model can do, a row is what a model that
computes BP_k must score on every kind of data, and a column is the staircase that training climbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mechbp.divergence import FLOOR, expected_hits
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from mechbp.methods.telling import frame
from mechbp.processes.tree.filtered_tree import FilteredTree

OracleTask = Literal["masked", "root"]
Measure = Literal["kl", "accuracy", "cross_entropy"]

NORMAL = 1.96
"""Standard errors to either side that hold 95 %."""

CHUNK = 4096
"""Sequences per step, for bounded memory."""


@dataclass(frozen=True, eq=False, repr=False)
class OracleTable(Shown):
    """Scores of every oracle (row) on the data of every tree (column), with standard errors over sequences.

    Nothing is scored against sampled answers: the hit rate of an oracle is the mean of the data's own exact posterior at the
    oracle's argmax, which has the same expectation as counting hits and less variance; the same holds for the logarithms.
    """

    task: str
    """"masked": one masked leaf, averaged over all leaves; "root": the root given all leaves."""
    filter_levels: tuple[int, ...]
    """Of the rows and of the columns."""
    n: int
    """Sequences per column."""
    accuracy: Float64[np.ndarray, "oracle data"]
    accuracy_se: Float64[np.ndarray, "oracle data"]
    cross_entropy_nats: Float64[np.ndarray, "oracle data"]
    """Mean of -log BP_oracle(truth)."""
    cross_entropy_se_nats: Float64[np.ndarray, "oracle data"]
    kl_bp_data_to_bp_oracle_nats: Float64[np.ndarray, "oracle data"]
    """Mean D(BP_data || BP_oracle): what the oracle loses in cross-entropy by assuming the wrong filter level."""
    kl_bp_data_to_bp_oracle_se_nats: Float64[np.ndarray, "oracle data"]
    clamped: Int[np.ndarray, "oracle data"]
    """Answers in which the floor replaced a smaller probability that the data's posterior does not exclude."""
    floor: float = FLOOR
    """Smaller probabilities count as this one inside a logarithm."""

    def to_dict(self) -> dict[str, object]:
        """Return plain lists and numbers, ready for JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(self).items()}

    def picture(self, measure: Measure = "kl") -> Picture:
        """Draw the scores of every oracle on every tree's data: "kl", "accuracy" or "cross_entropy".

        Raises InputError for another measure.
        """
        if measure not in get_args(Measure):
            raise InputError(f"OracleTable: measure must be one of {', '.join(get_args(Measure))}, got {measure!r:.40}.")
        values, error, title = {
            "kl": (
                self.kl_bp_data_to_bp_oracle_nats,
                self.kl_bp_data_to_bp_oracle_se_nats,
                "KL(BP of the data || oracle) (nats)",
            ),
            "accuracy": (self.accuracy, self.accuracy_se, "expected accuracy"),
            "cross_entropy": (self.cross_entropy_nats, self.cross_entropy_se_nats, "cross-entropy (nats)"),
        }[measure]
        levels = [str(level) for level in self.filter_levels]
        return Picture(
            kind="heatmap",
            title=f"Every oracle on every tree's data, task {self.task}",
            caption=f"{title}: rows are oracles, columns the trees that made the data, by filter level; n = {self.n:,} "
            "sequences per "
            "column, mean ± 1.96 standard errors in hover and table.",
            alt=f"Heat map {len(levels)} x {len(levels)}: {title}.",
            data={
                "rows": levels,
                "columns": levels,
                "value_title": title,
                "row_title": "oracle of filter level",
                "column_title": "data of filter level",
                "cell_text": True,
                "panels": [{"title": "", "values": values, "low": values - NORMAL * error, "high": values + NORMAL * error}],
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row per oracle and data: accuracy, cross-entropy and KL with standard errors."""
        names = ("accuracy", "cross_entropy_nats", "kl_bp_data_to_bp_oracle_nats")
        columns: dict[str, np.ndarray] = {}
        for name in names:
            error = f"{name}_se" if name == "accuracy" else name.replace("_nats", "_se_nats")
            columns |= {name: getattr(self, name), error: getattr(self, error)}
        return frame({"oracle": self.filter_levels, "data": self.filter_levels}, columns).assign(n=self.n)

    def summary(self) -> str:
        """Return what every oracle scores on its own data, up to four of them, and n."""
        own = [
            f"filter level {level}: expected accuracy {self.accuracy[i, i]:.3g} ± {NORMAL * self.accuracy_se[i, i]:.1g}, "
            f"cross-entropy {self.cross_entropy_nats[i, i]:.3g} nats"
            for i, level in enumerate(self.filter_levels)
        ]
        return "\n".join([f"task {self.task}, every oracle on its own data:", *own[:4], f"n = {self.n:,} sequences per tree"])


def oracle_table(trees: Sequence[FilteredTree], n: int, rng: np.random.Generator, task: str) -> OracleTable:
    """Score the exact inference of every tree on n sequences of every tree, all oracles on the same sequences.

    Raises InputError unless the trees share depth and vocabulary, n >= 2 and the task is known; ImpossibleEvidence if some
    tree holds another's sequences impossible.
    """
    if task not in get_args(OracleTask):
        raise InputError(f"oracle_table: task must be one of {', '.join(get_args(OracleTask))}, got {task!r}.")
    if not isinstance(n, int | np.integer) or n < 2:
        raise InputError(f"oracle_table: n must be an integer >= 2, got {n!r}.")
    sizes = {(tree.depth, tree.vocab_size) for tree in trees}
    if len(sizes) != 1:
        raise InputError(f"oracle_table: trees must share one (depth, vocab_size), got {sorted(sizes)}.")
    n_trees = len(trees)
    hits, surprise, divergence = (np.empty((n_trees, n_trees, n)) for _ in range(3))
    clamped = np.zeros((n_trees, n_trees), dtype=np.int64)
    for column, data_tree in enumerate(trees):
        tokens = data_tree.sample(n, rng).tokens
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            answers = [_posterior(tree, tokens[part], task) for tree in trees]
            truth = answers[column]
            entropy = _cross_entropy(truth, truth)
            for row, answer in enumerate(answers):
                hits[row, column, part] = expected_hits(truth, answer).mean(axis=-1)
                cross_entropy = _cross_entropy(truth, answer)
                surprise[row, column, part] = cross_entropy
                divergence[row, column, part] = cross_entropy - entropy
                clamped[row, column] += ((answer < FLOOR) & (truth > 0)).any(axis=-1).sum()
    return OracleTable(
        task=task,
        filter_levels=tuple(tree.filter_level for tree in trees),
        n=int(n),
        accuracy=hits.mean(axis=-1),
        accuracy_se=_standard_error(hits),
        cross_entropy_nats=surprise.mean(axis=-1),
        cross_entropy_se_nats=_standard_error(surprise),
        kl_bp_data_to_bp_oracle_nats=divergence.mean(axis=-1),
        kl_bp_data_to_bp_oracle_se_nats=_standard_error(divergence),
        clamped=clamped,
    )


def _posterior(tree: FilteredTree, tokens: np.ndarray, task: str) -> Float64[np.ndarray, "n answers q"]:
    """The exact answers to the task: one per leaf, or a single one."""
    answers = tree.posteriors(tokens)
    return answers.leaves if task == "masked" else answers.root[:, None]


def _cross_entropy(truth: np.ndarray, answer: np.ndarray) -> Float64[np.ndarray, " n"]:
    """-sum_a truth(a) log answer(a), averaged over the answers to one sequence, nats."""
    return -np.einsum("nja,nja->n", truth, np.log(np.maximum(answer, FLOOR))) / truth.shape[1]


def _standard_error(scores: Float64[np.ndarray, "oracle data n"]) -> Float64[np.ndarray, "oracle data"]:
    """Standard error of the mean over sequences."""
    return scores.std(axis=-1, ddof=1) / np.sqrt(scores.shape[-1])

"""Print the exact accuracy tables of belief propagation, matched and mismatched, beside their reference values.

    python -m tests.benchmarks.bench_tables

Grammar recipe "paper", seed 0, q = depth = 4. Exit code 1 if an entry is further from its reference than the tolerance,
which covers the sampling error of the reference itself (standard error up to .002, observed shifts up to .005).
"""

from __future__ import annotations

import time

import numpy as np

from mechbp.processes.tree.filtered_tree import FilteredTree
from mechbp.processes.tree.grammar import TreeGrammar
from mechbp.randomness import rng
from mechbp.theory.tree.oracle_table import OracleTable, oracle_table

N = 60_000
TOLERANCE = 0.007
REFERENCE_ACCURACY = {  # rows: BP_k used; columns: k of the data
    "root": [
        [1.000, 0.665, 0.433, 0.334, 0.287],
        [0.820, 0.821, 0.481, 0.363, 0.306],
        [0.685, 0.679, 0.687, 0.435, 0.341],
        [0.544, 0.545, 0.560, 0.594, 0.403],
        [0.489, 0.484, 0.491, 0.499, 0.533],
    ],
    "masked": [
        [0.727, 0.697, 0.619, 0.475, 0.313],
        [0.715, 0.715, 0.631, 0.480, 0.314],
        [0.682, 0.679, 0.680, 0.508, 0.324],
        [0.599, 0.599, 0.600, 0.596, 0.346],
        [0.444, 0.446, 0.449, 0.445, 0.448],
    ],
}
REFERENCE_MLM_K0 = {  # on k = 0 data, by oracle
    "cross_entropy_nats": [0.716, 0.744, 0.831, 1.006, 1.266],
    "kl_bp_data_to_bp_oracle_nats": [0, 0.027, 0.115, 0.288, 0.550],
}


def deviations(tables: dict[str, OracleTable]) -> dict[str, float]:
    """Return the largest distance to the reference of every block of numbers."""
    largest = {f"{task} accuracy": np.abs(tables[task].accuracy - REFERENCE_ACCURACY[task]).max() for task in tables}
    for name, reference in REFERENCE_MLM_K0.items():
        largest[f"mlm {name}, k = 0 data"] = np.abs(getattr(tables["masked"], name)[:, 0] - reference).max()
    return {name: float(value) for name, value in largest.items()}


def main(n: int = N) -> int:
    """Print tables, references and deviations; 1 if one is beyond the tolerance."""
    start = time.perf_counter()
    grammar = TreeGrammar.random(4, sigma=1.0, seed=0, recipe="paper")
    trees = [FilteredTree(grammar, 4, k) for k in range(5)]
    tables = {task: oracle_table(trees, n, rng(0, "bench", "tables", task), task) for task in ("root", "masked")}
    for task, table in tables.items():
        error = table.accuracy_se.max()
        print(f"Accuracy of BP_k, {task} task, {n:,} sequences per column, s.e. <= {error:.4f}; reference in brackets")
        print("        " + "".join(f"     k = {k}      " for k in table.filter_levels))
        for k, values, reference in zip(table.filter_levels, table.accuracy, REFERENCE_ACCURACY[task], strict=True):
            print(f"  BP_{k}  " + "  ".join(f"{v:.4f} ({r:.3f})" for v, r in zip(values, reference, strict=True)))
    for name, reference in REFERENCE_MLM_K0.items():
        values = getattr(tables["masked"], name)[:, 0]
        print(f"Masked task, k = 0 data, {name} of BP_0..BP_4:")
        print("        " + "  ".join(f"{v:.4f} ({r:.3f})" for v, r in zip(values, reference, strict=True)))
    worst = deviations(tables)
    for name, value in worst.items():
        print(f"  {'ok' if value <= TOLERANCE else 'BEYOND':6s} largest deviation {value:.4f} (tolerance {TOLERANCE})  {name}")
    print(f"  {time.perf_counter() - start:.1f} s")
    return int(max(worst.values()) > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())

"""Time our patching sweep against TransformerLens's own: the same model, pairs, cells and metric, in one run.

Two kinds of pairs: two independent uniform sequences, where everything differs, and pairs that differ in one subtree, as
studies use them. With two threads TransformerLens splits its products, mechbp runs cells side by side. Peak memory is each
engine's own, in a process of its own. The floor says how far any exact engine could get that runs the blocks after a patch:
multiplications and additions of matrix products, without what the metric cannot see.
"""

from __future__ import annotations

import fnmatch
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import mechbp
from mechbp.methods.patching.patch import patch
from mechbp.theory.tree.corruptions import corrupt

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens.patching as peer

RUN, N_PAIRS, REPEATS = "tree-mlm-k0", 256, 3
GOAL, EXACT, MEMORY = 6.0, 1e-5, 2.0
QUERY = 5
SWEEPS = {
    "blocks.*.hook_resid_pre": peer.get_act_patch_resid_pre,
    "blocks.*.hook_attn_out": peer.get_act_patch_attn_out,
    "blocks.*.hook_mlp_out": peer.get_act_patch_mlp_out,
    "blocks.*.attn.hook_z": peer.get_act_patch_attn_head_out_by_pos,
    "blocks.*.attn.hook_pattern": peer.get_act_patch_attn_head_pattern_all_pos,
}
Metric = Callable[[Tensor], Tensor]


def one_leaf(logits: Tensor) -> Tensor:
    """Log-odds of symbol 1 against symbol 0 at one leaf."""
    return logits[:, QUERY, 1] - logits[:, QUERY, 0]


def all_leaves(logits: Tensor) -> Tensor:
    """The same, averaged over all leaves."""
    return (logits[..., 1] - logits[..., 0]).mean(dim=1)


def pairs(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Clean and corrupted sequences."""
    process, rng = mechbp.load(RUN).process, mechbp.rng(0, "bench", kind)
    if kind == "independent":
        clean, corrupted = rng.integers(process.vocab_size, size=(2, N_PAIRS, process.n_leaves))
        return clean, corrupted
    found = corrupt(process, process.sample(N_PAIRS, rng), (2, 0), rng)
    clean, corrupted = found.clean.tokens.copy(), found.corrupted.tokens.copy()
    clean[:, QUERY] = corrupted[:, QUERY] = process.mask_token
    return clean, corrupted


def theirs(kind: str, metric: Metric) -> np.ndarray:
    """Mean metric of every cell by TransformerLens."""
    model, (clean, corrupted) = mechbp.load(RUN).model, (torch.from_numpy(tokens) for tokens in pairs(kind))
    with torch.no_grad():
        cache = model.run_with_cache(clean)[1]
        found = [sweep(model, corrupted, cache, lambda logits: metric(logits).mean()).flatten() for sweep in SWEEPS.values()]
    return torch.cat(found).double().numpy()


def ours(kind: str, metric: Metric) -> np.ndarray:
    """The same by mechbp, which returns every example's value and intervals besides."""
    effects = patch(mechbp.load(RUN).model, *pairs(kind), metric, list(SWEEPS))
    means = effects.values.mean(axis=0)
    return np.concatenate([means[[fnmatch.fnmatchcase(hook, sweep) for hook in effects.hooks]] for sweep in SWEEPS])


def compare(kind: str, metric: Metric, threads: int) -> tuple[float, float]:
    """Print one line; return the median ratio of times and the largest difference."""
    torch.set_num_threads(threads)
    seconds, difference = [], 0.0
    for _ in range(REPEATS):  # both in every repeat, so that a busy machine slows both
        start = time.perf_counter()
        expected = theirs(kind, metric)
        between = time.perf_counter()
        found = ours(kind, metric)
        seconds.append((between - start, time.perf_counter() - between))
        difference = max(difference, float(np.abs(found - expected).max()))
    ratio = statistics.median(a / b for a, b in seconds)
    a, b = (statistics.median(column) for column in zip(*seconds, strict=True))
    print(
        f"{kind + ' pairs':20} {metric.__name__:10} {threads} thread{'s' * (threads > 1):1}  TransformerLens {a:5.2f} s, "
        f"mechbp {b:5.2f} s: {ratio:5.2f}x; largest difference {difference:.1e}",
        flush=True,
    )
    return ratio, difference


def floor() -> float:
    """Print and return the ratio of matrix-product FLOPs of a full forward pass per cell to those that cannot be avoided.

    In units of position x d_model^2: QKV 3, output 1, MLP 2 d_mlp / d_model, pattern and values 2 P / d_model. Heads as wide as
    the model need 2 instead of QKV's 3 and the output's 1, with W_Q W_K' and W_V W_O folded. A patch before a block spares its
    QKV, a patch inside it its attention and all MLP but its own; the last block is read at one position.
    """
    cfg = mechbp.load(RUN).model.cfg
    n, length = cfg.n_layers, cfg.n_ctx
    mlp, mixing = 2 * cfg.d_mlp / cfg.d_model, 2 * length / cfg.d_model
    folded = 2 * cfg.d_head > cfg.d_model
    whole, here = 4 + mlp + mixing, 1 / length
    ours, output = (2 + mlp + mixing, 0) if folded else (whole, 1)

    def before(layer: int) -> float:
        if layer >= n:
            return 0.0
        last = here * ((4 if folded else 6) + mlp) + mixing
        return last if layer == n - 1 else mixing + output + mlp + ours * (n - 2 - layer) + last

    resid = sum(before(layer) for layer in range(n))
    attn_out = sum(here * mlp + before(layer + 1) for layer in range(n))
    mlp_out = sum(before(layer + 1) for layer in range(n))
    z = 0 if cfg.n_heads == 1 else attn_out * cfg.n_heads  # a lone head's z is its attention output
    bound = whole * n * n * (3 + cfg.n_heads) / (resid + attn_out + mlp_out + z)
    print(f"floor: no exact sweep by position can save more than {bound:.1f}x of the matrix products on independent pairs")
    return bound


def peak_mib(engine: str) -> float:
    """Peak resident memory that one sweep adds to a process that has loaded everything, MiB."""
    code = f"from tests.benchmarks.bench_patching import grow; grow({engine!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    return float(found.stdout.split()[-1])


def grow(engine: str) -> None:
    """Print by how much one sweep raises this process's peak memory, MiB."""
    torch.set_num_threads(2)  # as timed: each of our threads holds a chunk of its own
    torch.zeros(8, 8) @ torch.zeros(8, 8)
    pairs("independent"), mechbp.load(RUN).model(torch.zeros(1, 16, dtype=torch.int64))
    setattr(peer, "tqdm", iter)  # noqa: B010
    before = high_water()
    {"theirs": theirs, "ours": ours}[engine]("independent", one_leaf)
    print(high_water() - before)


def high_water() -> float:
    """Peak resident memory of this process so far, MiB; unlike getrusage's, it does not start from the parent's."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> int:
    """Print ratios, differences, memory and the floor; return 1 if the goal is missed."""
    setattr(peer, "tqdm", iter)  # noqa: B010 - its progress bar is not what we time
    print(f"{RUN}, {N_PAIRS} pairs, median of {REPEATS} ratios; torch {torch.__version__}, TL {version('transformer-lens')}")
    threads = torch.get_num_threads()
    results = [compare("independent", one_leaf, 2), compare("subtree", one_leaf, 2), compare("independent", one_leaf, 1)]
    compare("independent", all_leaves, 2)
    torch.set_num_threads(threads)
    floor()
    memory = {engine: peak_mib(engine) for engine in ("theirs", "ours")}
    print(f"peak memory of a sweep: TransformerLens {memory['theirs']:.0f} MiB, mechbp {memory['ours']:.0f} MiB")
    reached = min(ratio for ratio, _ in results[:2]) >= GOAL and max(difference for _, difference in results) < EXACT
    return 0 if reached and memory["ours"] <= MEMORY * memory["theirs"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

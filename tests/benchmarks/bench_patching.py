"""Time our patching sweep against TransformerLens's own on the same model, pairs and cells, in one run and one thread."""

from __future__ import annotations

import fnmatch
import statistics
import time
import warnings
from importlib.metadata import version

import torch

from mechbp.methods.patching import patch
from mechbp.models.build import build_model
from mechbp.models.config import ModelConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformer_lens.patching as peer

N_PAIRS, N_POSITIONS, REPEATS = 64, 16, 5

SWEEPS = {
    "blocks.*.hook_resid_pre": peer.get_act_patch_resid_pre,
    "blocks.*.hook_attn_out": peer.get_act_patch_attn_out,
    "blocks.*.hook_mlp_out": peer.get_act_patch_mlp_out,
    "blocks.*.attn.hook_z": peer.get_act_patch_attn_head_out_by_pos,
    "blocks.*.attn.hook_pattern": peer.get_act_patch_attn_head_pattern_all_pos,
}


def metric(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of symbol 1 against symbol 0 at one leaf."""
    return logits[:, 5, 1] - logits[:, 5, 0]


def main() -> None:
    """Print seconds of both, the ratio, and the largest difference in the mean metric."""
    torch.set_num_threads(1)
    setattr(peer, "tqdm", iter)  # noqa: B010 - its progress bar is not what we time
    config = ModelConfig(n_layers=4, n_heads=1, d_model=64, d_mlp=256)
    model = build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=N_POSITIONS, seed=0)
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(0, 4, (2, N_PAIRS, N_POSITIONS), generator=generator)
    their_seconds: list[float] = []
    our_seconds: list[float] = []
    difference = 0.0
    for _ in range(REPEATS):  # both in every repeat, so that a busy machine slows both
        start = time.perf_counter()
        with torch.no_grad():
            cache = model.run_with_cache(clean)[1]
            theirs = {hooks: sweep(model, corrupted, cache, lambda x: metric(x).mean()) for hooks, sweep in SWEEPS.items()}
        between = time.perf_counter()
        ours = patch(model, clean, corrupted, metric, list(SWEEPS))
        end = time.perf_counter()
        their_seconds.append(between - start)
        our_seconds.append(end - between)
        for hooks, values in theirs.items():
            mine = ours.values.mean(axis=0)[fnmatch_mask(ours.hooks, hooks)]
            difference = max(difference, float(abs(mine - values.flatten().double().numpy()).max()))

    theirs_s, ours_s = statistics.median(their_seconds), statistics.median(our_seconds)
    print(f"{config.n_layers} layers, d_model {config.d_model}, {N_POSITIONS} positions, {N_PAIRS} pairs, 1 thread,")
    print(f"{len(ours.cells)} cells, median of {REPEATS}; torch {torch.__version__}, TL {version('transformer-lens')}")
    print(f"TransformerLens {theirs_s:.2f} s, mechbp {ours_s:.2f} s with intervals: {theirs_s / ours_s:.2f}x")
    print(f"largest difference in the mean metric: {difference:.1e}")


def fnmatch_mask(names: tuple[str, ...], pattern: str) -> list[bool]:
    """Which names the glob pattern matches."""
    return [fnmatch.fnmatchcase(name, pattern) for name in names]


if __name__ == "__main__":
    main()

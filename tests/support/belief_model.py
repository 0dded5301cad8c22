"""A model that filters exactly and keeps its belief in a known plane, or in two places at once."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from mechbp.processes.chain.hmm import HiddenMarkovModel


class BeliefModel(nn.Module):
    """Activation [belief @ write, noise of the last tokens]; answers come from the belief read back from the plane.

    With `copies` = 2 a second plane holds the belief as well, and the answer is read from the mean of both.
    """

    def __init__(self, hmm: HiddenMarkovModel, width: int = 12, copies: int = 1, seed: int = 0) -> None:
        super().__init__()
        states = hmm.n_states
        frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
        self.planes = [torch.tensor(frame[:, i * states : (i + 1) * states].T) for i in range(copies)]
        self.rest = torch.tensor(frame[:, copies * states :].T)
        self.process = hmm
        self.hook_dict = {"blocks.0.hook_resid_post": nn.Identity()}
        self.points = nn.ModuleList(self.hook_dict.values())
        self.cfg = SimpleNamespace(n_layers=1, n_heads=1, n_ctx=None, d_vocab=hmm.vocab_size, attention_dir="causal")
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        beliefs = torch.from_numpy(self.process.beliefs(tokens.numpy())[:, 1:])
        noise = 0.05 * torch.sin(torch.cumsum(tokens.double() + 1, dim=1)[..., None] * torch.arange(1, len(self.rest) + 1))
        stream = sum(beliefs @ plane for plane in self.planes) + noise @ self.rest
        stream = self.hook_dict["blocks.0.hook_resid_post"](stream)
        read = sum(stream @ plane.T for plane in self.planes) / len(self.planes)
        return (read @ torch.from_numpy(self.process.emissions.copy())).clamp_min(1e-12).log()

    def run_with_hooks(self, tokens: Tensor, fwd_hooks: list) -> Tensor:
        assert not fwd_hooks
        return self(tokens)

    def run_with_cache(self, tokens: Tensor) -> tuple[Tensor, dict]:
        raise NotImplementedError

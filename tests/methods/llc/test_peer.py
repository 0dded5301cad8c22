"""Parity with devinterp: the same loss, n beta, step, localisation and batch size give the same plain estimate."""

import warnings

import numpy as np
import pytest
import torch

from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import linear_regression
from mechbp.randomness import rng

N, SIZE = 512, 64
SETTINGS = {"n_beta": 60.0, "localization": 4.0}


@pytest.mark.parametrize("step_size", [pytest.param(1e-3, marks=pytest.mark.long), pytest.param(4e-3, marks=pytest.mark.long)])
def test_plain_estimates_are_those_of_devinterp(step_size, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("devinterp.slt.llc")
    draw = rng(0, "peer")
    loss, parameters, (x, y) = linear_regression(draw.standard_normal((N, 5)), 1.0, draw)
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(parameters["weight"].clone())

    def per_example(model, ids):
        return ((x[ids[:, 0]] @ model.weight - y[ids[:, 0]]).square() / 2)[:, None]

    data = datasets.Dataset.from_dict({"input_ids": [[row, 0] for row in range(N)]}).with_format("torch")
    chains, burn_in, draws = 8, 200, 800
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peer.llc(
            module, data, {}, lr=step_size, loss_fn=per_example, num_chains=chains, num_draws=draws, num_burnin_steps=burn_in,
            batch_size=SIZE, num_init_loss_batches=N // SIZE, device="cpu", **SETTINGS,
        )  # fmt: skip
    excess = theirs.loss_trace.values[:, burn_in:].mean(axis=1).astype(float) - float(theirs.init_loss)
    expected = SETTINGS["n_beta"] * excess
    batches = list(zip(x.split(SIZE), y.split(SIZE), strict=True))
    found = llc(loss, parameters, batches, step_size=step_size, chains=32, burn_in=burn_in, draws=draws, rng=rng(0), **SETTINGS)
    both = np.hypot(found.standard_error, expected.std(ddof=1) / np.sqrt(chains))
    assert both < 0.06 * found.estimate
    assert abs(found.plain_estimate - expected.mean()) < 3 * both
    assert abs(found.estimate - expected.mean()) < 3 * both

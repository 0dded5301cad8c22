"""Metrics of answers: their values, what they read, their gradients, and errors."""

import numpy as np
import pytest
import torch

import mechbp
from mechbp.errors import InputError
from mechbp.methods.patching import restarts
from mechbp.methods.patching.attribution import attribution_patch
from mechbp.methods.patching.metric import positions_read, score
from mechbp.metrics import kl_to, log_prob, logit_difference
from tests.support.random_models import random_model, random_tokens

LOGITS = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
LOGS = LOGITS.double().log_softmax(dim=-1)
EACH = np.array([0, 1, 2, 3, 0, 1])
EXACT = np.full((6, 4), 0.1) + 0.6 * np.eye(4)[EACH]
METRICS = {
    "one for all": (log_prob(2, 1), LOGS[:, 2, 1], [2] * 6),
    "one each": (log_prob(EACH, EACH), LOGS[np.arange(6), EACH, EACH], EACH),
    "from the end": (log_prob(-1, torch.tensor([1] * 6)), LOGS[:, 4, 1], [4] * 6),
    "difference": (
        logit_difference(EACH, EACH, (EACH + 1) % 4),
        (LOGITS[np.arange(6), EACH, EACH] - LOGITS[np.arange(6), EACH, (EACH + 1) % 4]).double(),
        EACH,
    ),
    "kl": (kl_to(EXACT, 3), (EXACT * (np.log(EXACT) - LOGS[:, 3].numpy())).sum(axis=-1), [3] * 6),
}


@pytest.mark.parametrize("name", METRICS)
def test_values_and_what_is_read(name):
    metric, expected, read = METRICS[name]
    np.testing.assert_allclose(metric(LOGITS), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(metric.reads(LOGITS), np.arange(5) == np.asarray(read)[:, None])
    spoilt = positions_read(lambda logits: metric(logits), LOGITS)  # found by spoiling, not told
    np.testing.assert_array_equal(positions_read(metric, LOGITS), spoilt)
    leaf = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(metric(leaf).sum(), leaf)
    assert bool((gradient.abs().sum(dim=-1) > 0).equal(metric.reads(LOGITS)))


def test_kl_of_all_positions_is_a_mean_and_zero_where_exact():
    exact = LOGS.exp()
    metric = kl_to(exact)
    np.testing.assert_allclose(metric(LOGITS), 0, atol=1e-12)
    assert bool(metric.reads(LOGITS).all())
    one_hot = np.eye(4)[np.tile(EACH[:, None], (1, 5))]
    np.testing.assert_allclose(kl_to(one_hot)(LOGITS), -(LOGS * torch.from_numpy(one_hot)).sum(-1).mean(-1), atol=1e-12)


def test_patch_runs_fast_on_them_and_gives_what_a_plain_function_gives(monkeypatch):
    model = random_model(n_layers=2, d_vocab_out=4)
    clean, corrupted = (random_tokens(model, 6, seed=seed) for seed in (1, 2))
    finishers = []
    monkeypatch.setattr(restarts.Runs, "read_only", _seen(restarts.Runs.read_only, finishers))
    found = mechbp.patch(model, clean, corrupted, log_prob(-1, EACH), "blocks.*.hook_resid_pre")
    assert finishers == [6], "one position of each example is computed after the last block's input"
    plain = mechbp.patch(
        model, clean, corrupted, lambda logits: logits[:, -1].log_softmax(-1)[np.arange(6), EACH], "blocks.*.hook_resid_pre"
    )
    np.testing.assert_allclose(found.values, plain.values, rtol=0, atol=1e-10)
    estimates = attribution_patch(model, clean, corrupted, kl_to(EXACT, -1), "blocks.*.hook_resid_pre", batch_size=4)
    assert np.isfinite(estimates.estimates).all() and np.abs(estimates.estimates).max() > 0


def _seen(read_only, found):
    def recorded(self, read, logits):
        found.append(int(read.sum()))
        return read_only(self, read, logits)

    return recorded


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: log_prob(5, 0), "log_prob: position must lie in -5..4, got 5"),
        (lambda: log_prob(0, 4), "log_prob: symbol must lie in 0..3, got 4"),
        (lambda: log_prob(0, [0, 1]), "got 2 symbols for 6 examples; give one for all, or one per example, in order"),
        (lambda: log_prob(0.5, 1), "position must be an integer, or one per example, got 0.5"),
        (lambda: logit_difference(0, 1, -1), "symbol must lie in 0..3, got -1"),
        (lambda: kl_to(EXACT), r"need exact answers \[n, q\] and their position"),
        (lambda: kl_to(2 * EXACT, 0), "must be a distribution over symbols"),
        (lambda: kl_to(EXACT[:3], 0), r"the exact answers are \[3, 4\], the model's \[6, 4\]"),
    ],
)
def test_what_fits_no_logits_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        score(make(), LOGITS, "a test")

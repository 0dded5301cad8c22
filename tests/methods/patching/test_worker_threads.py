"""Pieces of work on threads: in order, one torch thread each, and torch's own setting restored whatever happens."""

import threading

import pytest
import torch

from mechbp.methods.patching.patch import patch
from mechbp.methods.patching.worker_threads import on_threads
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_keep_their_order_and_every_piece_has_one_torch_thread_and_no_gradients(threads):
    found = on_threads(lambda item: (item, torch.get_num_threads(), torch.is_grad_enabled()), range(20))
    assert found == [(item, 1, False) for item in range(20)]
    assert torch.get_num_threads() == threads and torch.is_grad_enabled()
    assert on_threads(lambda item: item, []) == []


def test_pieces_run_side_by_side(threads):
    """A barrier that only so many threads at once can pass."""
    barrier = threading.Barrier(threads)
    on_threads(lambda _: barrier.wait(timeout=20), range(threads))


def test_the_setting_is_restored_and_later_pieces_are_dropped_after_an_exception(threads):
    begun = []

    def fail(item):
        begun.append(item)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        on_threads(fail, range(500))
    assert torch.get_num_threads() == threads and len(begun) < 500


@pytest.mark.parametrize("attention", [pytest.param("bidirectional", marks=pytest.mark.slow), "causal"])
def test_a_sweep_is_the_same_to_the_last_bit_on_any_number_of_threads(attention):
    model = build_model(ModelConfig(3, 1, 32, 64, "relu", "LN", attention), d_vocab=6, d_vocab_out=4, n_ctx=12, seed=3)
    clean, corrupted = torch.randint(0, 4, (2, 300, 12), generator=torch.Generator().manual_seed(0))
    before, values = torch.get_num_threads(), []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        try:
            hooks = ["blocks.*.hook_resid_pre", "blocks.*.hook_mlp_out", "blocks.*.attn.hook_pattern"]
            values.append(patch(model, clean, corrupted, lambda logits: logits[:, 7, 1], hooks).values)
        finally:
            torch.set_num_threads(before)
    assert (values[0] == values[1]).all() and (values[0] == values[2]).all()

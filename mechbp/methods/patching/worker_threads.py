"""Independent pieces of tensor work on as many threads as torch may use, each piece on one.

Products of a few hundred rows gain little from a second thread inside them; two of them side by side gain all of it, since
torch holds Python's lock only between operations. How the work is cut up must not depend on the number of threads, and every
piece runs on one: results are then the same bits whatever that number is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return work(item) of every item, in order, without gradients, on up to `torch.get_num_threads()` threads.

    That number is torch's setting for the whole process: it is 1 meanwhile, and what it was again on every way out. The first
    exception of any piece is raised, and pieces that have not begun by then never do.
    """

    def quietly(item: Item) -> Result:
        with torch.no_grad():  # a setting of each thread
            return work(item)

    n_threads = min(torch.get_num_threads(), len(items))
    with one_torch_thread():
        if n_threads <= 1:
            return [quietly(item) for item in items]
        with ThreadPoolExecutor(n_threads) as pool:  # born after torch was told, since each thread asks once
            try:
                return list(pool.map(quietly, items))
            finally:
                pool.shutdown(cancel_futures=True)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch's operations to one thread inside the block."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Spread jobs over processes: joblib's loky on this machine, or the workers of a Dask cluster.

A job is `work(check, *arguments)`: a function of a module and plain arguments, so that little travels and the process itself
decides what to import. It calls `check()` often; the call ends the job once nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from typing import Any, cast

from mechbp.errors import InputError, MechbpError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CONNECT_S = 5
"""How long a Dask scheduler may take to answer, and after that to show a worker."""
_one_job = threading.Lock()
"""PyTorch's generator and thread count belong to the process, so a worker with several threads runs one job after the other."""


@dataclass(frozen=True)
class Outcome:
    """What became of the job at `index` of the list: its value, or in one line why there is none."""

    index: int
    seconds: float
    value: Any = None
    failure: str = ""


def one_blas_thread() -> None:
    """Let NumPy use one thread, unless the user has decided otherwise; read when NumPy is first imported."""
    # Its matrices here are small: threads that wait for each other cost up to 100 times what they save on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def in_processes(work: Callable[..., Any], jobs: Sequence[tuple], processes: int, *, storing: bool) -> Iterator[Outcome]:
    """Run the jobs in `processes` processes of this machine and yield their outcomes as they come.

    SIGINT or SIGTERM kills the jobs and ends this process with 130 or 143; jobs that are `storing` a state first get a SIGTERM
    and the time to do so, until a second signal comes. Raises MechbpError where a process dies.
    """
    from multiprocessing import resource_tracker

    from joblib import Parallel, delayed
    from joblib.externals.loky import BrokenProcessPool, get_reusable_executor
    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    options: dict[str, Any] = {"backend": "loky", "return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": processes}
    tasks = (delayed(_process_job)(os.getpid(), work, index, job) for index, job in enumerate(jobs))
    for tracker in (resource_tracker, loky_tracker):
        tracker.ensure_running()  # starting one unblocks all signals
    with _forward_signals(storing) as stopped:
        # Processes inherit what is blocked while they start: a signal that finds one without a job has to wait for its job.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            outcomes = cast(Iterator[Outcome], Parallel(processes, **options)(tasks))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            for outcome in outcomes:
                if stopped:  # a job that was on its way to the process has not heard of it
                    _end_children()
                yield outcome
        except BrokenProcessPool as error:
            if not stopped:
                raise MechbpError(
                    "a process was killed from outside, perhaps for want of memory, and its siblings were ended.\n"
                    "The same command resumes what they did; fewer --jobs need less memory."
                ) from error
        finally:
            # Whatever still runs is unwanted; processes that do nothing would need seconds to end by themselves.
            cast(Any, get_reusable_executor)(reuse=True).shutdown(kill_workers=True)
        if stopped:
            _end_this_process(stopped[0])


def on_cluster(work: Callable[..., Any], jobs: Sequence[tuple], scheduler: str) -> Iterator[Outcome]:
    """Run the jobs on the workers of the Dask scheduler at this address and yield their outcomes as they come.

    A lost worker's job starts again on another. SIGINT or SIGTERM ends the jobs at their next check and this process with 130
    or 143. Raises InputError where Dask is not installed, or no scheduler with a worker answers within seconds.
    """
    client = _connect(scheduler)
    from distributed import as_completed

    previous = signal.signal(signal.SIGTERM, lambda signum, _: _end_this_process(signum))
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "")
    try:
        futures = [client.submit(_cluster_job, threads, work, i, job, pure=False) for i, job in enumerate(jobs)]
        places = {future.key: index for index, future in enumerate(futures)}
        for future in as_completed(futures):
            yield future.result() if future.status == "finished" else _lost(places[future.key], future)
    finally:
        client.close()  # gives up what still runs
        signal.signal(signal.SIGTERM, previous)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
        from distributed.comm.core import connect
        from distributed.security import Security
    except ImportError as error:
        raise InputError("--backend dask needs Dask, which is not installed. Install it: pip install 'mechbp[dask]'.") from error

    async def knock() -> None:
        waiting = connect(scheduler, timeout=CONNECT_S, **Security().get_connection_args("client"))
        comm = await asyncio.wait_for(waiting, CONNECT_S)  # its own limit does not count the greeting
        await comm.close()

    for logger in ("distributed", "distributed.client"):  # what matters becomes an outcome
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        asyncio.run(knock())  # a Client that fails to connect leaves a warning behind, and closing it takes long
    except Exception as error:  # anything may listen there, or nothing
        raise InputError(
            f"--scheduler: no Dask scheduler answers at {scheduler!r:.200}: {_one_line(error) or 'silence':.200}\n"
            f"Give the address that `dask scheduler` prints, such as tcp://127.0.0.1:8786."
        ) from error
    client = Client(scheduler, timeout=CONNECT_S)
    try:
        client.wait_for_workers(1, timeout=CONNECT_S)
    except (OSError, TimeoutError) as error:
        client.close()
        raise InputError(f"--scheduler: {scheduler} has no worker. Start some: dask worker {scheduler} --nthreads 1.") from error
    return client


def _process_job(parent: int, work: Callable[..., Any], index: int, job: tuple) -> Outcome:
    """Run a job in a process of loky: SIGTERM ends the job, never the process, for with it loky would kill all others."""
    heard = []  # an exception from inside the handler would abort what it meets, such as the import of torch

    def check() -> None:
        if os.getppid() != parent:
            signal.raise_signal(signal.SIGTERM)
        if heard:
            raise _Stop

    def audible_work(*arguments: object) -> object:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return work(*arguments)

    previous = signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    try:
        return _outcome(audible_work, check, index, job)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        signal.signal(signal.SIGTERM, previous)
        if os.getppid() != parent:
            os._exit(0)  # there is nobody to tell


def _cluster_job(threads: str, work: Callable[..., Any], index: int, job: tuple) -> Outcome:
    """Run a job in a Dask worker."""
    from distributed import get_worker

    worker = get_worker()
    key, mine = worker.get_current_task(), os.environ.get("OPENBLAS_NUM_THREADS", "")
    if mine != threads:  # NumPy has read it long ago
        failure = f"the worker has OPENBLAS_NUM_THREADS={mine}, expected {threads}: set it where the worker is started."
        return Outcome(index, 0.0, failure=failure)

    def check() -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status.name in ("closing", "closed", "failed"):
            raise _Stop

    with _one_job:
        return _outcome(work, check, index, job)


def _outcome(work: Callable[..., Any], check: Callable[[], None], index: int, job: tuple) -> Outcome:
    """Run a job; whatever it raises becomes one line, so that the other jobs go on."""
    value, failure, began = None, "", time.monotonic()
    try:
        check()
        value = work(check, *job)
    except _Stop:
        failure = "stopped; the same command takes it up again."
    except MechbpError as error:
        failure = _one_line(error)
    except Exception as error:
        failure = f"{type(error).__name__}: {_one_line(error)} (run it alone for the traceback)"
    return Outcome(index, time.monotonic() - began, value, failure)


def _lost(index: int, future: Any) -> Outcome:
    """Say why Dask has no outcome for a job."""
    error = None if future.cancelled() else future.exception()
    if error is None:
        failure = "the connection to the scheduler is lost; the same command takes it up again."
    elif type(error).__name__ == "KilledWorker":
        failure = (
            "Dask gave it up after too many workers were lost (distributed.scheduler.allowed-failures); "
            "the same command takes it up again."
        )
    else:
        failure = f"the worker could not run it: {type(error).__name__}: {_one_line(error)}"
    return Outcome(index, 0.0, failure=failure)


class _Stop(BaseException):
    """Nobody waits for this job any more."""


@contextmanager
def _forward_signals(storing: bool) -> Iterator[list[int]]:
    """If `storing`, list the first SIGINT or SIGTERM and send each child a SIGTERM; all others end this process."""
    received: list[int] = []
    previous = {}

    def forward(signum: int, _: object) -> None:
        if received or not storing:
            _end_this_process(signum)
        received.append(signum)
        _end_children()

    try:
        for signum in SIGNALS:
            previous[signum] = signal.signal(signum, forward)
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _end_children() -> None:
    for child in active_children():
        child.terminate()


def _end_this_process(signum: int) -> None:
    raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit(128 + signum)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

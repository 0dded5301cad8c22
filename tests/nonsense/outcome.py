"""One call as a test sees it: its result, or the refusal that it may raise, and nothing else."""

import contextlib
import os
import signal
import warnings
from pathlib import Path

import jaxtyping

from mechbp.errors import MechbpError

LIMIT_S = 20
"""No call may take longer; the slowest valid one takes a second."""
LINES = 3


class TooLong(BaseException):
    """Raised in a call that does not end."""


@contextlib.contextmanager
def limited(seconds):
    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def unannotated():
    """Leave annotation checks off: what users have is mechbp's own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def outcome(call, arguments):
    """Make a call; return what is wrong with how it ended, "" for a right answer or a refusal that can be read."""
    for page in Path().glob("page.*"):  # what an earlier call wrote by right
        page.unlink()
    before = set(os.listdir())
    with warnings.catch_warnings(record=True) as heard, unannotated():
        warnings.simplefilter("always")
        try:
            with limited(LIMIT_S):
                call.right(call.function(**arguments), arguments)
        except MechbpError as error:
            lines = str(error).splitlines()
            if not 1 <= len(lines) <= LINES or max(map(len, lines)) > 400:
                return f"a message of {len(lines)} lines: {str(error)[:300]}"
            if set(os.listdir()) - before:
                return f"it was refused and left {set(os.listdir()) - before}"
        except TooLong:
            return f"it took more than {LIMIT_S} s"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
    return f"it warned: {heard[0].message}" if heard else ""

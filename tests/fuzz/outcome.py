"""What became of one input: an answer or a refusal of at most three lines. Everything else is a Surprise."""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from mechbp.errors import MechbpError

PATIENCE_S = 20
EXECUTING = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.connect")
"""Audit events of the interpreter that no file may cause."""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_watching: list[str] = []
_armed = False


class Surprise(AssertionError):
    """Neither an answer nor a refusal."""


class _Hang(BaseException):
    """Not an Exception: nothing under test may swallow it."""


def refusal_or_answer(work: Callable[[], object]) -> str:
    """Do the work; return "answer", or the kind and the words of the refusal without what differs from input to input."""
    try:
        with _guarded():
            work()
    except MechbpError as error:
        text = str(error)
        if text.count("\n") > 2 or not text.strip() or UNPRINTABLE.search(text) or len(text) > 2000:
            raise Surprise(f"a refusal that cannot be shown: {text[:3000]!r}") from error
        return f"{type(error).__name__}: {wording(text)}"
    except _Hang:
        raise Surprise(f"no answer after {PATIENCE_S} s") from None
    except Surprise:
        raise
    except BaseException as error:
        raise Surprise(f"{type(error).__name__}: {str(error)[:500]}") from error
    return "answer"


def wording(text: str) -> str:
    """The words of a message without names, numbers and paths, so that equal refusals are counted together."""
    first = text.splitlines()[0]
    return re.sub(r"\W+", " ", re.sub(r"'[^']*'|\"[^\"]*\"|\S*[/\d\[\]_=]\S*", "", first))[:70].strip()


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder with the SHA-256 of its content; Python's own caches are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Within it warnings are errors, time is limited, and nothing may be executed."""
    global _armed
    if not _watching:
        _watching.append("")
        sys.addaudithook(_heard)
    del _watching[1:]
    previous = signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE_S)
    _armed = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        _armed = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    if _watching[1:]:
        raise Surprise(f"it caused {', '.join(_watching[1:])}")


def _heard(event: str, arguments: tuple) -> None:
    if _armed and event in EXECUTING:
        _watching.append(event)


def _give_up(*_: object) -> None:
    raise _Hang

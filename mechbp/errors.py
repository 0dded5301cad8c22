"""Every way mechbp refuses, one class per kind of mistake; the message says what, where, got, expected and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

LONGEST = 80
"""Characters of a name that a message shows."""
MOST_LISTED, MOST_CHARACTERS = 24, 240
"""Names that a message lists where none is like the mistyped one, and how long they may be together."""


class MechbpError(Exception):
    """Any refusal by mechbp. The command line prints its message on one line and exits with 2."""


class InputError(MechbpError, ValueError):
    """An argument, a recipe or a file name is wrong: nothing was computed and nothing was written."""


class TooFewSequences(InputError):
    """The distinct sequences given are too few for what was asked of them: the process may not have more."""


class ImpossibleEvidence(MechbpError, ValueError):
    """The observed symbols have probability zero under the process; `example` is the first such row."""

    def __init__(self, message: str, example: int) -> None:
        super().__init__(message)
        self.example = example


class ContractError(MechbpError):
    """A process breaks laws that every process keeps; `broken` says of each what was found, `law` is the name of the first.

    >>> from mechbp.errors import ContractError
    >>> error = ContractError("probabilities", "rows sum to 0.9.", {"sampler": "all tokens are 0."})
    >>> error.law, list(error.broken)
    ('probabilities', ['probabilities', 'sampler'])
    """

    def __init__(self, law: str, numbers: str, others: Mapping[str, str] | None = None) -> None:
        self.law = law
        self.broken = {law: numbers, **(others or {})}
        if others:
            told = [f"{name}: {' '.join(found.split())}" for name, found in self.broken.items()]
            super().__init__("\n".join([*told[:2], " Also ".join(told[2:])]).rstrip())
        else:
            super().__init__(f"{law}: {numbers}")

    @property
    def counted(self) -> str:
        """How many laws are broken, in words: "a law", or "3 laws"."""
        return "a law" if len(self.broken) == 1 else f"{len(self.broken)} laws"


class CheckpointError(MechbpError):
    """A stored step is damaged, truncated, foreign, or does not fit its run."""


class HookError(MechbpError, LookupError):
    """A hook name matches nothing, an edit never fired, or a model does not offer the hook protocol."""


class LimitExceeded(MechbpError):
    """The request would need more states or memory than allowed; refused before allocating."""


class ChainDiverged(MechbpError, ArithmeticError):
    """A sampled loss is not finite or out of hand; `chain` and `draw` say where, draws before 0 are burn-in."""

    def __init__(self, message: str, chain: int, draw: int) -> None:
        super().__init__(message)
        self.chain = chain
        self.draw = draw


def reason(error: BaseException, at_most: int = 120) -> str:
    """Return what an exception says on one line that a terminal can show: for a file that cannot be read, only why."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)[:at_most]


def near(name: object, known: Iterable[str], most: int = 3) -> list[str]:
    """Return up to `most` of the known names that a mistyped one may have been, the likeliest first.

    One that differs in case alone is returned alone; else those that are spelled alike, then those that hold what was typed.
    """
    typed = str(name)[:LONGEST].lower()
    by_case: dict[str, list[str]] = {}
    for one in known:
        by_case.setdefault(one.lower(), []).append(one)
    if typed in by_case:
        return by_case[typed][:most]
    alike = difflib.get_close_matches(typed, by_case, most, cutoff=0.7)
    holding = [one for one in by_case if typed and typed in one]
    return [one for key in dict.fromkeys([*alike, *holding]) for one in by_case[key]][:most]


def asked_back(names: Sequence[str]) -> str:
    """Return "did you mean 'a', 'b' or 'c'?"; empty where there are no names."""
    quoted = [repr(one)[:LONGEST] for one in names]
    first = ", ".join(quoted[:-1])
    return f"did you mean {first}{' or ' if first else ''}{quoted[-1]}?" if quoted else ""


def did_you_mean(name: object, known: Iterable[str], most: int = 3) -> str:
    """Return how a message about an unknown name goes on: with what may have been meant, else with what there is."""
    names = list(known)
    ends = accumulate(min(len(one), LONGEST) for one in names[:MOST_LISTED])
    shown = names[: max(1, sum(end <= MOST_CHARACTERS for end in ends))]
    rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return asked_back(near(name, names, most)) or f"there are: {', '.join(one[:LONGEST] for one in shown) or 'none'}{rest}."

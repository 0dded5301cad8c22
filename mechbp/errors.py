"""Every way mechbp refuses, one class per kind of mistake; the message says what, where, got, expected and the next step."""


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
    """A process breaks a law that every process keeps; `law` is its name.

    >>> from mechbp.errors import ContractError
    >>> ContractError("normalisation", "rows sum to 0.9").law
    'normalisation'
    """

    def __init__(self, law: str, numbers: str) -> None:
        super().__init__(f"{law}: {numbers}")
        self.law = law


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

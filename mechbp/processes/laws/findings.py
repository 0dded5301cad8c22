"""What `check_process` has found so far: a law that is broken does not keep the others from being checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from mechbp.errors import ContractError, reason

Value = TypeVar("Value")


@dataclass
class Findings:
    """Laws that a process breaks, in the order in which they were found, each with the members that break it."""

    errors: dict[str, dict[str, ContractError]] = field(default_factory=dict)
    """Law -> member, as "beliefs" -> what is wrong with it first."""

    def value(self, member: str, make: Callable[..., Value], *given: object) -> Value | None:
        """Return what `make` gives; where it raises, keep that as a finding about `member` and return None.

        Whatever is asked here makes sense, so that an exception of the process's own code is a finding too.
        """
        try:
            return make(*given)
        except ContractError as error:
            found = error
        except Exception as error:
            found = ContractError("protocol", f"{member} raised {type(error).__name__} ({reason(error, 100)}).")
            found.__cause__ = error
        self.errors.setdefault(found.law, {}).setdefault(member, found)
        return None

    def passes(self, member: str, check: Callable[..., None], *given: object) -> bool:
        """Run a check, keep what it raises as a finding about `member`, return whether there was none."""

        def checked() -> bool:
            check(*given)
            return True

        return self.value(member, checked) is True

    def close(self) -> None:
        """Raise one ContractError that names every law that is broken; return where there is none."""
        if not self.errors:
            return
        told = {}
        for law, members in self.errors.items():
            first, *others = members
            likewise = f" Likewise {', '.join(others)}." if others else ""
            told[law] = members[first].broken[law] + likewise
        causes = [error.__cause__ for members in self.errors.values() for error in members.values() if error.__cause__]
        law, *rest = told
        raise ContractError(law, told[law], {name: told[name] for name in rest}) from (causes[0] if causes else None)

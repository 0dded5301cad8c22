"""The one number of a claim, and of its control, as a forest plot draws them: read from the texts that every page writes alike.

Pages write an estimate as `mechbp.report.parts.estimate` does, "0.021 [0.019, 0.023] nats", after what it is: "layer 2: R² 0.61
[0.58, 0.64]". A claim's effect is the estimate that its criterion is about, known by an end of its interval that stands among the
numbers that decide; else the first one. Its control is the first number of the control's text that is said to be the same
quantity. What cannot be read is not drawn: no effect without an interval, no control of another unit, symbol or name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mechbp.report.claim import Claim

NUMBER = r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
UNITS = ("nats per token", "nats", "decades", "percentage points", "%")
SYMBOLS = ("R²", "MSE", "cosine", "accuracy", "correlation", "slope", "JS", "KL")
"""Names of quantities that have no unit, or whose unit does not tell them apart, as they stand before a number."""
IN_NATS = ("KL", "JS")
"""Those of them that are in nats, said or not: logarithms are natural."""
OTHER = re.compile(
    r"\b(above|over|beyond|less|minus|differences?|ahead|below|better|worse|nearer|p|adjusted|change|rise|falls?|gap)\b"
)
"""Words that make of a number a comparison, which is no control of a plain measurement."""
UNIT = "|".join(map(re.escape, UNITS))
ESTIMATE = re.compile(rf"(?P<value>{NUMBER})(?: \[(?P<low>{NUMBER}), (?P<high>{NUMBER})\])?(?:\s?(?P<unit>{UNIT})(?![\w]))?")
HEADLINE_UNIT = re.compile(rf"\b({UNIT})(?: each)?(?: \([^)]*\))?,?[^,\d]*:?$")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, as it stands in a text."""

    value: float
    low: float | None
    high: float | None
    unit: str
    symbol: str
    """Which of SYMBOLS it is, or ""."""
    name: str
    """What it is, as the text says: what stands before it on its line."""
    written: str
    """The number as the text writes it."""

    @property
    def group(self) -> str:
        """What it can be drawn beside: numbers of one unit share an axis, and without a unit those of one symbol."""
        return self.unit or ("nats" if self.symbol in IN_NATS else self.symbol)


@dataclass(frozen=True)
class Row:
    """A claim as one line of a forest plot."""

    claim: Claim
    effect: Estimate | None
    control: Estimate | None


def row(claim: Claim) -> Row:
    """Return the claim with what can be drawn of it."""
    effect = effect_of(claim)
    return Row(claim, effect, control_of(claim.control, effect) if effect else None)


def effect_of(claim: Claim) -> Estimate | None:
    """Return the estimate with an interval that decides the claim, else the first one, or None where the text has none."""
    found = [estimate for estimate in estimates(claim.measured) if estimate.low is not None]
    ends = [value for name, value in _flat(claim.numbers) if name.endswith(("_low", "_high"))]
    for estimate in found:
        if any(_is_written(end, text) for end in ends for text in re.findall(NUMBER, estimate.written)[1:]):
            return estimate
    return found[0] if found else None


def control_of(text: str, effect: Estimate) -> Estimate | None:
    """Return the number of a control's text that is of the effect's quantity, or None where none says so."""
    compared = bool(OTHER.search(effect.name))
    listed = len({(e.name, e.symbol) for e in estimates(text)}) == 1  # "uniform attention: 0.91 [0.85, 0.97], 0.72 [0.67, 0.77]"
    for estimate in estimates(text):
        if bool(OTHER.search(estimate.name)) != compared or (not effect.unit and estimate.symbol != effect.symbol):
            continue
        if not estimate.unit and estimate.low is not None and listed:
            return estimate
        if estimate.unit == effect.unit and (effect.group or estimate.name.split(": ")[-1] == effect.name.split(": ")[-1]):
            return estimate
    return None


def estimates(text: str) -> Iterator[Estimate]:
    """Yield the numbers of a text that are measurements: with an interval, a unit or a symbol, or named by what stands before."""
    headline = ""
    for line in text.split("\n"):
        told = False
        start = 0
        name = ""
        for match in ESTIMATE.finditer(line):
            before = line[start : match.start()]
            if before and (before[-1].isalnum() or before[-1] in "-_.²" or before.endswith("< ")):
                continue  # a part of a word, such as BP_0 or k1, or a bound
            lead, colon, rest = before.rpartition(": ")
            label = _last(lead) if colon else name
            own = _last(rest if colon else before)
            symbol = next((known for known in SYMBOLS if re.search(rf"(^|\s){re.escape(known)}(\([^)]*\))?$", own)), "")
            unit = match["unit"] or ""
            if not match["low"] and not unit and "." not in match["value"]:
                continue  # a count, a step, a seed
            start = match.end()
            name = label
            if not (match["low"] or unit or symbol or own or name):
                continue
            told = True
            said = ": ".join(part for part in (name, own) if part)
            value, low, high = (_number(match[key]) for key in ("value", "low", "high"))
            assert value is not None
            yield Estimate(value, low, high, unit or ("" if symbol else headline), symbol, said, match[0])
        if not told:
            found = HEADLINE_UNIT.search(line)
            headline = found[1] if found and not re.search(rf"\d\s?{found[1]}", line) else ""


def _last(text: str) -> str:
    """Return what follows the last separator that stands outside brackets; an open bracket separates too."""
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        depth += {")": 1, "]": 1, "(": -1, "[": -1}.get(text[index], 0)
        if depth < 0 or (depth == 0 and text[index] in ";," and not text[index + 1 : index + 2].isdigit()):
            return text[index + 1 :].strip()
    return text.strip()


def _number(text: str | None) -> float | None:
    return None if text is None else float(text.replace(",", "").replace("−", "-"))


def _flat(numbers: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in numbers.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (int, float)) and not isinstance(item, bool):
                yield name, float(item)


def _is_written(value: float, text: str) -> bool:
    """Whether a text such as "0.021" is this value rounded to as many digits."""
    mantissa, _, power = text.replace(",", "").replace("−", "-").lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    step = 10.0 ** (int(power or 0) - digits)
    return digits > 0 and value != 0 and abs(float(text.replace(",", "").replace("−", "-")) - value) <= 0.5000001 * step

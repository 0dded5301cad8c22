"""What `mechbp measure` has found out about a run: llc.jsonl, one line per setting and stored step.

A line is bound to the bytes of the step that it was measured at, by the digest of the file, which also covers the recipe that the
step was trained by; to the setting, by all its values; and its own bytes by a digest of the line, so that a changed number is
found. Lines stand in a fixed order: measurements that were interrupted end with the same file as those that were not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mechbp.errors import CheckpointError, InputError, reason
from mechbp.models.checkpoint import load_checkpoint
from mechbp.models.llc_config import LLCConfig
from mechbp.models.recipe_tables import dataclass_from
from mechbp.models.run_folder import step_file
from mechbp.storage import atomic_write, read_regular

if TYPE_CHECKING:
    from mechbp.models.runs import Run

FILE = "llc.jsonl"
MAX_BYTES = 64 * 2**20
BLANK = "0" * 64
SEALED = re.compile(r'(\{.+, "sha256": ")([0-9a-f]{64})("\}\n)')
Key = tuple[str, str, int]
"""Setting, kind and step: what a line is about, and the order of lines."""


@dataclass(frozen=True)
class CurvatureRecord:
    """The largest curvature of the loss at one stored step: what a step size for all steps is decided by."""

    setting: LLCConfig
    step: int
    digest: str
    """SHA-256 of the stored step."""
    curvature: float
    """Largest eigenvalue of the Hessian of the mean loss over a few batches, in the coordinates of the setting."""
    seconds: float
    kind: Literal["curvature"] = "curvature"
    version: Literal[1] = 1


@dataclass(frozen=True)
class LLCRecord:
    """The local learning coefficient at one stored step, with everything that says how far to trust it."""

    setting: LLCConfig
    """Its `steps` play no part: other steps of the same setting are measured alike."""
    step: int
    digest: str
    """SHA-256 of the stored step."""
    step_size: float
    """eps, the same at all steps of the setting."""
    burn_in: int
    curvature: float
    """Largest curvature at this step, in the coordinates of the setting."""
    estimate: float
    standard_error: float
    """Spread over chains."""
    per_chain: tuple[float, ...]
    early_draws: int
    """How many of the first draws `early_per_chain` is about: what a recheck repeats."""
    early_per_chain: tuple[float, ...]
    plain_estimate: float
    """Without the control variate."""
    variance_ratio: float | None
    effective_draws: tuple[float | None, ...]
    """Per chain."""
    rhat: float | None
    acceptance: tuple[float, ...]
    """Mean probability that MALA accepts a step, per chain."""
    negative_share: float
    """Share of chains with a negative estimate."""
    start_loss: float
    """Mean loss at the stored weights over the batches."""
    n_parameters: int
    vectorised: bool
    cautions: tuple[str, ...]
    """What speaks against the estimate, one sentence each."""
    torch: str
    """Version that computed it."""
    seconds: float
    kind: Literal["llc"] = "llc"
    version: Literal[1] = 1


Record = CurvatureRecord | LLCRecord
KINDS: Mapping[str, type] = {"curvature": CurvatureRecord, "llc": LLCRecord}


def key_of(record: Record) -> Key:
    """Return what a record is about."""
    return record.setting.name, record.kind, record.step


def why_stale(record: Record, setting: LLCConfig, digest: str) -> str:
    """Return why a record of this setting and step says nothing of them as they are; empty where it does."""
    if record.digest != digest:
        return f"measured at weights with SHA-256 {record.digest[:16]}…, stored are {digest[:16]}…"
    if replace(record.setting, steps=setting.steps) != setting:
        return "measured at other settings than run.toml has now"
    return ""


def read_llc(run: Run) -> dict[str, dict[int, LLCRecord]]:
    """Return the measurements that the recipe of `run` asks for: by name of the setting, then by step, ascending.

    What has not been measured is absent; without llc.jsonl every setting is empty. Lines of settings or steps that the recipe
    does not ask for are left out. Raises CheckpointError naming the line where one is damaged, was measured at other weights or
    settings, or with another step size or burn-in than the other steps of its setting.
    """
    records = read_records(run.folder / FILE)
    found: dict[str, dict[int, LLCRecord]] = {}
    for setting in run.config.llc:
        digests = {step: digest_of(run, step) for step in asked_steps(run, setting)}
        here = [record for record in records.values() if record.setting.name == setting.name and record.step in digests]
        for record in here:
            if stale := why_stale(record, setting, digests[record.step]):
                raise CheckpointError(
                    f"{run.folder / FILE}: {setting.name}, step {record.step}: {stale}.\n"
                    f"Restore what has changed, or measure anew: mechbp measure {run.folder}."
                )
        measured = {record.step: record for record in here if isinstance(record, LLCRecord)}
        kinds = sorted({(record.step_size, record.burn_in) for record in measured.values()})
        if len(kinds) > 1:
            raise CheckpointError(
                f"{run.folder / FILE}: {setting.name}: its steps were measured with step sizes and burn-ins "
                f"{', '.join(f'{eps:g} and {burn_in}' for eps, burn_in in kinds):.80}, which do not compare.\n"
                f"Go on measuring: mechbp measure {run.folder}."
            )
        found[setting.name] = dict(sorted(measured.items()))
    return found


def asked_steps(run: Run, setting: LLCConfig) -> tuple[int, ...]:
    """Return the stored steps that a setting is about, ascending. Raises InputError where it names one that is not stored."""
    if setting.steps == "last":
        return run.steps[-1:]
    if setting.steps == "all":
        return run.steps
    wanted = tuple(step for step in setting.steps if isinstance(step, int))
    if absent := [step for step in wanted if step not in run.steps]:
        raise InputError(
            f"llc.{setting.name}.steps: step {absent[0]} of run {run.name} is not stored; stored steps: "
            f"{', '.join(map(str, run.steps)) or 'none'}."
        )
    return wanted


def digest_of(run: Run, step: int) -> str:
    """Return the SHA-256 of a stored step, recomputed. Raises CheckpointError where it is damaged or of another recipe."""
    path = step_file(run.folder, step)
    checkpoint = load_checkpoint(path)
    if not run.config.trained_by(checkpoint.recipe):
        raise CheckpointError(f"{path} was trained by another recipe than {run.folder / 'run.toml'}. Restore either.")
    return checkpoint.digest


def read_records(path: Path, *, torn: bool = False) -> dict[Key, Record]:
    """Return all lines of an llc.jsonl by what they are about; an absent file has none.

    `torn` leaves out a last line that does not end, as of a copy that was cut short. Raises CheckpointError naming the line
    where one is damaged, is about the same as another, or belongs to another version.
    """
    records: dict[Key, Record] = {}
    number = 1
    try:
        lines = _content(path).decode("utf-8", "surrogateescape").splitlines(keepends=True) if path.exists() else []
        for line in lines:
            if torn and number == len(lines) and not line.endswith("\n"):
                break
            record = _opened(line)
            if records.setdefault(key_of(record), record) is not record:
                raise ValueError("it is about the same setting and step as an earlier line.")
            number += 1
    except (OSError, ValueError, RecursionError) as error:
        where = "" if isinstance(error, OSError) else f"line {number}: "
        raise CheckpointError(
            f"{path} is damaged: {where}{reason(error, 160)}\nRestore it from a copy, or remove the line and measure it anew."
        ) from error
    return records


def ends_torn(path: Path) -> bool:
    """Return whether the last line of a file does not end."""
    return path.exists() and not (_content(path) or b"\n").endswith(b"\n")


def _content(path: Path) -> bytes:
    return read_regular(path, MAX_BYTES)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Replace the file atomically by these records, in order."""
    atomic_write(path, "".join(_sealed(record) for record in sorted(records, key=key_of)).encode())


def _sealed(record: Record) -> str:
    """One line, which ends in the SHA-256 of itself with zeros in that place."""
    table = asdict(record)
    head = {name: table.pop(name) for name in ("kind", "version")}
    blank = json.dumps(head | table | {"sha256": BLANK}, allow_nan=False) + "\n"
    return blank.replace(BLANK, hashlib.sha256(blank.encode()).hexdigest())


def _opened(line: str) -> Record:
    """The record of one line. Raises ValueError saying what is wrong with it."""
    parts = SEALED.fullmatch(line)
    blank = f"{parts[1]}{BLANK}{parts[3]}" if parts else ""
    if not parts or hashlib.sha256(blank.encode("utf-8", "surrogateescape")).hexdigest() != parts[2]:
        raise ValueError("it is not what was stored: its SHA-256 is another, absent, or cut short.")
    table = json.loads(line)
    del table["sha256"]
    kind = KINDS.get(table.get("kind"))
    if kind is None:
        raise InputError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {table.get('kind')!r:.40}.")
    return dataclass_from(kind, table, "record")

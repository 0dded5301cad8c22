"""Measure the local learning coefficient at stored steps of a run, as its recipe says, so that every page can read it.

An estimate takes minutes, a curve of them hours: each is stored beside the run as soon as it is there. A run that is killed loses
the step in progress, and the same command goes on with it. Everything random is named by the setting's seed: batches and noise
are the same at every step, so that differences between steps are less noisy than the values.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mechbp.errors import ChainDiverged, InputError, MechbpError
from mechbp.measuring.plan import Measurer, Plan
from mechbp.models.llc_config import LLCConfig
from mechbp.models.llc_records import (
    FILE,
    CurvatureRecord,
    LLCRecord,
    Record,
    asked_steps,
    digest_of,
    ends_torn,
    key_of,
    read_records,
    why_stale,
    write_records,
)
from mechbp.models.runs import Run, load
from mechbp.models.training import Interrupted, stop_on_signal
from mechbp.storage import exclusive, sweep_temporaries

Say = Callable[[int, int, str], None]
"""Hears how many steps are measured, of how many, and a line of text."""


def measure(
    folder: Path, check: Callable[[], None] | None = None, say: Say | None = None, *, trust: bool = False
) -> None:  # fmt: skip
    """Measure what the recipe of the run in `folder` asks for and llc.jsonl does not hold yet; do nothing where it holds all.

    `check` is called before every evaluation of the loss and may raise; `say` hears of every step, and of every line that is
    replaced because weights or settings have changed. trust: execute the code that the recipe names beside the run.
    Raises InputError for a recipe without [llc] or a run that is not trained, CheckpointError for a damaged file, Interrupted
    after SIGTERM or Ctrl-C, and MechbpError at the end where chains diverged.
    """
    run = load(folder, trust=trust)
    refuse_unmeasurable(run)
    with exclusive(folder, "measure"), stop_on_signal() as stopped:

        def checked() -> None:
            if check:
                check()
            if signum := stopped():
                raise Interrupted(f"measure: stopped in {folder.name}; the same command takes it up again.", signum)

        sweep_temporaries(folder)
        _Measurement(run, checked, say or (lambda done, total, text: None)).take()


def refuse_unmeasurable(run: Run) -> None:
    """Raise InputError unless the recipe asks for measurements, and of steps that are stored."""
    if not run.config.llc:
        raise InputError(
            f"measure: {run.folder / 'run.toml'} has no table [llc], which says what to measure.\n"
            f'Add one with name = "main", n_beta = 82.0 and localization = 100.0, say.'
        )
    if not run.complete:
        raise InputError(
            f"measure: run {run.name} is not trained to its end, and all its steps share what the steepest of them allows.\n"
            f"Train it first: mechbp train {run.folder}."
        )
    for setting in run.config.llc:
        asked_steps(run, setting)


class _Measurement:
    """One pass of `measure` over one folder."""

    def __init__(self, run: Run, check: Callable[[], None], say: Say) -> None:
        self.run, self.check, self.say = run, check, say
        self.done = 0
        self.steps = {setting.name: asked_steps(run, setting) for setting in run.config.llc}
        self.path = run.folder / FILE
        self.records = read_records(self.path, torn=True)
        if ends_torn(self.path):
            write_records(self.path, self.records.values())
            self.say(0, self._total, f"{FILE} ended in half a line, which is dropped and measured anew.")
        self.digests = {step: digest_of(run, step) for step in sorted({step for steps in self.steps.values() for step in steps})}

    def take(self) -> None:
        """Measure everything; of steps whose chains diverge say so, and go on."""
        diverged = []
        for setting in self.run.config.llc:
            measurer = Measurer(self.run, setting, self.check)
            plan = self._planned(measurer)
            for step in self.steps[setting.name]:
                try:
                    self._take_step(measurer, plan, step)
                except ChainDiverged as error:
                    diverged.append(f"{setting.name} at step {step:,}")
                    self._tell(step, setting, " ".join(str(error).split()))
        if diverged:
            raise MechbpError(
                f"measure: {self.run.name}: chains diverged and are not averaged: {', '.join(diverged):.200}.\n"
                f"Lower step_size of the setting, or leave it out."
            )

    def _planned(self, measurer: Measurer) -> Plan:
        """Find the curvature at every step, and decide what all have in common."""
        setting, curvatures = measurer.setting, {}
        for step in self.steps[setting.name]:
            record = self._kept(setting, step, "curvature")
            if not isinstance(record, CurvatureRecord):
                record = measurer.curvature(step, self.digests[step])
                self._store(record)
            curvatures[step] = record.curvature
        plan = Plan.of(setting, curvatures)
        self.say(self.done, self._total, str(plan))
        return plan

    def _take_step(self, measurer: Measurer, plan: Plan, step: int) -> None:
        record = self._kept(plan.setting, step, "llc")
        if isinstance(record, LLCRecord) and (record.step_size, record.burn_in) != (plan.step_size, plan.burn_in):
            self._tell(step, plan.setting, f"measured with step size {record.step_size:.3g}; measured anew.")
            record = None
        if record is None:
            record = measurer.record(plan, step, self.digests[step])
            self._store(record)
            self.done += 1
            spread = f"{record.standard_error:.{1 if record.standard_error >= 0.05 else 3}f}"
            self._tell(
                step, plan.setting, f"llc {record.estimate:.1f} ± {spread} ({plan.setting.chains} chains)  {record.seconds:.0f} s"
            )
        else:
            self.done += 1

    def _kept(self, setting: LLCConfig, step: int, kind: Literal["curvature", "llc"]) -> Record | None:
        """The stored record of this setting and step, unless either has changed since."""
        record = self.records.get((setting.name, kind, step))
        if record is None:
            return None
        if stale := why_stale(record, setting, self.digests[step]):
            if kind == "llc":
                self._tell(step, setting, f"{stale}; measured anew.")
            return None
        return record

    def _store(self, record: Record) -> None:
        self.records[key_of(record)] = record
        write_records(self.path, self.records.values())

    def _tell(self, step: int, setting: LLCConfig, text: str) -> None:
        self.say(self.done, self._total, f"step {step:,}  {setting.name}  {text}")

    @property
    def _total(self) -> int:
        return sum(map(len, self.steps.values()))

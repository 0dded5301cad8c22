"""What the command line shows while it works: bars, and one run after the other with its failures told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mechbp.errors import MechbpError

if TYPE_CHECKING:
    from rich.progress import Progress

    from mechbp.models.config import RunConfig
    from mechbp.models.runs import Run


def one_by_one(command: str, folders: list[Path], work: Callable[[Path, Progress], None]) -> None:
    """Do the work on one run after the other in this process; a refusal is said, and the others are done before it is raised."""
    from mechbp.jobs import say_failure
    from mechbp.models.training import Interrupted

    failed = []
    with progress() as bars:
        for folder in folders:
            try:
                work(folder, bars)
            except Interrupted as stop:
                bars.stop()
                print(stop, file=sys.stderr)
                raise SystemExit(128 + stop.signum) from None
            except MechbpError as error:
                if len(folders) == 1:
                    raise
                failed.append(folder.name)
                say_failure(folder.name, str(error))
    if failed:
        raise MechbpError(f"{command}: {len(failed)} of {len(folders)} failed: {', '.join(failed)}.")


def say_unfinished(runs: Iterable[Run]) -> None:
    """Say of runs whose training has not ended which step stands for them."""
    for run in {run.name: run for run in runs}.values():
        if run.steps and not run.complete:
            of = f"step {run.steps[-1]:,} of {run.config.training.steps:,}"
            print(f"mechbp: {run.name} is not trained to its end: what follows is of {of}.", file=sys.stderr)


def train_here(folder: Path, config: RunConfig, bars: Progress, trust: bool = False, device: str = "cpu") -> None:
    """Train one run in this process, under a bar."""
    from mechbp.models.metrics import divergence_names
    from mechbp.models.run_folder import stored_steps
    from mechbp.models.tasks.task import own_oracle
    from mechbp.models.training import train as train_run

    begun = stored_steps(folder)
    exact, _ = divergence_names(own_oracle(config.task, config.process.build()))
    bar = bars.add_task(folder.name, total=config.training.steps)
    shown = {"loss": "", "kl": ""}

    def describe() -> str:
        return "  ".join(part for part in (folder.name, shown["loss"], shown["kl"]) if part)

    def on_step(line: dict[str, float]) -> None:
        shown["loss"] = f"loss {line['loss']:.3f}"
        bars.update(bar, completed=line["step"], description=describe())

    def on_metrics(line: dict[str, float]) -> None:
        shown["kl"] = f"KL(exact || model) {line[exact]:.4f} nats"
        bars.update(bar, completed=line["step"], description=describe())
        if not bars.console.is_terminal:
            bars.console.print(f"step {line['step']:,.0f}  accuracy {line['accuracy']:.4f}  {shown['kl']}")

    train_run(folder, on_step, on_metrics, trust=trust, device=device)
    steps = stored_steps(folder)
    state = f"trained to step {steps[-1]:,}" if steps[-1:] != begun[-1:] else f"was trained already, to step {steps[-1]:,}"
    next_command = f"mechbp report --quick --run {folder}{' --trust' if config.names_code else ''}"
    told = f"{folder.name} {state}{', ' if shown['kl'] else ''}{shown['kl']}. Next: {next_command}"
    print(told, file=sys.stderr)


def set_threads(count: int) -> None:
    """Let torch use so many threads."""
    import torch

    torch.set_num_threads(count)


def progress() -> Progress:
    """Return bars on stderr; on a terminal they vanish when done, elsewhere only prints remain."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def say_pages(pages: list[Path]) -> None:
    """Print where pages were written."""
    for page in pages:
        print(page)

"""A real Dask cluster on loopback; run as a script it prints its address and lives until stdin ends.

Its arguments are the number of worker processes and, if they are to count updates and one is to die, the word "watched".
"""

import functools
import os
import signal
import sys
from pathlib import Path

KILLED_AT = 25
"""The update of run "killed" in whose middle its first worker dies."""


def dask_setup(worker):
    """What Dask calls in every worker before it serves; importing torch already would make it late."""
    from mechbp import jobs

    real = jobs._train

    def _train(*arguments):
        watch_updates()
        return real(*arguments)

    jobs._train = _train


@functools.cache
def watch_updates():
    """From here on count each update of a run beside its folder, and kill the first worker of "killed" once."""
    from mechbp.models import training

    real = training._Trainer._update

    def update(self):
        with self.folder.with_suffix(".updates").open("a") as file:
            file.write(f"{os.getpid()} {self.step}\n")
        if self.folder.name == "killed" and self.step == KILLED_AT and not self.folder.with_suffix(".died").exists():
            self.folder.with_suffix(".died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self)

    training._Trainer._update = update


if __name__ == "__main__":
    from distributed import LocalCluster

    watched = str(Path(__file__)) if sys.argv[2:] == ["watched"] else None
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, processes=True, dashboard_address=None, preload=watched
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()

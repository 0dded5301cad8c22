"""Whatever kills a command, nothing stored is lost and it ends as if nothing had happened: 200 kills in the long set."""

import time

import pytest

from mechbp import storage
from tests.recovery.deaths import cluster
from tests.recovery.histories import Recovery, many
from tests.recovery.worlds import WORLDS, package


@pytest.mark.long
def test_200_kills_lose_nothing(tmp_path):
    copied = package(tmp_path / "package")
    with cluster(copied) as address:
        recovery = Recovery(tmp_path, copied, address)
        done = many(recovery, 200, seed=1, ends=time.monotonic() + 1500)
    for (command, way, became), count in sorted(recovery.seen.items()):
        print(f"{command:<8} {way:<12} {became:<60} {count:>4}")
    assert done == recovery.seen.total() and {command for command, _, _ in recovery.seen} == {*WORLDS}
    print(f'{{"kills": {done}, "ended_otherwise": 0}}')


@pytest.mark.slow
def test_a_few_kills_of_training_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.recovery.histories.SHARES", {"time": 2, "writer": 2, "two at once": 1, "full disk": 1})
    recovery = Recovery(tmp_path, package(tmp_path / "package"), "", ("train",))
    assert many(recovery, 6, seed=2) == recovery.seen.total() == 6


@pytest.mark.slow
@pytest.mark.long
def test_a_writer_that_overwrites_in_place_is_found_out(tmp_path, monkeypatch):
    """The control: without the temporary file, deaths inside the writer leave torn files."""

    def overwrite(path, data):
        descriptor = storage.os.open(path, storage.os.O_WRONLY | storage.os.O_CREAT | storage.os.O_TRUNC, 0o644)
        for start in range(0, len(data), 500):
            storage.os.write(descriptor, data[start : start + 500])
        storage.os.close(descriptor)

    monkeypatch.setattr("tests.recovery.histories.SHARES", {"writer": 1})
    recovery = Recovery(tmp_path, package(tmp_path / "package"), "", ("train",))
    for module in ("checkpoint", "training"):
        monkeypatch.setattr(f"mechbp.models.{module}.atomic_write", overwrite)
    with pytest.raises(AssertionError, match="train, history"):
        many(recovery, 40, seed=0)

"""Histories: a command is ended a few times in ways drawn at random, then left alone, and held against one never disturbed."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from mechbp.randomness import rng
from tests.recovery.deaths import SHARES, Place, finish, once
from tests.recovery.worlds import WORLDS

KILLS = 5
"""Of one history, at most: a run that is killed often enough never ends."""


class Recovery:
    """Undisturbed runs of every command, and the histories that are held against them."""

    def __init__(self, scratch: Path, package: Path, address: str, commands: tuple[str, ...] = tuple(WORLDS)) -> None:
        self.scratch, self.package, self.address, self.commands = scratch, package, address, commands
        self.expected: dict[str, dict[str, str]] = {}
        self.took_s: dict[str, float] = {}
        self.seen: Counter[tuple[str, str, str]] = Counter()
        for command in commands:
            world, place = WORLDS[command], self._place(command, "reference")
            world.prepare(place.home)
            shutil.copytree(place.home, scratch / command / "fresh")
            began = time.monotonic()
            finish(place, world.words)
            self.took_s[command] = time.monotonic() - began
            self.expected[command] = world.final(place.home)

    def history(self, command: str, number: int, seed: int, kills: int) -> None:
        """Take a fresh home through `kills` deaths and to its end. Raises AssertionError where anything stored was lost."""
        draw = rng(seed, "recovery", command, number)
        world, place = WORLDS[command], self._place(command, f"history{number}")
        shutil.copytree(self.scratch / command / "fresh", place.home, dirs_exist_ok=True)
        stored, told = 0, []
        for _ in range(kills):
            way = self._way(draw)
            told.append(way)
            try:
                became = once(way, place, world.words, self.took_s[command], self.address, draw)
                now = world.progress(place.home)
                assert now >= stored, f"{stored} were stored, {now} are left"
            except Exception as error:
                raise AssertionError(f"{command}, history {number} of seed {seed}, after {told}: {error}") from error
            stored = now
            self.seen[command, way, became] += 1
        finish(place, world.words)
        found, expected = world.final(place.home), self.expected[command]
        differ = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        assert not differ, f"{command}, history {number} of seed {seed}, after {told}: {differ} differ in {place.home}"
        shutil.rmtree(place.home.parent)
        print(f"{command}, history {number}: {', '.join(told)}: nothing lost", file=sys.stderr, flush=True)

    def _way(self, draw: np.random.Generator) -> str:
        ways = {way: share for way, share in SHARES.items() if self.address or way != "cluster"}
        shares = np.array([*ways.values()], float)
        return str(draw.choice([*ways], p=shares / shares.sum()))

    def _place(self, command: str, name: str) -> Place:
        home = self.scratch / command / name / "home"
        home.mkdir(parents=True)
        return Place(home, self.package, home.parent)


def many(recovery: Recovery, kills: int, seed: int, ends: float = float("inf")) -> int:
    """Go through histories of all commands in turn until so many kills are done or time is over; return how many were."""
    done, number = 0, 0
    while done < kills and time.monotonic() < ends:
        for command in recovery.commands:
            here = min(KILLS, kills - done)
            if here > 0 and time.monotonic() < ends:
                recovery.history(command, number, seed, here)
                done += here
        number += 1
    return done

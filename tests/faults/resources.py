"""Take resources away from a running study: the disk, the right to write, the clock, its place."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.kills import DATABASE, LIMIT, STORAGE_POINTS, Killed
from tests.faults.toll import Toll

DAY = 86_400.0


def full_disk(folder: Path, seed: int, studies: int) -> Toll:
    """Let files grow to a few kilobytes only, each study to another size; then take that away.

    A limit on the size of files stands for a disk that is full: a write fails in the middle.
    """
    chance, toll = random.Random(seed), Toll()
    for number in range(studies):
        storage = list(STORAGE_POINTS)[number % 2]
        tracking = DATABASE if number % 4 == 3 else None
        study = Killed(folder / f"disk-{seed}-{number}", storage, tracking, seed=seed + number)
        size = chance.choice([1, 4, 20, 60, 100, 130, 150, 180, 300]) << 10

        def arm(size: int = size) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        code = study.wait(study.start(arm))
        _one_line(study, code, f"files of at most {size} bytes")
        toll.add(study.finish())
    return toll


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path | None]:
    """Mount a small file system in memory; None where that is not allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_disks(folder: Path, seed: int, studies: int) -> Toll:
    """Run studies on disks that fill, then grow; and on disks that become read-only."""
    chance, toll = random.Random(seed), Toll()
    for number in range(studies):
        size = chance.choice([100, 160, 200, 300, 500])
        with small_disk(folder / f"small-{seed}-{number}", size) as disk:
            if disk is None:
                return toll
            study = Killed(disk / "study", seed=seed + number)
            if number % 2:
                child = study.start()
                time.sleep(chance.uniform(0.2, 2.0))
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True)
                code = study.wait(child)
                subprocess.run(["mount", "-o", "remount,rw,size=50m", str(disk)], check=True)
                _one_line(study, code, "read-only disk")
            else:
                _one_line(study, study.wait(study.start()), f"disk of {size} kB")
                subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
            toll.add(study.finish())
    return toll


def jumping_clock(folder: Path, seed: int, studies: int) -> Toll:
    """Set the coordinator's clock forward and back by up to a day, again and again."""
    toll = Toll()
    for number in range(studies):
        study = Killed(folder / f"clock-{seed}-{number}", seed=seed + number)
        chance = random.Random(seed + number)

        def arm(chance: random.Random = chance) -> None:
            clock, offset = time.time, 0.0

            def jump() -> float:
                nonlocal offset
                if chance.random() < 0.05:
                    offset = chance.uniform(-DAY, DAY)
                return clock() + offset

            time.time = jump

        code = study.wait(study.start(arm))
        if code is not None:
            study.toll.injected += 1
            study.check(code, study.trials())
        toll.add(study.toll)
    return toll


def several_coordinators(folder: Path, seed: int, studies: int, count: int = 3) -> Toll:
    """Start one study from several processes at once: one runs it, the others say so and end."""
    toll = Toll()
    for number in range(studies):
        storage = list(STORAGE_POINTS)[number % 2]
        study = Killed(folder / f"several-{seed}-{number}", storage, seed=seed + number)
        children = [study.start() for _ in range(count)]
        codes = [study.wait(child) for child in children]
        study.toll.injected += count - 1
        if sorted(map(str, codes)) != ["0", *["2"] * (count - 1)]:
            study.toll.harm("misreported", f"{study.folder}: exit codes {codes}{study.said()}")
        toll.add(study.finish())
    return toll


def sleeping_coordinator(folder: Path, seed: int, studies: int) -> Toll:
    """Stop a coordinator in mid-study and let it go on: nothing is lost and it ends."""
    chance, toll = random.Random(seed), Toll()
    for number in range(studies):
        study = Killed(folder / f"sleep-{seed}-{number}", seed=seed + number)
        child = study.start()
        time.sleep(chance.uniform(0.1, 1.5))
        os.kill(child, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(child, signal.SIGCONT)
        study.toll.injected += 1
        code = study.wait(child, LIMIT)
        if code is not None:
            study.check(code, study.trials())
        toll.add(study.toll)
    return toll


def _one_line(study: Killed, code: int | None, what: str) -> None:
    """Hold that a start without the resource ended in one line, or got by without it."""
    study.look(what)
    study.toll.injected += code != 0  # else there was room enough
    text = (study.folder / "err.txt").read_text(errors="replace")
    said = [line for line in text.splitlines() if line.startswith("tuner: ")]
    if code not in (0, 1, 2, None) or "Traceback" in text or (code != 0 and len(said) != 1):
        where = f"{study.folder}: {what}: exit code {code}"
        study.toll.harm("misreported", where + study.said())

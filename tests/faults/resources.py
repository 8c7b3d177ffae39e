"""Take resources away from a running study: the disk, the right to write, the clock, its place."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.kills import DATABASE, LIMIT, STORAGE_POINTS, Killed
from tests.faults.toll import Toll
from tests.fork import is_running

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


def mount(folder: Path, kilobytes: int) -> list[str]:
    """Return the command that mounts a small file system in memory."""
    return ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path | None]:
    """Mount a small file system in memory; None where that is not allowed."""
    folder.mkdir(parents=True)
    if subprocess.run(mount(folder, kilobytes), capture_output=True).returncode:
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


@contextlib.contextmanager
def crowded_disk(disk: Path, left: int) -> Iterator[Callable[[], object] | None]:
    """Mount a disk that has `left` kilobytes left; yield what makes it grow, None if forbidden."""
    disk.mkdir()
    if subprocess.run(mount(disk, 1000), capture_output=True).returncode:
        yield None
        return
    grow = ["mount", "-o", "remount,size=50m", str(disk)]
    try:
        room = os.statvfs(disk)
        filled = room.f_bavail * room.f_frsize - (left << 10)
        (disk / "filler").write_bytes(b"\0" * filled)
        yield lambda: subprocess.run(grow, check=True)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def full_results(folder: Path, seed: int, studies: int) -> Toll:
    """Fill the disk that the script, MLflow's store, figures and tables, or an analysis goes to."""
    chance, toll = random.Random(seed), Toll()
    for number in range(studies):
        what = ("script", "store", "out", "analysis")[number % 4]
        study = Killed(
            folder / f"results-{seed}-{number}",
            tracking=("sqlite:///disk/mlflow.db", "toy") if what == "store" else None,
            script="disk/best.py" if what == "script" else "best.py",
            seed=seed + number,
        )
        disk = study.folder / ("out" if what == "out" else "disk")
        with crowded_disk(disk, chance.choice([0, 4, 8, 40])) as grow:
            if grow is None:
                return toll
            code = study.wait(study.start())
            if what == "analysis":
                code = study.wait(study.start(command=ANALYSE))
            _one_line(study, code, f"no room for the {what}", os.statvfs(disk).f_bavail == 0)
            grow()
            if what == "analysis":
                _check_analysis(study)
            toll.add(study.finish())
    return toll


ANALYSE = ("analyse", "study.yaml", "-o", "disk/analysis")


def _check_analysis(study: Killed) -> None:
    code = study.wait(study.start(command=ANALYSE))
    found = study.folder / "disk" / "analysis" / "analysis.json"
    if code != 0 or json.loads(found.read_text()).keys() != {"mode", "x", "size"}:
        study.toll.harm("misreported", f"{study.folder}: exit code {code}{study.said()}")


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


def several_coordinators(
    folder: Path,
    seed: int,
    studies: int,
    count: int = 3,
    storages: Sequence[str] = tuple(STORAGE_POINTS),
) -> Toll:
    """Start one study from several processes at once: one runs it, the others say so and end."""
    toll = Toll()
    for number in range(studies):
        storage, name = storages[number % len(storages)], f"several-{seed}-{number}"
        study = Killed(folder / name, storage, seed=seed + number, name=name)
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
        study.toll.injected += is_running(child)  # else it had ended before
        os.kill(child, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(child, signal.SIGCONT)
        code = study.wait(child, LIMIT)
        if code is not None:
            study.check(code, study.trials())
        toll.add(study.toll)
    return toll


def _one_line(study: Killed, code: int | None, what: str, happened: bool = False) -> None:
    """Hold that a start without the resource ended in one line, or got by without it."""
    study.look(what)
    study.toll.injected += happened or code != 0  # else there was room enough
    text = study.errors()
    said = [line for line in text.splitlines() if line.startswith("tuner: ")]
    if code not in (0, 1, 2, None) or "Traceback" in text or (code != 0 and len(said) != 1):
        where = f"{study.folder}: {what}: exit code {code}"
        study.toll.harm("misreported", where + study.said())

"""Does the frozen setting deserve it? Timing rules on simulated machines with known truths.

    python -m benchmarks.timing [--json FILE] [--studies N] [--seed N] [--repeats N]
    python -m benchmarks.timing --machine     # see `benchmarks.machine`

Each simulated study has settings with known times and metrics, on a machine that drifts (clock,
heat), has bursts (a cold cache, a daemon), and has a neighbour that comes and goes: it takes turns
on the core, which the kernel's accounting shows, and it slows the code by a contended cache, which
nothing shows but a repeat. Only the clock is simulated: the rules are the engine's own. The budget
of all is what three passes over all settings cost:

ours         one look at every setting, then the race among the best (`tuner.selection.racing`).
single       wall times, every trial as it comes, three passes; the best one wins: what peers do.
mean_of_3    wall times, the mean of three, one after the other.

``probability_best``: the share of studies in which the chosen setting is the truly best, or within
1 % of its score.

After that, on this machine: one piece of work over and over, alone and beside processes that load
every core. The scatter (standard deviation of the logarithm) of its wall time, of its own time as
the engine takes it, and of the scores made from each; and what the load does to the median of both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import compare
from tuner.config.objective import score
from tuner.measure.drift import Drift
from tuner.measure.stopwatch import Timed, timed
from tuner.records import CaseRecord
from tuner.selection.racing import Ending, Race, score_value

SETTINGS = 30
FINALISTS = 8
CONFIDENCE = 0.98
INDIFFERENCE = 0.01
ANCHOR = 0.001
ANCHOR_COST = 0.01
BASELINE = 30.0
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
AGAIN = 1


class Machine:
    """A machine whose speed changes, with a clock that measuring moves on."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.now = 0.0
        self._drift = 0.0
        self._looked = 0.0
        self._neighbour = False
        self._changes = 0.0

    def _state(self) -> float:
        """Bring drift and neighbour up to now; return how many times slower the core is."""
        passed = self.now - self._looked
        keep = math.exp(-passed / 60)
        self._drift = self._drift * keep + self._rng.normal(0, 0.12 * math.sqrt(1 - keep**2))
        self._looked = self.now
        while self._changes <= self.now:
            self._neighbour = not self._neighbour
            self._changes += self._rng.exponential(4.0 if self._neighbour else 8.0)
        return math.exp(self._drift)

    def measure(self, seconds: float) -> tuple[Timed, float]:
        """Time something that takes `seconds` on a quiet machine; return the anchor beside it."""
        rng = self._rng
        slow = self._state()
        coupling = rng.uniform(0.8, 1.2)
        cpu = seconds * slow**coupling * math.exp(rng.normal(0, 0.015))
        beat = ANCHOR * slow * math.exp(rng.normal(0, 0.025))
        waited = 0.0
        if self._neighbour:
            cpu *= 1 + rng.uniform(0.0, 0.12)
            beat *= 1 + rng.uniform(0.0, 0.12)
            waited = cpu * rng.uniform(0.3, 1.2)
        if rng.random() < 0.08:
            cpu *= 1 + rng.exponential(0.2)
        if rng.random() < 0.05:
            waited += rng.exponential(0.05)
        wall = cpu + waited
        self.now += wall
        return Timed(None, wall, cpu, waited), beat


def make_settings(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return gains over the baseline and seconds; the best few scores lie 1 to 3 % apart."""
    seconds = np.exp(rng.uniform(math.log(0.05), math.log(2.0), SETTINGS))
    scores = np.exp(-np.abs(rng.normal(0, 0.4, SETTINGS)))
    return scores * np.sqrt(seconds / BASELINE), seconds


def ours(machine: Machine, gains: np.ndarray, seconds: np.ndarray, budget: float) -> int:
    """Look once at every setting, then race the best."""
    case = CaseRecord("case", {}, BASELINE, BASELINE, anchor=ANCHOR)
    drift = Drift([case])

    def look(index: int, again: int = 0) -> CaseRecord:
        found, beat = machine.measure(seconds[index])
        for _ in range(again):
            if not found.disturbed:
                break
            second, beat = machine.measure(seconds[index])
            found = min(found, second, key=lambda watch: watch.waited / watch.seconds)
        machine.now += ANCHOR_COST
        own = found.own_seconds
        return CaseRecord("case", {}, own, found.cpu_seconds, own, beat, found.crowded)

    def began(case: CaseRecord) -> datetime:
        return START + timedelta(seconds=machine.now - case.seconds)

    first = []
    for index in range(len(gains)):
        case = look(index, AGAIN)
        first.append(drift.correct([case], began(case))[0].seconds)
    scores = [score(gain, BASELINE / t) for gain, t in zip(gains, first, strict=True)]
    chosen = [int(i) for i in np.argsort(scores)[::-1][:FINALISTS]]
    race = Race(
        chosen,
        score_value([{"case": gains[i]} for i in chosen], {"case": BASELINE}),
        ["case"],
        Ending(budget - machine.now, CONFIDENCE, INDIFFERENCE),
    )
    while order := race.next_round():
        for index in order:
            before = machine.now
            found = look(index)
            race.add(index, drift.measurements([found], began(found)), machine.now - before)
    return race.verdict().standings[0].number


def single(machine: Machine, gains: np.ndarray, seconds: np.ndarray, budget: float) -> int:
    """Time every trial once, over and over; the best one seen wins."""
    best, winner = -math.inf, 0
    while machine.now < budget:
        for index in range(len(gains)):
            found = score(gains[index], BASELINE / machine.measure(seconds[index])[0].seconds)
            if found > best:
                best, winner = found, index
    return winner


def mean_of_3(machine: Machine, gains: np.ndarray, seconds: np.ndarray, budget: float) -> int:
    """Time every setting three times in a row; the best mean wins."""
    means = [
        np.mean([machine.measure(duration)[0].seconds for _ in range(3)]) for duration in seconds
    ]
    return int(np.argmax([score(g, BASELINE / t) for g, t in zip(gains, means, strict=True)]))


Rule = Callable[[Machine, np.ndarray, np.ndarray, float], int]
RULES: dict[str, Rule] = {"ours": ours, "single": single, "mean_of_3": mean_of_3}


def simulate(studies: int, first_seed: int = 0) -> dict[str, dict[str, float]]:
    """Run every rule on the same studies; return how often it was right and what it cost."""
    right = dict.fromkeys(RULES, 0)
    cost = dict.fromkeys(RULES, 0.0)
    for seed in range(first_seed, first_seed + studies):
        gains, seconds = make_settings(np.random.default_rng([seed, 0]))
        truth = score(1.0, BASELINE) * gains / np.sqrt(seconds)
        machine = Machine(np.random.default_rng([seed, 1]))
        mean_of_3(machine, gains, seconds, math.inf)
        budget = machine.now
        for name, rule in RULES.items():
            machine = Machine(np.random.default_rng([seed, 2]))
            chosen = rule(machine, gains, seconds, budget)
            right[name] += bool(truth[chosen] >= (1 - INDIFFERENCE) * truth.max())
            cost[name] += machine.now / budget
    return {
        "probability_best": {name: right[name] / studies for name in RULES},
        "cost": {name: cost[name] / studies for name in RULES},
    }


def work() -> float:
    """Compute for some 20 ms."""
    values = np.random.default_rng(0).random(300_000)
    for _ in range(4):
        values = np.sqrt(np.sort(values) + np.roll(values, 1))
    return float(values.sum())


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Keep every core busy, one process more than there are."""
    program = "x = 1.0\nwhile True: x = x * 1.0000001 % 7"
    busy = [
        subprocess.Popen([sys.executable, "-S", "-c", program])
        for _ in range((os.cpu_count() or 1) + 1)
    ]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def on_this_machine(repeats: int) -> dict[str, dict[str, float]]:
    """Return scatter and medians of wall and own time, alone and beside a load."""
    results = {}
    for name, beside in (("alone", contextlib.nullcontext), ("beside a load", load)):
        with beside():
            timed(work)
            found = [timed(work) for _ in range(repeats)]
        walls = np.log([watch.seconds for watch in found])
        owns = np.log([watch.own_seconds for watch in found])
        results[name] = {
            "wall_ms": 1000 * float(np.exp(np.median(walls))),
            "own_ms": 1000 * float(np.exp(np.median(owns))),
            "scatter_wall": float(walls.std()),
            "scatter_own": float(owns.std()),
            "scatter_score_wall": float(walls.std()) / 2,
            "scatter_score_own": float(owns.std()) / 2,
        }
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first simulated study")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--machine", action="store_true", help="a study alone and beside a load")
    parser.add_argument("--trials", type=int, default=20, help="of that study")
    given = parser.parse_args(arguments)
    if given.machine:
        found = compare(given.trials, given.repeats, load)
        if given.json:
            given.json.write_text(json.dumps(found, indent=2))
        return
    results: dict[str, Any] = simulate(given.studies, given.seed)
    print(f"{given.studies} simulated studies of {SETTINGS} settings")
    print(f"{'rule':12} {'best, or within 1 %':>20} {'cost':>6}")
    for name in RULES:
        right, cost = results["probability_best"][name], results["cost"][name]
        print(f"{name:12} {right:>20.2f} {cost:>6.2f}")
    results["machine"] = on_this_machine(given.repeats)
    print("\none piece of work on this machine")
    print(f"{'':14} {'wall ms':>8} {'own ms':>8} {'scatter: wall':>14} {'own':>6}")
    for name, row in results["machine"].items():
        scatter = f"{row['scatter_wall']:>14.3f} {row['scatter_own']:>6.3f}"
        print(f"{name:14} {row['wall_ms']:>8.1f} {row['own_ms']:>8.1f} {scatter}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

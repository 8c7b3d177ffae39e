"""Compare `prox_tv1d` with every method of proxTV and with condat-tv: time and optimality.

    python -m benchmarks.prox [--json FILE] [--scale 0.1] [--grid]

``--grid``: many signals and penalties instead, how many times faster than the best peer, and the
smallest of these ratios.

The peers are not dependencies of the project: ``pip install prox_tv condat-tv`` (proxTV compiles
against LAPACKE: on Debian ``apt install liblapacke-dev``). One that is missing is skipped and said
so. Methods take turns: each round runs all of them on the same signal, and a ratio is the median
over rounds of a round's ratio. A method that took more than thirty times as long as `prox_tv1d`
is measured once. Times are CPU seconds of one thread, the memory of the result included, except
for two threads over columns: seconds of wall clock.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tuner_plugins.native.machine import find_compiler
from tuner_plugins.nmf.kernels.build import load_kernels
from tuner_plugins.nmf.model.prox_tv import prox_tv1d, prox_tv1d_columns

from benchmarks.prox_signals import GRID, drift_signal, pileup_signal, random_signal, smooth_signal

Array = np.ndarray[Any, Any]
Solver = Callable[[Array, float], Array]

OURS = "prox_tv1d"
DEFAULT = "proxTV hybridtautstring"
PROXTV_METHODS = (
    "hybridtautstring",
    "classictautstring",
    "linearizedtautstring",
    "condat",
    "condattautstring",
    "dp",
    "kolmogorov",
    "pn",
)
SLOW = 30.0
"""A method that many times slower than ours is run once."""


GRID_LAMS = (0.1, 1.0, 10.0, 100.0, 1000.0)
GRID_SIZE = 10**6

SIGNALS: Mapping[str, tuple[Callable[[int, np.random.Generator], Array], int]] = {
    "random": (random_signal, 10**6),
    "pile-up": (pileup_signal, 10**7),
    "smooth": (smooth_signal, 10**7),
    "drift": (drift_signal, 10**6),
}


def kkt_residual(y: Array, x: Array, lam: float, weights: Array | None = None) -> float:
    """Return the largest violation of the optimality conditions, relative to `lam`.

    The running sum of ``weights * (x - y)`` is the dual: within ``[-lam, lam]``, at ``lam`` where
    x steps up, at ``-lam`` where it steps down, 0 after the last position. Rounding is no
    violation: neither what the last bits of every x can add up to at most, nor a step of a few.
    """
    w = np.ones(len(y)) if weights is None else weights
    dual = np.cumsum(w * (x.astype(np.longdouble) - y))
    step = np.diff(x)
    step[np.abs(step) <= 8 * np.finfo(float).eps * np.abs(y).max()] = 0
    inner = dual[:-1]
    violations = (
        np.abs(dual[-1:]),
        np.abs(inner) - lam,
        lam - inner[step > 0],
        lam + inner[step < 0],
    )
    worst = max(float(v.max(initial=0.0)) for v in violations)
    rounding = float(np.finfo(float).eps * (w * np.abs(x)).sum())
    return max(worst - rounding, 0.0) / lam


def solvers() -> tuple[dict[str, Solver], list[str]]:
    """Return what can be measured here, ours first, and a line for each peer that is missing."""
    found: dict[str, Solver] = {OURS: prox_tv1d}
    missing = []
    if find_spec("prox_tv"):
        import prox_tv

        for method in PROXTV_METHODS:
            found[f"proxTV {method}"] = lambda y, lam, method=method: prox_tv.tv1_1d(
                y, lam, method=method
            )
    else:
        missing.append("proxTV is not installed: skipped (pip install prox_tv)")
    if find_spec("condat_tv"):
        import condat_tv

        found["condat-tv"] = condat_tv.tv_denoise
    else:
        missing.append("condat-tv is not installed: skipped (pip install condat-tv)")
    return found, missing


def race(methods: Mapping[str, Solver], y: Array, lam: float, rounds: int) -> dict[str, Any]:
    """Run all methods in turn, `rounds` times; return nanoseconds, ratios and residuals."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    residuals = {}
    for turn in range(rounds):
        for name, solve in methods.items():
            if turn and seconds[name][0] > SLOW * seconds[OURS][0]:
                continue
            begin = time.thread_time()
            x = solve(y, lam)
            seconds[name].append(time.thread_time() - begin)
            if not turn:
                residuals[name] = kkt_residual(y, x, lam)
    return {
        name: {
            "ns": median(taken) / len(y) * 1e9,
            "ratio": median(a / b for a, b in zip(taken, seconds[OURS], strict=False)),
            "residual": residuals[name],
            "runs": len(taken),
        }
        for name, taken in seconds.items()
    }


def threads_ratio(y: Array, lam: float, rounds: int) -> tuple[float, float]:
    """Return how much faster two threads are over four columns, by the wall clock.

    Copying the same columns comes second: where memory is what limits, or a neighbour on the
    machine uses it up, no more can be had.
    """
    columns = np.stack([np.roll(y, 1000 * j) for j in range(4)])
    out = np.empty_like(columns)

    def solve(threads: int) -> None:
        prox_tv1d_columns(columns, lam, out=out, threads=threads)

    def copy(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(np.copyto, out, columns))

    solved, copied = [], []
    for _ in range(rounds):
        for work, ratios in ((solve, solved), (copy, copied)):
            taken = []
            for threads in (1, 2):
                begin = time.perf_counter()
                work(threads)
                taken.append(time.perf_counter() - begin)
            ratios.append(taken[0] / taken[1])
    return median(solved), median(copied)


def runs_ratio(y: Array, lam: float, rounds: int) -> float:
    """Return the ratio of times: the prox of a signal by bases over that by runs."""
    starts = np.flatnonzero(np.diff(y, prepend=np.nan))
    values, lengths = y[starts], np.diff(starts, append=len(y)).astype(float)
    ratios = []
    for _ in range(rounds):
        taken = []
        for call in ((y, lam), (values, lam, lengths)):
            begin = time.thread_time()
            prox_tv1d(*call)
            taken.append(time.thread_time() - begin)
        ratios.append(taken[0] / taken[1])
    return median(ratios)


def measure(lams: list[float], scale: float, rounds: int) -> dict[str, Any]:
    """Measure every signal at every penalty; print the tables on the way."""
    methods, missing = solvers()
    kernels = f"C kernels by {find_compiler()}" if load_kernels() else "Numba kernels"
    print(kernels, *missing, sep="\n")
    report: dict[str, Any] = {"kernels": kernels, "missing": missing, "signals": []}
    for name, (simulate, size) in SIGNALS.items():
        y = simulate(int(size * scale), np.random.default_rng(1))
        for lam in lams:
            results = race(methods, y, lam, rounds)
            peers = {k: v["ratio"] for k, v in results.items() if k != OURS}
            # Milliseconds are too short for two cores to be had for sure: more of them.
            two_threads, copying = threads_ratio(y, lam, rounds * max(1, 10**7 // len(y)))
            row = {
                "signal": name,
                "n": len(y),
                "lam": lam,
                "methods": results,
                "best_peer": min(peers, key=peers.__getitem__, default=None),
                "over_best_peer": min(peers.values(), default=None),
                "over_default": peers.get(DEFAULT),
                "two_threads": two_threads,
                "two_threads_copying": copying,
                "runs_over_bases": runs_ratio(y, lam, rounds) if name == "pile-up" else None,
            }
            report["signals"].append(row)
            print_row(row)
    return report


def measure_grid(scale: float, rounds: int) -> dict[str, Any]:
    """Measure the grid; print how many times faster than the best peer, and the smallest."""
    methods, missing = solvers()
    if len(methods) == 1:
        raise SystemExit(
            f"the grid compares with peers, of which there is none: {'; '.join(missing)}"
        )
    print(*missing, f"{'over the best peer, at lambda':28}", sep="\n", end="")
    print("".join(f"{lam:>8g}" for lam in GRID_LAMS))
    rows: dict[str, Any] = {}
    for name, simulate in GRID.items():
        y = simulate(int(GRID_SIZE * scale), np.random.default_rng(1))
        raced = [race(methods, y, lam, rounds) for lam in GRID_LAMS]
        best = [min(got["ratio"] for peer, got in each.items() if peer != OURS) for each in raced]
        rows[name] = {"ratios": best, "residual": max(each[OURS]["residual"] for each in raced)}
        print(f"  {name:26}" + "".join(f"{ratio:8.2f}" for ratio in best), flush=True)
    least = min(min(row["ratios"]) for row in rows.values())
    residual = max(row["residual"] for row in rows.values())
    print(f"least: {least:.2f}x; largest KKT residual: {residual:.1e}")
    return {"missing": missing, "rows": rows, "least": least, "residual": residual}


def print_row(row: Mapping[str, Any]) -> None:
    """Print one signal at one penalty: a line a method, fastest first, then the ratios."""
    print(f"\n{row['signal']}, {row['n']:,} positions, float64, lambda {row['lam']:g}")
    print(f"  {'method':28}{'ns/position':>12}{'ratio':>8}{'KKT residual':>14}{'runs':>6}")
    for name, got in sorted(row["methods"].items(), key=lambda item: item[1]["ns"]):
        print(
            f"  {name:28}{got['ns']:12.2f}{got['ratio']:8.2f}{got['residual']:14.1e}"
            f"{got['runs']:6d}"
        )
    if row["best_peer"]:
        print(f"  over the best peer ({row['best_peer']}): {row['over_best_peer']:.2f}x", end="")
    if row["over_default"]:
        print(f"; over proxTV's default: {row['over_default']:.2f}x", end="")
    print(f"\n  two threads over columns: {row['two_threads']:.2f}x", end="")
    print(f" (copying the columns: {row['two_threads_copying']:.2f}x)")
    if row["runs_over_bases"]:
        print(f"  weighted runs instead of bases: {row['runs_over_bases']:.1f}x")


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--scale", type=float, default=1.0, help="of the signals' lengths")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lam", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--grid", action="store_true", help="many signals and penalties")
    options = parser.parse_args()
    report = (
        measure_grid(options.scale, options.rounds)
        if options.grid
        else measure(options.lam, options.scale, options.rounds)
    )
    if options.json:
        partial = options.json.with_name(options.json.name + ".partial")
        partial.write_text(json.dumps(report, indent=1) + "\n")
        partial.replace(options.json)


if __name__ == "__main__":
    main()

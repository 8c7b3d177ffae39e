"""The command line of the stand-alone script ``assign2.py`` where its quick path does not do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from tuner_plugins.nmf.bigwig import BigWigError
from tuner_plugins.nmf.compress import SignalError
from tuner_plugins.nmf.pipeline import compute_loadings, whole_region
from tuner_plugins.nmf.quick_script import choose_setting
from tuner_plugins.nmf.tracks import list_tracks
from tuner_plugins.nmf.write import save_loadings


class UsageError(ValueError):
    """A wrong argument; the message is one line that says what to do."""


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line."""

    def error(self, message: str) -> Any:
        raise UsageError(f"{message}; see --help")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises
    ------
    UsageError
        For a missing, unknown or impossible argument.
    """
    parser = _Parser(
        description="Factorise the bigWig tracks of a folder into non-negative, piecewise "
        "constant loadings along the genome and non-negative weights of the tracks.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-b", "--bigwigs", required=True, metavar="DIR", help="folder of *.bw files")
    add("-c", "--chrom", required=True, help="chromosome, as the files spell it")
    add("-s", "--start", type=int, help="first position, 0-based [0]")
    add("-e", "--end", type=int, help="position after the last one [the chromosome's end]")
    add("-k", required=True, type=int, metavar="K", help="number of loadings")
    add("-o", "--output", required=True, metavar="OUT.npy", help="array of (END-START, K)")
    given = parser.parse_args(arguments)
    if given.k < 1:
        raise UsageError(f"-k: expected at least 1 loading, got {given.k}")
    folder = os.path.dirname(os.path.abspath(given.output))
    if not os.path.isdir(folder):
        raise UsageError(f"-o: no such folder: {folder}; make it first")
    if os.path.isdir(given.output):
        raise UsageError(f"-o: {given.output} is a folder; give the name of a file")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; give its exit code: 0, or 2 after one line about bad input."""
    try:
        given = parse_arguments(arguments)
        tracks = list_tracks(given.bigwigs)
        start, end = whole_region(tracks, given.chrom, given.start, given.end)
        setting = choose_setting(end - start, given.k)
        loadings = compute_loadings(tracks, given.chrom, start, end, given.k, setting)
        save_loadings(given.output, loadings, setting["dtype"])
    except (UsageError, BigWigError, SignalError, OSError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        advice = "ask for a shorter region or a smaller -k"
        print(f"{os.path.basename(sys.argv[0])}: {error}; {advice}", file=sys.stderr)
        return 2
    return 0


def run_and_leave() -> None:
    """Run the script and end the process there and then.

    Taking NumPy apart again at the end of a process takes as long as the factorisation.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

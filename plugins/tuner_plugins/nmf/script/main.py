"""The command line of the stand-alone script ``assign2.py`` where its quick path does not do."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuner_plugins.nmf.genome import choose_chromosomes, describe_skipped
from tuner_plugins.nmf.io.bigwig import BigWigError, chromosomes
from tuner_plugins.nmf.io.folder import LEFT_OUT, base_name, describe_taken
from tuner_plugins.nmf.io.tracks import list_tracks, with_chromosome
from tuner_plugins.nmf.kernels.fast_path import MOST_LOADINGS, describe_doubts
from tuner_plugins.nmf.model.signal import SignalError
from tuner_plugins.nmf.pipeline import compute_loadings, whole_region
from tuner_plugins.nmf.script.browser import browser_files, browser_problem
from tuner_plugins.nmf.script.fast_main import CONSTANT, DEFAULT_K, PARAMS, tell
from tuner_plugins.nmf.script.npy import output_problem, save_loadings
from tuner_plugins.nmf.script.placing import BROWSER_ENDINGS
from tuner_plugins.nmf.script.whole import write_genome

if TYPE_CHECKING:
    from tuner_plugins.nmf.io.folder import Found


class UsageError(ValueError):
    """A wrong argument; the message is one line that says what to do."""


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line in one line."""

    def error(self, message: str) -> Any:
        raise UsageError(f"{message}; see --help")


def read_options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line: the scaffold's options, which may be abbreviated.

    Raises
    ------
    UsageError
        For a missing or unknown argument.
    """
    parser = _Parser(
        description="Factorise the bigWig tracks of a folder into non-negative, piecewise "
        "constant loadings along the genome and non-negative weights of the tracks.",
    )
    add = parser.add_argument
    folder = "folder of bigWig files; or addresses (http, https) and folders, with commas between"
    add("-b", "--bw_dir", required=True, metavar="DIR", help=folder)
    spelt = "as the files spell it"
    add("-c", "--chromosome_number", "--chrom", metavar="CHROM", help=spelt)
    several = "in place of -c: these chromosomes at once, an array OUT.CHROM.npy for each"
    add("--chroms", metavar="A,B", type=lambda text: text.split(","), help=several)
    add("--genome", action="store_true", help="likewise: all that every file has")
    add("-s", "--start_pos", type=int, metavar="START", help="first position, 0-based [0]")
    add("-e", "--end_pos", type=int, metavar="END", help="after the last one [chromosome's end]")
    add("-k", type=int, default=int(DEFAULT_K), metavar="K", help="loadings [%(default)s]")
    what = "array of (END-START, K); OUT.bw or OUT.bedGraph: files for a genome browser"
    add("-o", "--output_file", required=True, metavar="OUT.npy", help=what)
    # scripts of before had --bigwigs, and names that are abbreviations of today's
    return parser.parse_args([re.sub("^--bigwigs(?==|$)", "--bw_dir", word) for word in words])


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, and check what can be checked without the files.

    Raises
    ------
    UsageError
        For a missing, unknown or impossible argument.
    """
    given = read_options(sys.argv[1:] if arguments is None else arguments)
    if not 1 <= given.k <= MOST_LOADINGS:
        raise UsageError(f"-k: expected 1 to {MOST_LOADINGS} loadings, got {given.k}")
    chosen = given.chromosome_number is not None, given.chroms is not None, given.genome
    if sum(chosen) != 1:
        raise UsageError("expected one of -c, --chroms and --genome; see --help")
    for option, value in (
        ("-b", given.bw_dir),
        ("-c", given.chromosome_number if chosen[0] else "-"),
        ("--chroms", all(given.chroms or "-")),
    ):
        if not value:
            raise UsageError(f"{option}: expected a name, got nothing; see --help")
    if not chosen[0] and (given.start_pos, given.end_pos) != (None, None):
        raise UsageError("-s, -e: for one chromosome, -c; several are taken whole")
    start, end = given.start_pos or 0, given.end_pos
    if start < 0 or (end is not None and end <= start):
        region = f"{given.chromosome_number}:{start}-{'' if end is None else end}"
        raise UsageError(
            f"-s, -e: {region} holds no position; give 0 <= start < end, the end not included"
        )
    out = given.output_file
    browser = out.lower().endswith(BROWSER_ENDINGS)
    if problem := (
        browser_problem(out, given.k, _named_tracks(given)) if browser else output_problem(out)
    ):
        raise UsageError(f"-o: {problem}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return its exit code: 0, or 2 after one line about bad input."""
    try:
        given = parse_arguments(arguments)
        found = list_tracks(_named_tracks(given), LEFT_OUT)
        said = _whole(given, found) if given.chroms or given.genome else _region(given, found)
    except (UsageError, BigWigError, SignalError, OSError) as error:
        tell(str(error))
        return 2
    except MemoryError as error:
        tell(f"{error}; ask for a shorter region or a smaller -k")
        return 2
    for line in said:
        tell(line)
    return 0


def _named_tracks(given: argparse.Namespace) -> list[str]:
    """Return what -b names: a folder, or several where one is an address."""
    name: str = given.bw_dir
    if "," in name and "://" not in name and not os.path.lexists(name):
        raise UsageError(
            f"-b: {name}: no such file or folder; expected one folder of bigWig files, or "
            "addresses (http, https), with a folder among them, separated by commas"
        )
    return name.split(",") if "://" in name else [name]


def _region(given: argparse.Namespace, found: Found) -> list[str]:
    """Do one region; return what there is to say."""
    chrom, k = given.chromosome_number, given.k
    tracks, absent = with_chromosome(found[0], chrom)
    start, end = whole_region(tracks, chrom, given.start_pos, given.end_pos)
    loadings = compute_loadings(tracks, chrom, start, end, k, PARAMS)
    if given.output_file.lower().endswith(BROWSER_ENDINGS):
        lengths = {chrom: chromosomes(tracks[0])[chrom]}
        with browser_files(given.output_file, k, lengths) as write:
            write(chrom, start, loadings)
    else:
        save_loadings(given.output_file, loadings, PARAMS["dtype"])
    said = [describe_taken(found, absent, chrom, f", {chrom}:{start}-{end}, k {k}")]
    said += describe_doubts(k, list(map(base_name, tracks)), loadings.weights.ravel())
    return said + [CONSTANT] * bool((loadings.values == loadings.values[:, :1]).all())


def _whole(given: argparse.Namespace, found: Found) -> list[str]:
    """Do several chromosomes; return what there is to say."""
    chosen = choose_chromosomes(found[0], given.chroms or ())
    weights, constant = write_genome(chosen, given.k, PARAMS, given.output_file)
    count, size = len(chosen.places), sum(end for _, _, end in chosen.places)
    what = f", {count} chromosome{'s' * (count != 1)}, {size:,} bases, k {given.k}"
    said = [describe_taken(found, chosen.absent, " or ".join(given.chroms or ()), what)]
    if chosen.skipped:
        said.append(describe_skipped(chosen.skipped))
    said += describe_doubts(given.k, list(map(base_name, chosen.tracks)), weights.ravel())
    return said + [CONSTANT] * constant


def run_and_leave() -> None:
    """Run the script and end the process there and then.

    Taking NumPy apart again at the end of a process takes as long as the factorisation.
    """
    code = main()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    os._exit(code)

"""Loadings as tracks of a genome browser: a bigWig or bedGraph file for each."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

import numpy as np

from tuner_plugins.nmf.genome import Receive
from tuner_plugins.nmf.io.bigwig import BigWigError, read_runs
from tuner_plugins.nmf.io.step_functions import Runs, merge_runs
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script.npy import output_problem
from tuner_plugins.nmf.script.placing import BIGWIG_ENDINGS, is_special, put_in_place

_BLOCK = 1 << 16
_INTERVAL_BYTES = 24  # 12, and what summaries at coarser levels add at most
_SLACK = 1 << 24


def browser_names(path: str, k: int) -> list[str]:
    """Return the files of k loadings: ``x.bw`` is ``x.loading0.bw`` and so on, as columns count."""
    stem, ending = os.path.splitext(path)
    return [f"{stem}.loading{number}{ending}" for number in range(k)]


def browser_problem(path: str, k: int, folders: Sequence[str]) -> str | None:
    """Describe in one line why loadings cannot be put at `path`; None where they can.

    `folders` hold the tracks: a bigWig file there would be a track the next time.
    """
    bigwig = path.lower().endswith(BIGWIG_ENDINGS)
    if bigwig and find_spec("pyBigWig") is None:
        return (
            f"{path}: bigWig files are written by pyBigWig, which is not installed; install it "
            "(pip install pyBigWig), or give a name that ends in .bedGraph"
        )
    place = os.path.dirname(os.path.realpath(path))
    if bigwig and place in map(os.path.realpath, folders):
        return f"{path} lies among the tracks and would be one the next time; give another folder"
    for name in browser_names(path, k):
        if is_special(name):
            return f"{name} is no regular file; give another name"
        if problem := output_problem(name, over_bigwig=True):
            return problem
    return None


@contextmanager
def browser_files(path: str, k: int, lengths: Mapping[str, int]) -> Iterator[Receive]:
    """Write k loadings, region by region, as float32; neighbours of equal value are one interval.

    The files appear once all of them are whole.

    Parameters
    ----------
    path : str
        Of `browser_names`; bigWig by its ending, or else bedGraph.
    k : int
        Number of loadings.
    lengths : mapping
        Length of each chromosome, in the order in which their regions are added.

    Raises
    ------
    OSError
        In one line with the path and the reason.
    """
    names = [os.path.realpath(name) for name in browser_names(path, k)]
    parts = [f"{name}.{os.getpid()}.part" for name in names]
    bigwig = path.lower().endswith(BIGWIG_ENDINGS)
    try:
        for part in parts:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with _bigwigs(parts, lengths) if bigwig else _bedgraphs(parts, names) as add:
            yield add
        for part, name in zip(parts, names, strict=True):
            put_in_place(part, name)
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        for part in filter(os.path.exists, parts):
            os.unlink(part)


def _rows(start: int, loadings: Loadings) -> Iterator[Runs]:
    """Return each loading in the precision of the files."""
    for row in loadings.values:
        yield merge_runs(Runs(loadings.ends + start, row.astype(np.float32)))


def _blocks(start: int, runs: Runs) -> Iterator[tuple[list[int], list[int], list[float]]]:
    """Return starts, ends and values of intervals, some at a time."""
    starts = np.concatenate([[start], runs.ends[:-1]])
    for begin in range(0, len(starts), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        yield starts[part].tolist(), runs.ends[part].tolist(), runs.values[part].tolist()


@contextmanager
def _bigwigs(parts: Sequence[str], lengths: Mapping[str, int]) -> Iterator[Receive]:
    import pyBigWig

    last: list[tuple[str, int, float]] = [("", 0, 0.0)] * len(parts)
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(pyBigWig.open(part, "w")) for part in parts]
            for file in files:
                file.addHeader(list(lengths.items()))

            def add(chrom: str, start: int, loadings: Loadings) -> None:
                for number, runs in enumerate(_rows(start, loadings)):
                    _check_room(parts[number], len(runs.ends))
                    for starts, ends, values in _blocks(start, runs):
                        names = [chrom] * len(starts)
                        files[number].addEntries(names, starts, ends=ends, values=values)
                    last[number] = chrom, int(runs.ends[-1]), float(runs.values[-1])

            yield add
        # pyBigWig does not say whether its index, which it writes at the end, is whole
        for part, (chrom, end, value) in zip(parts, last, strict=True):
            if chrom and read_runs(part, chrom, end - 1, end).values[-1] != np.float32(value):
                raise OSError("it does not hold what was written")
    except (RuntimeError, BigWigError) as error:
        raise OSError(str(error)) from error


def _check_room(path: str, intervals: int) -> None:
    """Raise where the disk may not hold so many more: pyBigWig hangs or crashes on a full one."""
    if shutil.disk_usage(os.path.dirname(path)).free < _SLACK + _INTERVAL_BYTES * intervals:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _bedgraphs(parts: Sequence[str], names: Sequence[str]) -> Iterator[Receive]:
    with ExitStack() as stack:
        files = [stack.enter_context(open(part, "w", encoding="utf-8")) for part in parts]
        for file, name in zip(files, names, strict=True):
            title = os.path.splitext(os.path.basename(name))[0].replace('"', "'")
            file.write(f'track type=bedGraph name="{title}"\n')

        def add(chrom: str, start: int, loadings: Loadings) -> None:
            for file, runs in zip(files, _rows(start, loadings), strict=True):
                for block in _blocks(start, runs):
                    lines = (
                        f"{chrom}\t{s}\t{e}\t{v:.9g}\n" for s, e, v in zip(*block, strict=True)
                    )
                    file.writelines(lines)

        yield add

"""The frozen script beside the least that any could do: read the bytes, write the bytes.

    python -m benchmarks.floor [--python PYTHON] [--repeats N] [--scale F] [--json FILE]

The floor is ``python -S`` and a C function that reads the compressed blocks of the region from all
tracks, inflates nothing, and writes as many bytes as the script does. On simulated tracks of the
three graded sizes, the script's kernels in place, for both types of output; the plug-in's defaults.
Each round runs all of them, one after the other, and the ratio is taken within a round.
"""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path
from typing import Any

from tuner_plugins.nmf.io.bigwig_index import Source, find_blocks, find_chromosome, read_header
from tuner_plugins.nmf.params import DEFAULTS

from benchmarks.first_run import compare, empty_cache
from benchmarks.nmf import Size, freeze, script_command
from benchmarks.processes import run_process

SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
static char buffer[1 << 20];
int move_bytes(const char *list, const char *out, long left)
{
    char path[4096];
    long from, to, most = sizeof buffer;
    FILE *lines = fopen(list, "r");
    while (fscanf(lines, "%ld %ld %4095[^\n]", &from, &to, path) == 3) {
        int file = open(path, O_RDONLY);
        for (ssize_t got; from < to; from += got)
            if ((got = pread(file, buffer, to - from < most ? to - from : most, from)) <= 0)
                return 1;
        close(file);
    }
    int file = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    for (ssize_t done; left > 0; left -= done)
        if ((done = write(file, buffer, left < most ? left : most)) <= 0) return 1;
    return close(file);
}
"""

CALL = "import ctypes, sys; sys.exit(ctypes.CDLL({!r}).move_bytes({!r}, {!r}, ctypes.c_long({})))"


def build(work: Path) -> Path:
    """Compile the floor; return the library."""
    source, library = work / "floor.c", work / "floor.so"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def list_blocks(folder: Path, size: Size, path: Path) -> None:
    """Write where each track has the region's blocks: from, to, path."""
    lines = []
    for track in sorted((folder / "tracks").glob("*.bw")):
        with Source(track) as source:
            header = read_header(source)
            chrom, _ = find_chromosome(source, header, size.chrom)
            blocks = find_blocks(source, header, chrom, size.start, size.end)
        ends = blocks["offset"] + blocks["size"]
        lines.append(f"{blocks['offset'].min()} {ends.max()} {track}\n")
    path.write_text("".join(lines))


def rows_of(work: Path, folder: Path, size: Size, python: str, repeats: int) -> list[Any]:
    """Return a row for each type of output."""
    library, blocks, out = build(work), work / "blocks", work / "out.npy"
    list_blocks(folder, size, blocks)
    kept, found = empty_cache(work), []
    for dtype in ("float64", "float32"):
        script = freeze(folder, size, {**DEFAULTS, "dtype": dtype}, work / f"{dtype}.py")
        command = [python, *script_command(script, folder, size, out)[1:]]
        run_process(command, kept, out)
        call = CALL.format(
            str(library), str(blocks).encode(), str(out).encode(), out.stat().st_size
        )
        floor = [python, "-S", "-c", call]
        pairs = [
            (run_process(command, kept, out).wall, run_process(floor, kept, out).wall)
            for _ in range(repeats)
        ]
        ratios = [ours / least for ours, least in pairs]
        ours, least = (statistics.median(column) for column in zip(*pairs, strict=True))
        found.append(
            {
                "what": size.name,
                "dtype": dtype,
                "seconds": ours,
                "floor": least,
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
        )
    return found


if __name__ == "__main__":
    compare(__doc__, rows_of, 9)

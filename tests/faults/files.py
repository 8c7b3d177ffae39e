"""Damage files of every format that is read, and ask `tuner validate` what it makes of them.

The answer is right where the file is read as if nothing were wrong with what matters, or refused in
one line with exit code 2; wrong where it is a traceback, a signal, a hang or many lines.
"""

from __future__ import annotations

import os
import random
import resource
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import yaml

from tests.faults.toll import Toll
from tests.fork import fork_command, wait_for

LIMIT = 60.0
FIRST = 600.0
MEMORY = 6 << 30

Damage = Callable[[bytearray, random.Random], bytes]


def _truncated(content: bytearray, chance: random.Random) -> bytes:
    return bytes(content[: chance.randrange(len(content))])


def _flipped(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 3, 10, 100])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def _start_flipped(content: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 3, 10])):
        content[chance.randrange(min(512, len(content)))] ^= 1 << chance.randrange(8)
    return bytes(content)


def _huge_number(content: bytearray, chance: random.Random) -> bytes:
    """Write an extreme number over a random place: a count, an offset, a length that lies."""
    number = chance.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
    place = chance.randrange(max(1, min(4096, len(content) - 8)))
    content[place : place + 8] = struct.pack("<Q", number)
    return bytes(content)


def _repeated(content: bytearray, chance: random.Random) -> bytes:
    """Copy a part of the file over another: indexes that lead to themselves among it."""
    size = chance.choice([8, 64, 512])
    source, target = chance.randrange(len(content)), chance.randrange(len(content))
    content[target : target + size] = content[source : source + size]
    return bytes(content)


def _inserted(content: bytearray, chance: random.Random) -> bytes:
    piece = chance.choice([b"\0", b"\xff\xfe", b"\n" * 50, b"9" * 5000, b"\t\t\t", b"[" * 3000])
    place = chance.randrange(len(content))
    return bytes(content[:place] + piece + content[place:])


def _foreign(content: bytearray, chance: random.Random) -> bytes:
    starts = [b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"BBM\x92", b"#!/bin/sh\n"]
    return chance.choice(starts) + chance.randbytes(chance.randrange(300))


DAMAGES: tuple[Damage, ...] = (
    _truncated,
    _flipped,
    _start_flipped,
    _huge_number,
    _repeated,
    _inserted,
    _foreign,
)


def genes_in_bed(folder: Path) -> str:
    """Write the lines of a BED file of genes."""
    lines = (f"chr21\t{s}\t{s + 4000}\tgene{s}\t0\t+" for s in range(50_000, 150_000, 9000))
    return "\n".join(lines) + "\n"


def genes_in_gtf(folder: Path) -> str:
    """Write the lines of a GTF file of genes."""
    name = 'gene_id "G{s}"; gene_name "N{s}";'
    lines = (
        f"chr21\tsim\tgene\t{s}\t{s + 4000}\t.\t+\t.\t" + name.format(s=s)
        for s in range(50_000, 150_000, 9000)
    )
    return "\n".join(lines) + "\n"


def targets(folder: Path) -> Mapping[str, tuple[Path, Path]]:
    """Make good inputs below `folder`; return of each format the file and the configuration."""
    from anndata import read_h5ad
    from tuner_plugins.elasticnet.plugin import ElasticNetPlugin
    from tuner_plugins.nmf.plugin import NmfPlugin

    nmf = {"plugin": "nmf", **NmfPlugin.tiny(folder)}
    bed, gtf, gmt = folder / "genes.bed", folder / "genes.gtf", folder / "sets.gmt"
    bed.write_text(genes_in_bed(folder))
    gtf.write_text(genes_in_gtf(folder))
    screen = {"plugin": "elasticnet", **ElasticNetPlugin.tiny(folder)}
    genes = list(read_h5ad(screen["data"]["counts"], backed="r").var_names)
    sets = [["one", "none", *genes[:20]], ["two", "none", *genes[20:60]]]
    gmt.write_text("".join("\t".join(line) + "\n" for line in sets))
    track = sorted((folder / "tracks").glob("*.bw"))[0]
    counts = Path(screen["data"]["counts"])

    def written(name: str, sections: Mapping[str, object]) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**sections, "tracking": {"enabled": False}}))
        return path

    data = nmf["data"]
    of_tracks = written("tracks", nmf)
    return {
        "bigWig track": (track, of_tracks),
        "bigWig annotation": (Path(data["annotation"]), of_tracks),
        "BED": (bed, written("bed", {**nmf, "data": {**data, "annotation": str(bed)}})),
        "GTF": (gtf, written("gtf", {**nmf, "data": {**data, "annotation": str(gtf)}})),
        "h5ad": (counts, written("counts", screen)),
        "GMT": (gmt, written("gmt", {**screen, "analysis": {"gene_sets": str(gmt)}})),
        "YAML": (of_tracks, of_tracks),
    }


def validate(config: Path, said: Path, limit: float = LIMIT) -> int | None:
    """Run `tuner validate` in a fork; return its exit code, None where it hangs."""
    child = fork_command(
        *("validate", str(config)),
        folder=Path.cwd(),
        output=(os.devnull, str(said)),
        environment=os.environ,
        prepare=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    return wait_for(child, limit)


def damaged_files(kind: str, folder: Path, seed: int, count: int) -> Toll:
    """Damage a file of the format `kind` that often, one damage at a time."""
    folder = folder / kind
    folder.mkdir(parents=True)
    toll, said = Toll(), folder / "said.txt"
    path, config = targets(folder)[kind]
    good = path.read_bytes()
    code = validate(config, said, FIRST)  # kernels may be compiled
    assert code == 0, f"{kind}: {code}: {said.read_text()}"
    for number in range(count):
        chance = random.Random(f"{seed} {kind} {number}")
        damage = chance.choice(DAMAGES)
        bad = damage(bytearray(good), chance)
        path.write_bytes(bad)
        toll.injected += bad != good
        what = f"{kind} {damage.__name__} seed {seed} number {number}"
        _judge(toll, what, validate(config, said), said.read_text(errors="replace"))
    return toll


FORMATS = ("bigWig track", "bigWig annotation", "BED", "GTF", "h5ad", "GMT", "YAML")
BY_FORMAT = {kind: partial(damaged_files, kind) for kind in FORMATS}


def _judge(toll: Toll, what: str, code: int | None, text: str) -> None:
    if code is None:
        toll.harm("hung", what)
    elif code not in (0, 2) or "Traceback" in text:
        toll.harm("misreported", f"{what}: exit code {code}: {text[-300:]!r}")
    elif code == 2:
        lines = [line for line in text.splitlines() if line.startswith("tuner: ")]
        if len(lines) != 1 or len(text.splitlines()) != 1:
            toll.harm("misreported", f"{what}: {len(text.splitlines())} lines: {text[-300:]!r}")

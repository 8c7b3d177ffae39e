"""Damaged files: each is read to what it holds, or refused in one line; none kills or hangs."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse
from tuner_plugins.perturbseq.data import probing
from tuner_plugins.perturbseq.data.forms import parts_of
from tuner_plugins.perturbseq.data.matrix import open_cells
from tuner_plugins.perturbseq.data.stored import CellsError

from tests.perturbseq.data.damage import counts_of, oracle_of, put, write_base

ROOT = Path(__file__).parents[3]


def inside(change):
    def apply(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def at(name, place, value):
    return inside(lambda file: file[name].__setitem__(place, value))


def at_cell(file):
    """Return where the names of cells are: in a group, where some may be missing."""
    return "obs/_index/values" if "values" in file["obs/_index"] else "obs/_index"


def replaced(name, value, **options):
    return inside(lambda file: put(file, name, value, **options))


def attribute(name, key, value):
    def change(file):
        del file[name].attrs[key]
        if value is not None:
            file[name].attrs[key] = value

    return inside(change)


def link(name, target):
    def change(file):
        del file[name]
        file[name] = target

    return inside(change)


def elsewhere(path):
    """Keep the values of X/data in a file beside it."""
    beside = path.with_name("values.bin")
    with h5py.File(path, "r+") as file:
        values, attributes = file["X/data"][:], dict(file["X/data"].attrs)
        beside.write_bytes(values.tobytes())
        del file["X/data"]
        where = [(str(beside), 0, values.nbytes)]
        made = file["X"].create_dataset("data", values.shape, values.dtype, external=where)
        made.attrs.update(attributes)


def virtual(path):
    with h5py.File(path, "r+") as file:
        values = file["X/data"]
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[:] = h5py.VirtualSource("/etc/hostname", "data", values.shape)
        del file["X/data"]
        file["X"].create_virtual_dataset("data", layout)


def through_a_soft_link(path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["X"] = np.ones((60, 12))
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["away"] = h5py.ExternalLink(str(other), "/")
        file["X"] = h5py.SoftLink("/away/X")


def bomb(path):
    with h5py.File(path, "r+") as file:
        attributes = dict(file["obs/pct_counts_mt"].attrs)
        del file["obs/pct_counts_mt"]
        made = file.create_dataset("obs/pct_counts_mt", (10**12,), "f8", chunks=(10**4,))
        made.attrs.update(attributes)


def lacking(path):
    """Leave out the chunk with the last values, as a writer that was killed might."""
    with h5py.File(path, "r+") as file:
        values, attributes = file["X/data"][:], dict(file["X/data"].attrs)
        del file["X/data"]
        made = file["X"].create_dataset("data", values.shape, values.dtype, chunks=(100,))
        made[:600] = values[:600]
        made.attrs.update(attributes)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def truncated(share):
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


REFUSED = {
    **{f"truncated to {share}": (truncated(share), "is it whole") for share in (0, 0.01, 0.5, 0.9)},
    "folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "pipe": (fifo, "is a device, a pipe or a socket"),
    "text": (lambda path: path.write_bytes(b"hello"), "is no HDF5 file"),
    **{
        f"count {value}": (at("X/data", 5, value), "does not hold counts: cell 'cell0'")
        for value in (-1.0, np.nan, np.inf, 0.5, 1e30, 1e-40)
    },
    **{
        f"column {value}": (at("X/indices", 5, value), f"stands in column {value} of 12")
        for value in (12, 10**6, -5, -(10**8))
    },
    "column beyond 32 bits": (
        inside(lambda file: put(file, "X/indices", file["X/indices"][:].astype("i8") + 2**32)),
        "stands in column",
    ),
    "columns repeat": (at("X/indices", slice(0, 3), 2), "values that stand where others"),
    "columns as text": (
        inside(lambda file: put(file, "X/indices", file["X/indices"][:].astype("S4"))),
        "indices holds .S4, expected integers",
    ),
    "pointers fall": (at("X/indptr", 10, 0), "pointers do not ascend"),
    "unsigned pointers fall": (
        inside(
            lambda file: put(
                file,
                "X/indptr",
                np.where(np.arange(61) == 9, 10**7, file["X/indptr"][:]),
                dtype="u8",
            )
        ),
        "pointers do not ascend",
    ),
    "pointers past the end": (at("X/indptr", 60, 10**7), "do not lead from 0"),
    "pointers below zero": (at("X/indptr", 3, -7), "do not ascend"),
    "pointers past the end in the middle": (at("X/indptr", 30, 10**7), "do not ascend"),
    "pointers are fractions": (
        inside(lambda file: put(file, "X/indptr", file["X/indptr"][:].astype("f8"))),
        "indptr holds float64, expected integers",
    ),
    "values as text": (
        inside(lambda file: put(file, "X/data", file["X/data"][:].astype("S4"))),
        "X holds .S4; expected counts",
    ),
    "values of the other byte order": (
        inside(lambda file: put(file, "X/data", file["X/data"][:].astype(">f4"))),
        "X holds >f4, numbers of the other byte order",
    ),
    "values complex": (
        inside(lambda file: put(file, "X/data", file["X/data"][:].astype(complex))),
        "X holds complex128",
    ),
    "values short": (
        inside(lambda file: put(file, "X/data", file["X/data"][:-9])),
        "values and .* indices",
    ),
    "values are one number": (replaced("X/data", 3.0), "data is no list"),
    "values lack a part": (lacking, "X/data lacks a part of its values"),
    "shape lies": (attribute("X", "shape", np.array([60, 10**9])), "there are 60 cells and 12"),
    "shape of other rows": (attribute("X", "shape", np.array([10**9, 12])), "do not lead from"),
    "shape negative": (attribute("X", "shape", np.array([-1, 12])), "do not lead from"),
    "shape of three": (attribute("X", "shape", np.array([60, 12, 1])), "of shape"),
    "shape missing": (attribute("X", "shape", None), "it has no shape"),
    "kind unknown": (attribute("X", "encoding-type", "coo_matrix"), "called 'coo_matrix'"),
    "table of another kind": (attribute("obs", "encoding-type", "dict"), "is it whole"),
    "table of no kind": (attribute("obs", "encoding-type", np.bytes_(b"dat\xff")), "is it whole"),
    "no obs": (inside(lambda file: file.__delitem__("obs")), "it has no 'obs'"),
    "no labels": (inside(lambda file: file.__delitem__("obs/perturbation")), "is it whole"),
    "code too large": (at("obs/perturbation/codes", 0, 99), "is it whole"),
    "code -1": (at("obs/perturbation/codes", 0, -1), "1 cells without a perturbation"),
    "code -50": (at("obs/perturbation/codes", 0, -50), "is it whole"),
    "cells of one name": (
        inside(lambda file: file[at_cell(file)].__setitem__(1, "cell0")),
        "two cells are called 'cell0'",
    ),
    "fewer names": (
        inside(lambda file: put(file, at_cell(file), file[at_cell(file)][:-1])),
        "is it whole",
    ),
    "X of one dimension": (link("X", np.ones(60)), "there are 60 cells and 12 genes"),
    "X of text": (link("X", np.full((60, 12), b"q")), "X holds .S1"),
    "X of nothing": (link("X", h5py.Empty("f4")), "X holds no matrix"),
    "link to another file": (link("X", h5py.ExternalLink("/etc/passwd", "/X")), "not followed"),
    "soft link to another file": (through_a_soft_link, "not followed"),
    "link in a circle": (link("X", h5py.SoftLink("/X")), "is it whole"),
    "values in another file": (elsewhere, "keeps its values in other files"),
    "values of another HDF5": (virtual, "keeps its values in other files"),
    "column of 8 terabytes": (bomb, "claims 8000000000000 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_damaged_is_refused_in_one_line(tmp_path, kind):
    change, message = REFUSED[kind]
    path = tmp_path / "screen.h5ad"
    write_base(path)
    change(path)
    with pytest.raises(CellsError, match=message) as error:
        counts_of(path)
    assert str(error.value).isprintable()
    assert str(path) in str(error.value) or kind == "code -1"


def dense(file):
    values = file["X/data"][:], file["X/indices"][:], file["X/indptr"][:]
    del file["X"]
    file["X"] = sparse.csr_matrix(values).toarray().astype("i8")


def moved(file):
    """Let X be a name of what stands elsewhere in the file, as HDF5 allows."""
    file.move("X", "uns/other")
    file["X"] = h5py.SoftLink("/uns/other")


READ = {
    "whole": lambda file: None,
    "dense integers": dense,
    "soft link": moved,
    "wide indices": lambda file: put(file, "X/indices", file["X/indices"][:].astype("u8")),
    "double": lambda file: put(file, "X/data", file["X/data"][:].astype("f8")),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_unusual_and_whole_is_read_as_anndata_reads_the_usual(tmp_path, kind):
    path = tmp_path / "screen.h5ad"
    write_base(path)
    expected = oracle_of(path)
    inside(READ[kind])(path)
    counts, groups = counts_of(path)
    np.testing.assert_array_equal(counts, expected[0])
    assert groups == expected[1]


DIES = "def read_parts(*arguments):\n    os.kill(os.getpid(), 11)\n"


def test_a_reader_that_dies_is_one_line_and_is_asked_again(tmp_path, monkeypatch):
    """What kills HDF5 depends on its version; here the reader's own process gets the signal."""
    path = tmp_path / "screen.h5ad"
    write_base(path)
    with monkeypatch.context() as patched:
        patched.setattr(probing, "READER", DIES)
        for _ in range(2):
            with pytest.raises(CellsError, match="ended a process by signal 11.*copy it again"):
                open_cells(path)
    assert open_cells(path).matrix.shape == (60, 12)


def test_a_file_is_tried_once_in_each_state(tmp_path, monkeypatch):
    path = tmp_path / "screen.h5ad"
    write_base(path)
    open_cells(path)
    with monkeypatch.context() as patched:
        patched.setattr(probing, "READER", DIES)
        open_cells(path)
        probing.probe(path, parts_of(None), whole=True)
        os.utime(path, ns=(1, 1))
        with pytest.raises(CellsError, match="signal 11"):
            open_cells(path)


def test_a_matrix_beyond_the_budget_is_looked_at_but_not_read(tmp_path, monkeypatch):
    """Damage in the values themselves is met when they are read, and is one line there."""
    path = tmp_path / "screen.h5ad"
    write_base(path, "gzip")
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    whole = bytearray(path.read_bytes())
    whole[chunk.byte_offset : chunk.byte_offset + 99] = bytes(99)
    path.write_bytes(whole)
    with monkeypatch.context() as patched:
        patched.setattr(probing, "BUDGET", 64)
        cells = open_cells(path)
    with pytest.raises(CellsError, match="cannot be read as .h5ad"):
        list(cells.matrix.blocks(np.arange(60)))
    os.utime(path, ns=(1, 1))
    with pytest.raises(CellsError, match="cannot be read as .h5ad"):
        open_cells(path)


def flips(folder: Path, seed: int, count: int) -> Counter[str]:
    command = [sys.executable, "-m", "tests.perturbseq.data.damage", str(folder)]
    found = subprocess.run(
        [*command, str(seed), str(count)], capture_output=True, text=True, cwd=ROOT
    )
    lines = found.stdout.splitlines()
    assert not found.returncode, f"after {lines[-1:]}: {found.returncode} {found.stderr[-2000:]}"
    answers = Counter(line.split()[1] for line in lines)
    assert answers.total() == count
    return answers


def test_random_flips_are_read_rightly_or_refused(tmp_path):
    answers = flips(tmp_path, 0, 12)
    assert answers["refused"]
    assert answers["same"]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_random_flips_for_ten_minutes(tmp_path):
    """Three thousand files take more than 10 minutes of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answers = flips(tmp_path, 1000, 3000)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(answers, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "s")
    assert answers["refused"] > 300
    assert answers["same"] > 300

"""The stand-alone script: which modules it is made of, and what of a setting it costs to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tuner.export.bundle import Quick, bundle
from tuner.export.provenance import provenance_head
from tuner.plugin import Params, Provenance, Value
from tuner_plugins import code_cache, kernel_folder
from tuner_plugins.genome_tables import names
from tuner_plugins.nmf import genome, pipeline, streaming
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import Kernels
from tuner_plugins.nmf.io import (
    bigwig,
    bigwig_blocks,
    bigwig_index,
    folder,
    regions,
    remote,
    step_functions,
    tracks,
)
from tuner_plugins.nmf.kernels import build, carried, carry, fast_path, parallel, sources
from tuner_plugins.nmf.model import (
    binning,
    factorize,
    products,
    prox_tv,
    prox_tv_numba,
    signal,
    start,
)
from tuner_plugins.nmf.script import browser, fast_main, main, npy, placing, whole

SCRIPT_MODULES = (
    *(
        products,
        prox_tv_numba,
        prox_tv,
        step_functions,
        bigwig_blocks,
        names,
        regions,
        remote,
        bigwig_index,
        bigwig,
        tracks,
    ),
    *(start, factorize, signal, binning, pipeline, streaming, genome, npy, browser, whole, main),
)
"""What the frozen script is made of, beside its quick path: each after what it needs."""

LOADER_MODULES = (kernel_folder, code_cache)
"""What loads the quick path."""

QUICK_MODULES = (carried, build, parallel, folder, placing, fast_path, fast_main)
"""The quick path: as little as the usual case needs."""

SCRIPT_DEPENDENCIES = ("numpy>=1.22", "numba>=0.57")

_BEFORE_NUMPY = """import gc
import os

gc.disable()  # imports make no garbage, and looking for it takes a tenth of their time
for _library in ("OPENBLAS", "MKL"):  # starting their threads costs more than they give here
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
"""

NARROW = 100
"""Bases a bin below which a long region may be too much for the quick path."""


class Script(NamedTuple):
    """What a script is made from.

    Attributes
    ----------
    setting, shown : mapping
        What it runs with, and what it says of that.
    left_out : mapping
        Files that are never tracks: see `folder.LEFT_OUT`.
    kernels : {"both", "source", "binary"}
        See `tuner_plugins.nmf.config.ExportSection`.
    """

    setting: Params
    shown: Mapping[str, object]
    left_out: Mapping[str, tuple[int, str]]
    kernels: Kernels = "both"


def write_script(made: Script, path: Path, provenance: Provenance) -> None:
    """Write ``assign2.py`` to `path`; the last two as `tuner.plugin.Plugin.freeze` takes them."""
    kept = {name: value for name, value in made.setting.items() if name != "implementation"}
    quick = fast_path.quick_levels(made.setting) is not None
    library = {} if made.kernels == "source" or not quick else carry.make_carried()
    source = made.kernels != "binary" or not library
    summary = (
        "Factorise bigWig tracks into loadings along the genome and weights of the tracks.\n\n"
        "    assign2.py -b DIR -c chr10 -s START -e END -k K -o OUT.npy\n"
        "    assign2.py -b DIR --genome -k K -o OUT.bw  (and more: --help)"
    )
    if library and source:
        summary += "\n    assign2.py --rebuild ...  (checks the library against the C source)"
    kinds = [f"library by {library['compiler']}"] if library else []
    summary += f"\n\nKernels: {', '.join([*kinds, 'C source'][: len(kinds) + source])}"
    if made.left_out:
        names = ", ".join(name.removeprefix("./") for name in made.left_out)
        summary += f"\n\nNever taken as a track (the annotation of the study): {names}"
    text = bundle(
        SCRIPT_MODULES,
        {
            "PARAMS": kept,
            "LEFT_OUT": dict(made.left_out),
            "KERNEL_FILES": sources.KERNEL_FILES if source else {},
            "BUILD": sources.BUILD if source else "",
            "CARRIED": library,
            "PLAIN": sources.PLAIN,
        },
        provenance_head(summary, made.shown, provenance),
        SCRIPT_DEPENDENCIES,
        "run_and_leave()",
        Quick(QUICK_MODULES, "run_quick_and_leave(sys.argv[1:])", _BEFORE_NUMPY, LOADER_MODULES),
    )
    path.write_text(text, encoding="utf-8")


def kernel_notes(kernels: Kernels) -> Sequence[str]:
    """Return that a script made here carries no compiled kernels, and why, where it should."""
    reason = "" if kernels == "source" else carry.why_not()
    told = f"the script carries its C source alone, which its first run compiles: {reason}"
    return [told] if reason else []


def cost_params(params: Params) -> Params:
    """Return what decides whether the script needs NumPy, and how much it writes.

    As `tuner.plugin.Plugin.cost_params`. The quick path decides by the size of a problem as well;
    what stands for narrow bins is left to it in short regions and beyond it in long ones.
    """
    usual: dict[str, Value] = {name: nmf_params.DEFAULTS[name] for name in ("start", "resolution")}
    size = {"dtype": params["dtype"]}
    if params["implementation"] == "reference":
        return usual | size
    widths = fast_path.quick_levels(params)
    if widths is None:
        return usual | size | {"start": "random"}
    if min(widths) < NARROW:
        usual["resolution"] = NARROW // 2
    return usual | size | {"start": params["start"]}

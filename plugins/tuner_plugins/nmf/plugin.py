"""The plug-in: fused-lasso NMF of genome tracks, scored by a gene annotation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuner.plugin import (
    Case,
    Cases,
    Draft,
    InputError,
    Params,
    Plugin,
    Provenance,
    Result,
)
from tuner_plugins.nmf import genome, pipeline
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.cases import CaseInput
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.inputs import Inputs
from tuner_plugins.nmf.io import bigwig
from tuner_plugins.nmf.io.annotation import AnnotationError
from tuner_plugins.nmf.io.regions import parse_region
from tuner_plugins.nmf.io.remote import is_remote, open_remote
from tuner_plugins.nmf.kernels import build
from tuner_plugins.nmf.model import correlation, null, reference
from tuner_plugins.nmf.model import signal as model_signal
from tuner_plugins.nmf.model.factorize import Loadings
from tuner_plugins.nmf.script import browser, command_line, write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution

_INPUT_ERRORS = (bigwig.BigWigError, model_signal.SignalError, AnnotationError)


class NmfPlugin(Plugin[NmfConfig]):
    """Fused-lasso non-negative matrix factorisation of bigWig tracks.

    Metrics, over the k loadings of a case: ``r``, the largest Pearson correlation with the
    annotation; ``r_abs``, the largest absolute one. ``data.correlation`` says which is primary.
    """

    name = "nmf"
    Config = NmfConfig
    metrics = {"r": "maximize", "r_abs": "maximize"}
    meanings = {
        "r": "largest Pearson correlation, over bases, of a loading with the genes",
        "r_abs": "largest absolute Pearson correlation, over bases, of a loading with the genes",
    }
    about = nmf_params.ABOUT
    afterwards = ("export",)

    @property
    def primary(self) -> str:
        """Return the correlation that ``data.correlation`` asks for."""
        return "r_abs" if self.config.data.correlation == "abs" else "r"

    def search_space(self) -> Mapping[str, BaseDistribution]:
        """Return the parameters that are worth tuning; see `tuner_plugins.nmf.params`."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        return {
            "num_iter": IntDistribution(1, 50, log=True),
            "l2penalty": FloatDistribution(1e-2, 100, log=True),
            "fl_lambda": FloatDistribution(0.1, 3000, log=True),
            "resolution": IntDistribution(1, nmf_params.LARGEST_BIN, log=True),
            "loadings_resolution": CategoricalDistribution((0, 1, 25, 100)),
            "transform": CategoricalDistribution(nmf_params.CHOICES["transform"]),
            "scaling": CategoricalDistribution(nmf_params.CHOICES["scaling"]),
            "start": CategoricalDistribution(nmf_params.CHOICES["start"]),
            "tolerance": FloatDistribution(0.0, 0.1),
            "dtype": CategoricalDistribution(nmf_params.CHOICES["dtype"]),
        }

    def defaults(self) -> Params:
        """Return a setting that is good on real tracks."""
        return nmf_params.DEFAULTS

    def baseline(self) -> Params:
        """Return the scaffold's setting, run by its plain implementation.

        Over several chromosomes that would hold every base of every track: there it runs in bins.
        """
        return nmf_params.GENOME_BASELINE if self._over_genomes else nmf_params.BASELINE

    def check(self, params: Params) -> None:
        """Raise `InputError` where `params` cannot be run."""
        problem = nmf_params.setting_problem(params)
        if not problem:
            with _input_errors():
                problem = self._inputs.bin_problem(params)
        if problem:
            raise InputError(problem)

    def inputs(self) -> Sequence[Path]:
        """Return tracks and annotations; raise `InputError` where one lacks a region."""
        found: dict[Path, None] = {}
        with _input_errors():
            for case in [*self._inputs.tuned, *self._inputs.held_out]:
                found.update(dict.fromkeys(map(_local, case.tracks)))
                found[case.annotation_path] = None
        return tuple(found)

    def notes(self) -> Sequence[str]:
        """Return what is taken, what is left out, and which tracks give the answer away."""
        with _input_errors():
            binned = [nmf_params.GENOME_BASELINE_NOTE] * self._over_genomes
            return [*self._inputs.notes(), *binned, *write.kernel_notes(self.config.export.kernels)]

    def load(self) -> Cases:
        """Read the annotations, and get the kernels compiled; tracks are read on the clock."""
        build.load_kernels()
        build.load_kernels(quick=True)
        with _input_errors():
            tuned = [Case(case.section.label, case) for case in self._inputs.tuned]
            held_out = [Case(case.section.label, case) for case in self._inputs.held_out]
        return Cases(tuned, held_out)

    def warm_up(self, params: Params) -> None:
        """Import and compile what the reference needs; the fast path compiles in `load`."""
        if params["implementation"] == "reference":
            reference.warm_up()

    def run(self, case: Case, params: Params, seed: int) -> Loadings:
        """Read the tracks and factorise them.

        Random starts take the parameter ``seed``, so that the frozen script gives the same loadings
        without knowing of a study; the engine's `seed` is not used.
        """
        data: CaseInput = case.data
        if params["implementation"] == "reference":
            return _run_reference(data, params)
        setting = self._setting(params)
        with _input_errors():
            if len(data.places) > 1:
                return genome.genome_loadings(data.tracks, data.places, data.k, setting)
            return pipeline.compute_loadings(data.tracks, *data.region, data.k, setting)

    def score(self, case: Case, output: Loadings) -> Mapping[str, float]:
        """Correlate the loadings with the annotation."""
        found = correlation.annotation_correlations(output, case.data.genes)
        return {
            "r": correlation.best_correlation(found),
            "r_abs": correlation.best_correlation(found, absolute=True),
        }

    def null_metrics(self, case: Case, output: Loadings, seed: int, count: int) -> Sequence[float]:
        """Return the primary correlation with the annotation shifted circularly by chance."""
        data: CaseInput = case.data
        shifts = null.draw_shifts(output.size, count, seed)
        found = null.shifted_correlations(output, data.genes, shifts)
        if self.config.data.correlation == "abs":
            found = np.abs(found)
        return [float(value) for value in found.max(axis=1)]

    def figures(self, results: Sequence[Result]) -> Mapping[str, Figure]:
        """Draw each case: genes, loadings along the genome, weights of the tracks, correlations."""
        from tuner_plugins.nmf.figures import draw_case

        return {f"loadings_{result.case.name}": draw_case(result) for result in results}

    def tables(self, results: Sequence[Result]) -> Mapping[str, pd.DataFrame]:
        """Return weights and correlation of every loading of every case."""
        from tuner_plugins.nmf.figures import tabulate_weights

        return {"weights": tabulate_weights(results)}

    def files(self, results: Sequence[Result], folder: Path) -> None:
        """Write the loadings for a genome browser: bigWig, or bedGraph where there is no writer."""
        ending = ".bw" if find_spec("pyBigWig") else ".bedGraph"
        for result in results:
            data: CaseInput = result.case.data
            known = bigwig.chromosomes(data.tracks[0])
            lengths = {chrom: known[chrom] for chrom, _, _ in data.places}
            path = str(folder / f"loadings_{result.case.name}{ending}")
            with browser.browser_files(path, data.k, lengths) as write_track:
                for place, loadings in genome.split_loadings(result.output, data.places):
                    write_track(*place[:2], loadings)

    def cost_params(self, params: Params) -> Params:
        """Return what decides whether the script needs NumPy, and how much it writes."""
        return write.cost_params(params)

    def freeze(self, params: Params, path: Path, provenance: Provenance) -> None:
        """Write ``assign2.py``: the same modules, with `params` as constants."""
        with _input_errors():
            left_out = self._inputs.left_out()
        made = write.Script(self._setting(params), params, left_out, self.config.export.kernels)
        write.write_script(made, path, provenance)

    def command(self, case: Case, script: Path, output: Path) -> Sequence[str]:
        """Return the script's command line."""
        return command_line.command(case.data, script, output)

    def read_output(self, case: Case, output: Path) -> Loadings:
        """Return the loadings that the script wrote."""
        return command_line.read_output(output)

    def usage(self, path: Path) -> tuple[Sequence[str], str]:
        """Return the script's command line for the first case, and what it needs."""
        return command_line.usage(self.config.data, path)

    def freeze_baseline(self, path: Path) -> None:
        """Write a script that runs the scaffold, filled in plainly.

        It imports the scaffold, whose kernel is compiled already: no compile is on the clock.
        """
        if self._over_genomes:
            super().freeze_baseline(path)
            return
        path.write_text(
            "from tuner_plugins.nmf.script.scaffold import main\n\nmain()\n", encoding="utf-8"
        )

    @classmethod
    def draft(cls, folder: Path) -> Draft | None:
        """Return a configuration for a user's files: see `tuner_plugins.nmf.draft`."""
        from tuner_plugins.nmf.draft import draft_for

        return draft_for(folder)

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Simulate three tracks over 100 kb below `folder`."""
        from tuner_plugins.nmf.simulate.tracks import simulate_tracks

        simulate_tracks(folder, seed=2, tracks=3, layout={"chr21": (200_000, 50_000, 150_000)})
        return {
            "data": {
                "bigwigs": str(folder / "tracks"),
                "annotation": str(folder / "Annotation.Gene.bw"),
                "cases": [{"region": "chr21:50000-110000", "k": 2}],
                "held_out": [{"region": "chr21:110000-150000", "k": 2}],
            }
        }

    def _setting(self, params: Params) -> dict[str, Any]:
        """Add what the configuration decides; the baseline's gaps are 0, as in the scaffold."""
        plain = params["implementation"] == "reference"
        return {**params, "nan": "zero" if plain else self.config.data.nan}

    @cached_property
    def _over_genomes(self) -> bool:
        """Whether a case is several chromosomes; not so before there is a configuration."""
        if not hasattr(self, "config"):
            return False
        data = self.config.data
        cases = [*data.cases, *data.held_out]
        return any(parse_region(case.region).several is not None for case in cases)

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self.config.data)


def _local(track: str) -> Path:
    """Return a track's file, or for a remote one a file that says which version is read."""
    return Path(open_remote(track).stamp if is_remote(track) else track)


def _run_reference(data: CaseInput, params: Params) -> Loadings:
    parts = [reference.read_per_base(data.tracks, *place) for place in data.places]
    signal = np.concatenate(parts) if len(parts) > 1 else parts[0]
    first = reference.start_weights(signal, data.k, str(params["start"]), int(params["seed"] or 0))
    loadings, weights = reference.factorize_per_base(
        signal,
        first,
        int(params["num_iter"] or 1),
        float(params["l2penalty"] or 0),
        float(params["fl_lambda"] or 0),
    )
    return Loadings(loadings.T, np.arange(1, len(loadings) + 1), weights)


@contextmanager
def _input_errors() -> Iterator[None]:
    """Turn what the readers say of bad files into the engine's error."""
    try:
        yield
    except _INPUT_ERRORS as error:
        raise InputError(str(error)) from error

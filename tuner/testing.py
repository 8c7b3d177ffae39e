"""Contract tests: what every plug-in must hold. Subclass `PluginContract` in a test module.

::

    class TestMine(PluginContract):
        plugin_class = MyPlugin
"""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from tuner.config.space import build_space
from tuner.execution.jobs import Setup, TrialJob
from tuner.execution.runner import Bench
from tuner.export.bundle import write_script
from tuner.plugin import Params, Plugin, Provenance
from tuner.records import Trial


class PluginContract:
    """Tests of the protocol on the plug-in's own tiny instance.

    Attributes
    ----------
    plugin_class : type of Plugin
        What to test. It must be registered under its name.
    """

    plugin_class: ClassVar[type[Plugin[Any]]]

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, tmp_path_factory: pytest.TempPathFactory) -> Plugin[Any]:
        """Return an instance on the tiny case."""
        sections = cls.plugin_class.tiny(tmp_path_factory.mktemp("tiny"))
        return cls.plugin_class(cls.plugin_class.Config.model_validate(dict(sections)))

    @pytest.fixture(scope="class")
    @classmethod
    def setup(cls, plugin: Plugin[Any]) -> Setup:
        """Return what a worker would get."""
        sections = plugin.config.model_dump(mode="json")
        return Setup(cls.plugin_class.name, json.loads(json.dumps(sections)))

    def test_names_are_declared(self, plugin: Plugin[Any]) -> None:
        """Name, metrics and search space are there, and the whole space can be run."""
        assert plugin.name
        assert plugin.primary in plugin.metrics
        assert set(plugin.metrics.values()) <= {"maximize", "minimize"}
        assert not {"score", "time", "speedup"} & set(plugin.metrics)
        assert set(build_space(plugin, None).searched) == set(plugin.search_space())

    def test_unknown_keys_are_refused(self, plugin: Plugin[Any]) -> None:
        """A misspelt section is an error, not ignored."""
        sections = {**plugin.config.model_dump(mode="json"), "no_such_section": 1}
        with pytest.raises(ValueError, match="no_such_section"):
            self.plugin_class.Config.model_validate(sections)

    def test_defaults_and_baseline_name_every_parameter(self, plugin: Plugin[Any]) -> None:
        """Both are whole settings that the plug-in itself accepts."""
        defaults = plugin.defaults()
        assert set(plugin.search_space()) <= set(defaults)
        plugin.check(defaults)
        baseline = plugin.baseline()
        if baseline is not None:
            assert set(baseline) == set(defaults)
            plugin.check(baseline)

    def test_fixed_costs_have_a_setting_each(self, plugin: Plugin[Any]) -> None:
        """What stands for a setting in fixed costs can be run, and stands for itself."""
        defaults = dict(plugin.defaults())
        settings = [defaults, dict(plugin.baseline() or defaults)]
        for name, dist in plugin.search_space().items():
            if isinstance(dist, CategoricalDistribution):
                settings += [{**defaults, name: value} for value in dist.choices]
            elif isinstance(dist, FloatDistribution | IntDistribution):
                settings += [{**defaults, name: value} for value in (dist.low, dist.high)]
        for params in settings:
            found = plugin.cost_params(params)
            assert set(found) <= set(defaults)
            plugin.check({**defaults, **found})
            assert plugin.cost_params({**defaults, **found}) == found

    def test_inputs_exist(self, plugin: Plugin[Any]) -> None:
        """The data fingerprint can be made."""
        assert all(path.exists() for path in plugin.inputs())

    def test_settings_run_and_score(self, setup: Setup, plugin: Plugin[Any]) -> None:
        """Defaults and baseline run on every case with finite metrics, twice the same.

        Those that are noisy may differ.
        """
        noisy = dict.fromkeys(plugin.noisy, 0.0)
        bench = Bench(setup)
        for params in filter(None, (plugin.defaults(), plugin.baseline())):
            first, again = (bench.trial(_job(params), lambda cases: True) for _ in range(2))
            assert [case.name for case in first.cases] == bench.names
            for case, repeat in zip(first.cases, again.cases, strict=True):
                assert set(case.metrics) >= set(plugin.metrics)
                assert all(map(math.isfinite, case.metrics.values()))
                assert {**case.metrics, **noisy} == {**repeat.metrics, **noisy}
                assert case.seconds > 0

    def test_loading_twice_gives_the_same_cases(self, setup: Setup) -> None:
        """Two workers see the same problem; names are unique."""
        names = Bench(setup).names
        assert names == Bench(setup).names
        assert len(set(names)) == len(names) > 0

    def test_setup_and_results_cross_processes(self, setup: Setup, plugin: Plugin[Any]) -> None:
        """What goes over the wire can be pickled, and gives the same configuration there."""
        sections = pickle.loads(pickle.dumps(plugin.config.model_dump()))
        assert self.plugin_class.Config.model_validate(sections) == plugin.config
        done = Bench(setup).trial(_job(plugin.defaults()), lambda cases: True)
        assert pickle.loads(pickle.dumps((setup, done))) == (setup, done)

    def test_frozen_script_stands_alone(self, plugin: Plugin[Any], tmp_path: Path) -> None:
        """The script compiles, names no package of ours, and explains itself without them."""
        script = tmp_path / "frozen.py"
        provenance = Provenance("contract", 1, {"metric": 1.0}, {"python": "3"}, "0" * 64, "now")
        write_script(script, lambda path: plugin.freeze(plugin.defaults(), path, provenance))
        text = script.read_text(encoding="utf-8")
        for package in ("tuner", "tuner_plugins", "mlflow", "optuna"):
            assert f"import {package}" not in text
            assert f"from {package}" not in text
        done = subprocess.run(
            [sys.executable, "-I", str(script), "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def test_what_a_script_writes_is_read_back(
        self, setup: Setup, plugin: Plugin[Any], tmp_path: Path
    ) -> None:
        """Where scripts can be run and read, one gives the metrics that ``run`` gives."""
        script, output = tmp_path / "frozen.py", tmp_path / "output"
        params, case = plugin.defaults(), plugin.load().tuned[0]
        here = Provenance("contract")
        write_script(script, lambda path: plugin.freeze(params, path, here))
        clocked = plugin.remeasure(case, script, params, output)
        if clocked is None and type(plugin).read_output is Plugin.read_output:
            pytest.skip(f"plug-in '{plugin.name}' does not read what scripts write")
        if clocked is None:
            command = plugin.command(case, script, output)
            assert command is not None
            subprocess.run(command, check=True, capture_output=True)
        written = plugin.read_output(case, output) if clocked is None else clocked.output
        found = plugin.score(case, written)
        expected = Bench(setup).trial(_job(params), lambda cases: True).cases[0].metrics
        for name in set(plugin.metrics) - set(plugin.noisy):
            assert math.isclose(found[name], expected[name], rel_tol=1e-6, abs_tol=1e-9)


def _job(params: Params) -> TrialJob:
    return TrialJob(Trial(number=0, params=params, searched={}), seed=0)

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError
from tuner_plugins.nmf import params as nmf_params
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.kernels.fast_path import quick_levels
from tuner_plugins.nmf.model.factorize import factorize
from tuner_plugins.nmf.plugin import NmfPlugin

from tests.nmf.tracks import CHROM, LENGTH, make_annotation, make_tracks
from tuner.plugin import Direction, InputError, Result


@pytest.fixture(scope="module")
def section(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    make_tracks(folder / "tracks", seed=5)
    make_annotation(folder / "genes.bw")
    return {
        "bigwigs": [folder / "tracks"],
        "annotation": folder / "genes.bw",
        "cases": [{"region": f"{CHROM}:1000-25000", "k": 3}],
        "held_out": [{"region": f"{CHROM}:25000-{LENGTH}", "k": 2, "name": "rest"}],
    }


def make_plugin(section: dict[str, Any], **changes: Any) -> NmfPlugin:
    return NmfPlugin(NmfConfig.model_validate({"data": {**section, **changes}}))


def test_the_fast_path_finds_what_the_baseline_finds(section: dict[str, Any]) -> None:
    plugin = make_plugin(section)
    params = plugin.baseline()
    (case,) = plugin.load().tuned
    slow = plugin.run(case, params, 0)
    fast = plugin.run(case, {**params, "implementation": "fast"}, 0)
    np.testing.assert_allclose(fast.expand(), slow.expand(), atol=1e-9)
    assert plugin.score(case, fast) == pytest.approx(plugin.score(case, slow), abs=1e-9)
    genes = np.repeat(
        np.nan_to_num(case.data.genes.values.astype(float)),
        np.diff(case.data.genes.ends, prepend=0),
    )
    by_hand = [np.corrcoef(column, genes)[0, 1] for column in slow.expand().T if np.ptp(column)]
    assert plugin.score(case, slow)["r"] == pytest.approx(max(by_hand), abs=1e-9)
    assert plugin.score(case, slow)["r_abs"] == pytest.approx(np.abs(by_hand).max(), abs=1e-9)


def test_only_what_runs_the_reference_imports_what_it_needs(section: dict[str, Any]) -> None:
    """`tuner validate`, and workers whose trials are all fast, start without Numba and sklearn."""
    plain = {**section, "bigwigs": list(map(str, section["bigwigs"]))}
    plain["annotation"] = str(section["annotation"])
    code = f"""
import sys
from tuner_plugins.nmf.plugin import NmfConfig, NmfPlugin
plugin = NmfPlugin(NmfConfig.model_validate({{"data": {plain!r}}}))
plugin.load()
plugin.warm_up(plugin.defaults())
print(*sorted({{"numba", "sklearn", "pyBigWig"}} & sys.modules.keys()))
plugin.warm_up(plugin.baseline())
print(*sorted({{"numba", "sklearn"}} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["", "numba sklearn"], done.stderr


def test_smoothing_finds_the_planted_genes(section: dict[str, Any]) -> None:
    plugin = make_plugin(section)
    for case in [*plugin.load().tuned, *plugin.load().held_out]:
        # genes of a few kilobases: finer bins, and less smoothing
        params = {**plugin.defaults(), "resolution": 50, "fl_lambda": 100.0}
        assert plugin.score(case, plugin.run(case, params, 0))["r"] > 0.9


def test_every_parameter_is_known_and_its_range_allowed(section: dict[str, Any]) -> None:
    plugin = make_plugin(section)
    space = plugin.search_space()
    assert set(space) <= set(plugin.defaults())
    assert {"num_iter", "l2penalty", "fl_lambda", "resolution", "transform"} <= set(space)
    assert {"scaling", "start", "tolerance", "dtype"} <= set(space)
    assert set(plugin.baseline() or {}) == set(plugin.defaults())
    plugin.check(plugin.defaults())
    plugin.check(plugin.baseline() or {})
    known = set(nmf_params.BOUNDS) | set(nmf_params.CHOICES)
    assert set(plugin.defaults()) <= known
    assert set(inspect.signature(factorize).parameters) & set(space) <= known


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"num_iter": 9, "fl_lambda": 1.0, "resolution": 3000}, {}),
        ({"resolution": 1}, {"start": "random"}),
        ({"loadings_resolution": 1}, {"start": "random"}),
        ({"start": "random", "resolution": 7}, {"start": "random"}),
        ({"start": "randomized_svd"}, {"start": "randomized_svd"}),
        ({"loadings_resolution": 25}, {"resolution": 50}),
        ({"dtype": "float32"}, {"dtype": "float32"}),
        (nmf_params.BASELINE, {}),
    ],
)
def test_scripts_that_need_more_or_write_less_are_of_another_kind(
    section: dict[str, Any], change: dict[str, Any], expected: dict[str, Any]
) -> None:
    usual = {"start": "contrast", "resolution": 1000, "dtype": "float64"}
    setting = {**nmf_params.DEFAULTS, **change}
    plugin = make_plugin(section)
    found = plugin.cost_params(setting)
    assert found == {**usual, **expected}
    plugin.check({**nmf_params.DEFAULTS, **found})
    if setting["implementation"] == "fast":
        stand_in = {**nmf_params.DEFAULTS, **found}
        assert (quick_levels(stand_in) is None) == (quick_levels(setting) is None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_iter", 0),
        ("num_iter", 2.5),
        ("num_iter", True),
        ("fl_lambda", -1.0),
        ("fl_lambda", float("inf")),
        ("fl_lambda", float("nan")),
        ("lambda_ladder", 0.5),
        ("lambda_ladder", float("inf")),
        ("l2penalty", "much"),
        ("resolution", 5001),
        ("transform", "log"),
        ("scaling", None),
        ("tolerance", 2),
        ("seed", -1),
        ("dtype", "float16"),
    ],
)
def test_values_that_cannot_be_run_are_named(
    section: dict[str, Any], name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected") as caught:
        make_plugin(section).check({**nmf_params.DEFAULTS, name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 10},
        {"transform": "sqrt"},
        {"lambda_ladder": 3.0},
        {"start": "eigh"},
        {"start": "contrast"},
    ],
)
def test_the_reference_refuses_what_it_does_not_do(
    section: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="reference"):
        make_plugin(section).check({**nmf_params.BASELINE, **change})


def test_the_primary_metric_follows_the_configuration(section: dict[str, Any]) -> None:
    assert make_plugin(section).primary == "r"
    absolute = make_plugin(section, correlation="abs")
    assert absolute.primary == "r_abs"

    class WithOneMore(NmfPlugin):
        metrics: ClassVar[dict[str, Direction]] = {**NmfPlugin.metrics, "peaks": "minimize"}

    assert WithOneMore(absolute.config).primary == "r_abs"


def test_one_based_regions_are_kept_as_zero_based_ones(section: dict[str, Any]) -> None:
    given = [{"region": "chr7:1,001-25,000", "k": 3}, {"region": "chr7:12-99", "k": 1}]
    given[1]["coordinates"] = "0-based"
    config = NmfConfig.model_validate(
        {"data": {**section, "coordinates": "1-based", "cases": given, "held_out": []}}
    )
    assert [case.region for case in config.data.cases] == ["chr7:1000-25000", "chr7:12-99"]
    assert config.data.cases[0].label == "chr7_1000-25000_k3"
    kept = config.model_dump(mode="json")
    assert "coordinates" not in str(kept)
    assert NmfConfig.model_validate(kept).model_dump(mode="json") == kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cases": []}, "at least 1"),
        ({"cases": [{"region": "chr7:1,000-2,000", "k": 1}]}, "coordinates: 1-based"),
        ({"coordinates": "2-based"}, "'0-based' or '1-based'"),
        ({"coordinates": "1-based", "cases": [{"region": "chr7:0-9", "k": 1}]}, "first base is 1"),
        ({"coordinates": "1-based", "cases": ["chr7:0-9"]}, "cases.0"),
        ({"coordinates": "1-based", "cases": 3}, "cases"),
        ({"cases": [{"region": "chr7:5-1", "k": 2}]}, "holds no position"),
        ({"cases": [{"region": "chr7", "k": 0}]}, "greater than or equal to 1"),
        ({"cases": [{"region": "chr7", "k": 2}] * 2}, "two cases are called 'chr7_k2'"),
        ({"annotation": None}, "has no annotation"),
        ({"genes": "x"}, "Extra inputs"),
        ({"nan": "drop"}, "'zero' or 'mean'"),
    ],
)
def test_wrong_configurations_are_refused(
    section: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        make_plugin(section, **change)


@pytest.mark.parametrize(
    ("region", "said"), [("chr9:1-20", "chromosome called 'chr9'"), ("chr7:1-99999", "40,000")]
)
def test_a_region_that_tracks_lack_shows_before_the_study(
    section: dict[str, Any], region: str, said: str
) -> None:
    plugin = make_plugin(section, cases=[{"region": region, "k": 1}])
    with pytest.raises(InputError, match=said):
        plugin.inputs()


@pytest.mark.parametrize(
    ("genes", "kind", "said"),
    [
        ("chr7\t30000\t31000\n", "cases", "no gene lies there"),
        ("chr7\t30000\t31000\n", "held_out", "no gene lies there"),
        ("chr7\t0\t29000\nchr7\t20000\t40000\n", "cases", "all of it is gene"),
    ],
)
def test_a_region_of_no_gene_or_all_gene_is_refused(
    section: dict[str, Any], tmp_path: Path, genes: str, kind: str, said: str
) -> None:
    path = tmp_path / "genes.bed"
    path.write_text(genes)
    flat = {"region": f"{CHROM}:1000-2000", "k": 3, "annotation": path}
    plugin = make_plugin(section, **{kind: [flat]})
    with pytest.raises(
        InputError, match="case 'chr7_1000-2000_k3': the annotation is const"
    ) as caught:
        plugin.inputs()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    plugin = make_plugin(section, **{kind: [{**flat, "region": f"{CHROM}:1000-30001"}]})
    if "no gene" in said:
        assert plugin.load().tuned


def test_inputs_are_all_files(section: dict[str, Any]) -> None:
    found = make_plugin(section).inputs()
    expected = {*Path(section["bigwigs"][0]).glob("*.bw"), section["annotation"]}
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_damaged_track_is_bad_input_in_a_trial(section: dict[str, Any], tmp_path: Path) -> None:
    (path,) = make_tracks(tmp_path, seed=1, tracks=1)
    plugin = make_plugin(section, bigwigs=[tmp_path])
    (case,) = plugin.load().tuned
    Path(path).write_bytes(Path(path).read_bytes()[:600])
    with pytest.raises(InputError, match="track0.bw"):
        plugin.run(case, plugin.defaults(), 0)


def test_figures_and_tables_show_every_case(section: dict[str, Any]) -> None:
    plugin = make_plugin(section)
    cases = plugin.load()
    results = []
    for case in [*cases.tuned, *cases.held_out]:
        output = plugin.run(case, plugin.defaults(), 0)
        results.append(Result(case, plugin.defaults(), output, plugin.score(case, output), 0.1))
    figures = plugin.figures(results)
    assert set(figures) == {"loadings_chr7_1000-25000_k3", "loadings_rest"}
    for result, figure in zip(results, figures.values(), strict=True):
        assert f"{result.metrics['r']:.3f}" in figure.axes[0].get_title()
        figure.canvas.draw()
    table = plugin.tables(results)["weights"]
    assert len(table) == 3 * 5 + 2 * 5
    best = table.groupby("case")["r"].max()
    assert best["rest"] == pytest.approx(results[1].metrics["r"])


def test_tiny_is_a_whole_configuration(tmp_path: Path) -> None:
    plugin = NmfPlugin(NmfConfig.model_validate(NmfPlugin.tiny(tmp_path)))
    cases = plugin.load()
    assert len(cases.tuned) == len(cases.held_out) == 1
    for params in (plugin.defaults(), {**(plugin.baseline() or {}), "num_iter": 2}):
        output = plugin.run(cases.tuned[0], params, 0)
        assert -1 <= plugin.score(cases.tuned[0], output)["r"] <= 1

"""The defaults on measured tracks; `test_plugin` holds the simulated twin of this."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuner_plugins.nmf.config import NmfConfig
from tuner_plugins.nmf.plugin import NmfPlugin


@pytest.mark.parametrize(
    ("name", "region", "k", "least", "unsmoothed"),
    [
        ("roadmap_hg19_ENm005_chr21", "chr21:33746350-35442400", 10, 0.7, 0.65),
        ("K562_hg19_chr1_22.5-25M", "chr1:22500000-25000000", 3, 0.37, 0.36),
    ],
)
def test_defaults_find_genes_in_real_tracks(
    shared_data: Path, name: str, region: str, k: int, least: float, unsmoothed: float
) -> None:
    folder = shared_data / "bigwig" / name
    section = {
        "bigwigs": [folder / "tracks"],
        "annotation": folder / "Annotation.Gene.bw",
        "cases": [{"region": region, "k": k}],
    }
    plugin = NmfPlugin(NmfConfig.model_validate({"data": section}))
    (case,) = plugin.load().tuned
    found = plugin.score(case, plugin.run(case, plugin.defaults(), 0))["r"]
    assert found >= least
    rough = {**plugin.defaults(), "fl_lambda": 0.0, "resolution": 25}
    assert plugin.score(case, plugin.run(case, rough, 0))["r"] < unsmoothed

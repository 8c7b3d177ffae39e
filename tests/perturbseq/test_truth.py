"""The short form of ``python -m benchmarks.perturbseq_truth``."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.perturbseq_truth import Sizes, measure

SMALL = Sizes(cells=2400, genes=60, targets=8, idle=4, pairs=4)


@pytest.mark.parametrize("kind", ["high", "pairs"])
def test_what_was_planted_is_found_and_errors_are_nominal(kind):
    found = pd.DataFrame([measure(kind, seed, SMALL) for seed in range(2)]).mean()
    assert found["guides_found"] > 0.98
    assert found["guides_false"] < 0.02
    assert found["net_found"] > 0.85
    assert found["log2fc_found"] > 0.8
    assert found["log2fc_false"] < 0.2  # 0.1 is nominal, of some dozens
    assert 0.02 < found["log2fc_p05"] < 0.08
    assert 0.92 < found["log2fc_covered"] < 0.975
    assert found["net_false"] < 0.2
    assert 0.01 < found["net_p05"] < 0.09
    if kind == "pairs":
        assert found["pair_found"] > 0.6
        assert found["pair_false"] < 0.2
        assert found["pair_class"] > 0.85
        assert 0.92 < found["pair_covered"] < 0.98

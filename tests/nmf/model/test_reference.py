from __future__ import annotations

from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.prox_tv import prox_tv1d

from tests.nmf.tracks import CHROM, LENGTH, make_tracks


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=40), st.sampled_from([0.0, 0.3, 1.0, 4.0, 1e3]))
def test_dynamic_programming_agrees_with_the_taut_string(values: list[int], lam: float) -> None:
    signal = np.array(values, dtype=float)
    found = reference._prox_dynamic_programming(signal, lam)
    np.testing.assert_allclose(found, prox_tv1d(signal, lam), atol=1e-9)


def test_the_compiled_kernel_is_the_written_one() -> None:
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.poisson(3.0, 400), rng.integers(1, 9, 400)).astype(float)
    for lam in (0.0, 1.0, 25.0):
        compiled = reference._compiled_prox()(signal, lam)
        np.testing.assert_array_equal(compiled, reference._prox_dynamic_programming(signal, lam))


def test_tracks_are_read_base_by_base(tmp_path: Path) -> None:
    paths = make_tracks(tmp_path, seed=2, tracks=2)
    signal = reference.read_per_base([Path(path) for path in paths], CHROM, 10, 3000)
    assert signal.shape == (2990, 2)
    assert not np.isnan(signal).any()
    with pyBigWig.open(paths[0]) as track:
        assert signal[123, 0] == np.nan_to_num(track.values(CHROM, 133, 134)[0])


@pytest.mark.parametrize("k", [2, 6])
def test_rounds_come_closer_to_the_signal(tmp_path: Path, k: int) -> None:
    """Without smoothing, rounds bring the product closer to the signal."""
    paths = make_tracks(tmp_path, seed=4, tracks=4)
    signal = reference.read_per_base([Path(path) for path in paths], CHROM, 0, LENGTH // 10)
    first = reference.start_weights(signal, k, "random", 3)
    misfits = []
    for rounds in (1, 2, 5, 20):
        loadings, weights = reference.factorize_per_base(signal, first, rounds, 1e-6, 0.0)
        assert loadings.min() >= 0
        assert weights.min() >= 0
        misfits.append(float(np.sum((signal - loadings @ weights) ** 2)))
    assert misfits[-1] < misfits[0]
    assert misfits[-1] < 0.5 * np.sum((signal - signal.mean(axis=0)) ** 2)

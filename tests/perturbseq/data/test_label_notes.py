"""What of a screen means little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tuner_plugins.perturbseq.data.label_notes import _linked


@pytest.mark.parametrize("seed", range(20))
def test_labels_that_batches_link_by_any_chain_are_comparable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names, levels = 12, 9
    labels = np.concatenate([np.arange(names), rng.integers(0, names, 6)])
    batches = np.concatenate([rng.integers(0, levels - 1, len(labels) - 1), [levels - 1]])
    edges = (np.ones(len(labels)), (labels, batches + names))
    links = coo_array(edges, shape=(names + levels, names + levels))
    parts = connected_components(links, directed=False)[1][:names]
    least = [np.flatnonzero(parts == part)[0] for part in parts]
    assert _linked(labels, batches).tolist() == least


def test_a_chain_is_followed_to_its_end() -> None:
    steps = np.arange(50)
    labels, batches = np.concatenate([steps, steps[1:]]), np.concatenate([steps, steps[:-1]])
    assert _linked(labels[::-1], batches[::-1]).tolist() == [0] * 50
    assert _linked(steps, steps).tolist() == steps.tolist()

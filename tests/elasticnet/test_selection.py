from __future__ import annotations

import numpy as np
import pytest
from tuner_plugins.elasticnet.selection import FOLD, one_standard_error

from tuner.plugin import InputError, Tried


def _tried(number: int, r2: list[float], nonzeros: float, alpha: float = 0.1) -> Tried:
    folds = {f"{FOLD}{fold}": value for fold, value in enumerate(r2)}
    metrics = {"r2": float(np.mean(r2)), "nonzeros": nonzeros, **folds}
    return Tried(number, {"alpha": alpha, "l1_ratio": 0.5}, {"screen": metrics})


BEST = _tried(3, [0.1, 0.5, 0.9], 9.0)
NEAR = _tried(4, [0.07, 0.525, 0.878], 4.0)
FAR = _tried(5, [0.05, 0.45, 0.85], 1.0)


def test_the_sparsest_as_good_as_the_best_is_chosen():
    # folds differ much more than settings do: unpaired errors would let FAR pass
    chosen, reason = one_standard_error(BEST, [FAR, BEST, NEAR])
    assert chosen is NEAR
    assert reason.startswith("one standard error: 4 coefficients a gene instead of 9")


def test_the_best_stays_where_nothing_sparser_is_as_good():
    assert one_standard_error(BEST, [BEST, FAR]) == (BEST, "")
    dense = _tried(6, [0.1, 0.5, 0.9], 12.0)
    assert one_standard_error(BEST, [dense, BEST]) == (BEST, "")


def test_of_equally_sparse_trials_the_larger_alpha_is_chosen():
    stronger = _tried(7, [0.07, 0.525, 0.878], 4.0, alpha=0.2)
    assert one_standard_error(BEST, [NEAR, stronger, BEST])[0] is stronger


def test_a_study_without_scores_of_folds_is_refused_in_one_line():
    old = Tried(1, {"alpha": 0.1}, {"screen": {"r2": 0.4, "nonzeros": 2.0}})
    with pytest.raises(InputError, match="which trial 1 lacks") as error:
        one_standard_error(old, [old])
    assert "\n" not in str(error.value)

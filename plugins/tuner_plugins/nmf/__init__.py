"""Non-negative matrix factorisation of genome tracks, smoothed by a fused lasso."""

from __future__ import annotations

from tuner_plugins.nmf.model.prox_tv import prox_tv1d, prox_tv1d_columns

__all__ = ["prox_tv1d", "prox_tv1d_columns"]

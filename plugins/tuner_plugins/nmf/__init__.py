"""Non-negative matrix factorisation of genome tracks, smoothed by a fused lasso."""

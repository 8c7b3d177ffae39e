"""The factorisation: signal, fused-lasso proximal operator, correlation, null."""

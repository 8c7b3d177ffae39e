"""The search: Optuna's study, its storage, and the loop that asks, runs and tells."""

"""Tracking in MLflow: nothing outside this package imports mlflow."""

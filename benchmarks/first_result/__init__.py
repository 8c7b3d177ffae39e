"""What users of tuner, of Optuna and MLflow by hand, and of Hydra write and wait for."""

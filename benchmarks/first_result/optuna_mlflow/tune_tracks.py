import math

import mlflow
import optuna
from tracks import BASELINE, HELD_OUT, TUNED, measure


def score(region, params, baseline):
    r, seconds = measure(region, **params)
    gain = (r - baseline[0]) * math.sqrt(baseline[1] / seconds)
    return {"r": r, "time": seconds, "score": gain}


def objective(trial):
    params = {
        "bin_size": trial.suggest_int("bin_size", 1, 1000, log=True),
        "sigma": trial.suggest_float("sigma", 0.0, 50.0),
        "max_iter": trial.suggest_int("max_iter", 1, 200),
    }
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(params)
        metrics = score(TUNED, params, baseline)
        mlflow.log_metrics(metrics)
    return metrics["score"]


mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("tracks")
study = optuna.create_study(
    study_name="tracks",
    storage="sqlite:///optuna.db",
    sampler=optuna.samplers.TPESampler(seed=0),
    direction="maximize",
    load_if_exists=True,
)
baseline = measure(TUNED, **BASELINE)
with mlflow.start_run(run_name="tracks"):
    study.optimize(objective, n_trials=50 - len(study.trials))
    held = score(HELD_OUT, study.best_params, measure(HELD_OUT, **BASELINE))
    mlflow.log_metrics({f"held_out_{name}": value for name, value in held.items()})
print(study.best_params, study.best_value, "held out:", held)

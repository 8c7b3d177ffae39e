import math

import mlflow
import optuna
from program import BASELINE, HELD_OUT, TUNED, measure


def score(path, params, baseline):
    error, seconds = measure(path, **params)
    gain = (baseline[0] - error) * math.sqrt(baseline[1] / seconds)
    return {"error": error, "time": seconds, "score": gain}


def objective(trial):
    params = {
        "width": trial.suggest_int("width", 1, 60),
        "rounds": trial.suggest_int("rounds", 1, 5),
    }
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(params)
        metrics = score(TUNED, params, baseline)
        mlflow.log_metrics(metrics)
    return metrics["score"]


mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("program")
study = optuna.create_study(
    study_name="program",
    storage="sqlite:///optuna.db",
    sampler=optuna.samplers.TPESampler(seed=0),
    direction="maximize",
    load_if_exists=True,
)
baseline = measure(TUNED, **BASELINE)
with mlflow.start_run(run_name="program"):
    study.optimize(objective, n_trials=20 - len(study.trials))
    held = score(HELD_OUT, study.best_params, measure(HELD_OUT, **BASELINE))
    mlflow.log_metrics({f"held_out_{name}": value for name, value in held.items()})
print(study.best_params, study.best_value, "held out:", held)

import mlflow
import optuna
from screen import HELD_OUT, TUNED, measure, r2


def objective(trial):
    params = {
        "alpha": trial.suggest_float("alpha", 1e-5, 0.1, log=True),
        "l1_ratio": trial.suggest_float("l1_ratio", 0.05, 1.0),
    }
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(params)
        found = measure(**params)
        mlflow.log_metric("r2", found)
    return found


mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("screen")
study = optuna.create_study(
    study_name="screen",
    storage="sqlite:///optuna.db",
    sampler=optuna.samplers.TPESampler(seed=0),
    direction="maximize",
    load_if_exists=True,
)
with mlflow.start_run(run_name="screen"):
    study.optimize(objective, n_trials=50 - len(study.trials))
    held = r2(TUNED, HELD_OUT, **study.best_params)
    mlflow.log_metric("held_out_r2", held)
print(study.best_params, study.best_value, "held out:", held)

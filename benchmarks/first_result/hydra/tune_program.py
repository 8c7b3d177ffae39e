import math

import hydra
import mlflow
from program import BASELINE, HELD_OUT, TUNED, measure


@hydra.main(version_base=None, config_path=".", config_name="tune_program")
def main(config):
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("program")
    path = HELD_OUT if config.held_out else TUNED
    baseline = measure(path, **BASELINE)
    with mlflow.start_run(run_name="held out" if config.held_out else None):
        mlflow.log_params(config.params)
        error, seconds = measure(path, **config.params)
        score = (baseline[0] - error) * math.sqrt(baseline[1] / seconds)
        mlflow.log_metrics({"error": error, "time": seconds, "score": score})
    print("held out:" if config.held_out else "tuned:", score)
    return score


main()

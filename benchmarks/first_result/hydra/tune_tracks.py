import math

import hydra
import mlflow
from tracks import BASELINE, HELD_OUT, TUNED, measure


@hydra.main(version_base=None, config_path=".", config_name="tune_tracks")
def main(config):
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("tracks")
    region = HELD_OUT if config.held_out else TUNED
    baseline = measure(region, **BASELINE)
    with mlflow.start_run(run_name="held out" if config.held_out else None):
        mlflow.log_params(config.params)
        r, seconds = measure(region, **config.params)
        score = (r - baseline[0]) * math.sqrt(baseline[1] / seconds)
        mlflow.log_metrics({"r": r, "time": seconds, "score": score})
    print("held out:" if config.held_out else "tuned:", score)
    return score


main()

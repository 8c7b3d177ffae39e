import hydra
import mlflow
from screen import HELD_OUT, TUNED, measure, r2


@hydra.main(version_base=None, config_path=".", config_name="tune_screen")
def main(config):
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("screen")
    with mlflow.start_run(run_name="held out" if config.held_out else None):
        mlflow.log_params(config.params)
        if config.held_out:
            found = r2(TUNED, HELD_OUT, **config.params)
        else:
            found = measure(**config.params)
        mlflow.log_metric("r2", found)
    print("held out:" if config.held_out else "tuned:", found)
    return float(found)


main()

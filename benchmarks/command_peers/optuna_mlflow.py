"""The task of configs/minimap2.yaml with Optuna and MLflow by hand; run in the project's folder."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import mlflow
import optuna

DATA = "data/reads"
CASES = {
    name: (f"{DATA}/chr{n}.fa", f"{DATA}/reads{n}.fq") for n, name in ((1, "chr1"), (2, "chr2"))
}
HELD_OUT = {"chr3": (f"{DATA}/chr3.fa", f"{DATA}/reads3.fq")}
BASELINE = {"k": 15, "w": 10}
TRIALS, LIMIT = int(sys.argv[1]) if len(sys.argv) > 1 else 40, 600


def run(k, w, reference, reads, output="out.paf"):
    command = ["minimap2", "-t", "1", "-k", str(k), "-w", str(w), reference, reads, "-o", output]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise optuna.TrialPruned(f"over {LIMIT} s") from None
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace")[-1000:])
    scoring = [sys.executable, "-m", "tuner_plugins.command.score_reads", output, reads]
    return json.loads(subprocess.check_output(scoring))["recall"], seconds


def measure(params, cases, reference=None):
    found = {
        name: run(**params, reference=ref, reads=reads) for name, (ref, reads) in cases.items()
    }
    count = len(found)
    metrics = {"recall": sum(recall for recall, _ in found.values()) / count}
    metrics["time"] = sum(seconds for _, seconds in found.values()) / count
    if reference is not None:
        scores = []
        for name, (recall, seconds) in found.items():
            base, base_seconds = reference[name]
            scores.append((recall - base) * math.sqrt(base_seconds / seconds))
        metrics["score"] = sum(scores) / count
    return found, metrics


def objective(trial):
    params = {"k": trial.suggest_int("k", 9, 27), "w": trial.suggest_int("w", 1, 40)}
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(params)
        _, metrics = measure(params, CASES, reference)
        mlflow.log_metrics(metrics)
    return metrics["score"]


mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("minimap2 by hand")
reference, _ = measure(BASELINE, CASES)
study = optuna.create_study(
    study_name="minimap2-by-hand",
    storage="sqlite:///tuner.db",
    sampler=optuna.samplers.TPESampler(seed=0),
    direction="maximize",
    load_if_exists=True,
)
with mlflow.start_run(run_name="minimap2"):
    study.optimize(objective, n_trials=TRIALS - len(study.trials), catch=(RuntimeError,))
    held, _ = measure(BASELINE, HELD_OUT)
    _, metrics = measure(study.best_params, HELD_OUT, held)
    mlflow.log_metrics({f"held_out_{name}": value for name, value in metrics.items()})
print(study.best_params, study.best_value, metrics)

"""The task of configs/minimap2.yaml for Oríon, which gives names of one letter one dash."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

from orion.client import report_objective

DATA = "../../../data/reads"
LIMIT = 600


def run(k, w, case):
    reference, reads = f"{DATA}/chr{case}.fa", f"{DATA}/reads{case}.fq"
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "out.paf")
        command = [
            "minimap2",
            "-t",
            "1",
            "-k",
            str(k),
            "-w",
            str(w),
            reference,
            reads,
            "-o",
            output,
        ]
        begin = time.perf_counter()
        subprocess.run(command, check=True, timeout=LIMIT, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        scoring = [sys.executable, "-m", "tuner_plugins.command.score_reads", output, reads]
        return json.loads(subprocess.check_output(scoring))["recall"], seconds


def baseline(case):
    path = f"baseline{case}.json"
    if not os.path.exists(path):
        with open(path, "w") as file:
            json.dump(run(15, 10, case), file)
    with open(path) as file:
        return json.load(file)


parser = argparse.ArgumentParser()
parser.add_argument("-k", type=int)
parser.add_argument("-w", type=int)
options = parser.parse_args()
scores = []
for case in (1, 2):
    base, base_seconds = baseline(case)
    recall, seconds = run(options.k, options.w, case)
    scores.append((recall - base) * math.sqrt(base_seconds / seconds))
report_objective(-sum(scores) / len(scores))

"""The user's program, run and scored."""

import subprocess
import sys
import time

TUNED, HELD_OUT = "noisy.txt", "noisy2.txt"
BASELINE = {"width": 3, "rounds": 1}


def measure(path, width, rounds):
    command = [sys.executable, "smooth.py", path, "--width", str(width), "--rounds", str(rounds)]
    begin = time.perf_counter()
    subprocess.run([*command, "-o", "smooth.txt"], check=True)
    seconds = time.perf_counter() - begin
    scoring = [sys.executable, "error.py", "smooth.txt", path]
    return float(subprocess.check_output(scoring)), seconds

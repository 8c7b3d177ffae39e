"""A signal is noted at any moment, be the program in the midst of a write or of an import."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED = """
import os, random, signal, threading, time
from tuner.report.terminal import make_console, outlast_readers
from tuner.run.interrupt import StopOnInterrupt

outlast_readers()
console = make_console(stderr=True)
ready = threading.Event()
times = 200

def interrupt():
    for _ in range(times):
        ready.wait()
        ready.clear()
        time.sleep(random.Random(_).uniform(0, 0.003))
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
lines = 0
for _ in range(times):
    stop = StopOnInterrupt()
    ready.set()
    while not stop():
        console.print("a line")
        lines += 1
print(lines)
"""


def test_ctrl_c_in_the_midst_of_a_write_is_noted_and_answered() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = "stopping after the running trials; press Ctrl-C again to stop at once"
    assert done.stderr.count(f"{answer}\n") == 200
    assert done.stderr.count("a line") == int(done.stdout)

"""`tuner.optimize` in the kernel of a notebook: shown live, interrupted, resumed."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FUNCTION = """
import json, os, time
import tuner

offset = 1.0

def loss(x, n):
    with open("calls.txt", "a+") as calls:
        calls.write(json.dumps([x, n, os.getpid()]) + "\\n")
        calls.seek(0)
        is_late = len(calls.readlines()) > 3
    while is_late and not os.path.exists("go"):
        time.sleep(0.01)
    return (x - offset) ** 2 + n

def tune():
    return tuner.optimize(
        loss,
        {"x": (-5.0, 5.0), "n": (0, 3)},
        trials=10,
        workers=2,
        storage="journal:///study.log",
        config={"tracking": {"enabled": False}, "study": {"sampler": "random"}},
    )
"""

ANSWERS = """
import psutil, signal
print(json.dumps({
    "ending": result.ending,
    "states": dict(result.trials["state"]),
    "x": list(result.trials["x"]),
    "handler": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "best": None if result.ending == "interrupted" else result.best.metrics["value"],
    "pid": os.getpid(),
    "children": len(psutil.Process().children(recursive=True)),
}))
"""


@pytest.mark.filterwarnings("ignore")  # of what the kernel's client is made of
def test_a_study_in_a_notebook_is_shown_interrupted_and_resumed(
    workplace: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after a few trials, in one kernel, and resumed in another one."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):  # not the user's
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("jupyter")))
    shown, first = executed([FUNCTION, "result = tune()", ANSWERS], stops=True)
    assert first["ending"] == "interrupted"
    done = len(first["states"])
    assert 3 <= done < 10
    assert f"{done}/10 trials" in html_of(shown[1])
    assert first["handler"]

    again = "result = tune()\nresult"
    plots = "result.figures['history']"
    shown, second = executed([FUNCTION, again, plots, ANSWERS])
    assert second["ending"] == "complete"
    assert second["pid"] != first["pid"]
    assert first["children"] == second["children"] == 0
    assert second["states"] == {str(number): "complete" for number in range(10)}
    assert second["x"][:done] == first["x"]
    assert f"resumes after {done} of 10 trials" in html_of(shown[1])
    assert "Result of study" in html_of(shown[1])
    assert any("image/png" in output.get("data", {}) for output in shown[2])

    calls = [json.loads(line) for line in Path("calls.txt").read_text().splitlines()]
    assert sorted(call[0] for call in calls) == sorted(second["x"])  # each once
    assert {call[2] for call in calls}.isdisjoint({first["pid"], second["pid"]})
    assert second["best"] == min((x - 1) ** 2 + n for x, n, _ in calls)


def executed(sources: list[str], stops: bool = False) -> tuple[list[Any], Any]:
    """Execute cells in a new kernel; return the outputs of each, and what the last one prints.

    Parameters
    ----------
    stops : bool
        Interrupt the kernel, as the button of a notebook does, once the function has been called
        four times: that call waits for it.
    """
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    client = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=200)
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.02):
            calls = Path("calls.txt")
            if calls.exists() and len(calls.read_text().splitlines()) > 3:
                asyncio.run(client.km.interrupt_kernel())
                Path("go").touch()
                return

    watch = threading.Thread(target=interrupt)
    if stops:
        watch.start()
    try:
        client.execute()
    finally:
        over.set()
        if stops:
            watch.join()
    outputs = [cell.outputs for cell in client.nb.cells]
    printed = "".join(output["text"] for output in outputs[-1] if output["output_type"] == "stream")
    return outputs, json.loads(printed)


def html_of(outputs: list[Any]) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in outputs)

"""The pages as a user sees them: a real server, a real browser, no outside world."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest
from matplotlib.figure import Figure

from tests.browser.pages import Browser
from tests.studies import make_study, make_summary, make_trials
from tuner.plugin import InputError
from tuner.tracking import mlflow_runs, mlflow_ui
from tuner.tracking.mlflow_pages import study_links
from tuner.tracking.tracker import MlflowTracker, TrackingReport

pytestmark = [
    pytest.mark.slow,  # MLflow's server alone takes seconds to come up
]

STUDY, OTHER = make_study(), make_study("chr19", signature="2" * 64)
TRIALS = make_trials(40)
BEST = make_summary(TRIALS).best
URI = "sqlite:///mlflow.db"
# MLflow's page asks who is logged in; a server without log-in has no answer
EXPECTED_404 = "/ajax-api/2.0/mlflow/users/current"


@dataclass
class Served:
    """A store with two studies, and `tuner.tracking.mlflow_ui.serve` in a process of its own."""

    home: Path
    base: str
    said: str
    process: subprocess.Popen[str]
    links: dict[str, str]
    report: TrackingReport


SERVE = """
    import sys
    from tuner.tracking.mlflow_ui import serve
    serve("sqlite:///mlflow.db", landing=sys.argv[1], open_browser=False, links={"charts": "#/c"})
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served")
    before = Path.cwd()
    os.chdir(home)
    try:
        (home / "out" / "plots").mkdir(parents=True)
        Figure(figsize=(3, 2), dpi=100).savefig(home / "out" / "plots" / "history.png")
        (home / "out" / "assign2.py").write_text("print('frozen')\n")
        (home / "out" / "script").mkdir()
        (home / "out" / "script" / "chr21.py").write_text("print('frozen')\n")
        for study, count in ((OTHER, 6), (STUDY, len(TRIALS))):
            tracker = MlflowTracker(URI, "nmf", home / "spool")
            tracker.start(study, TRIALS[:count])
            summary = make_summary(TRIALS[:count], artifacts=home / "out")
            report = tracker.finish(summary)
            assert report.problems == []
        links = study_links(URI, "nmf", STUDY)
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SERVE), links["trials"]],
            stdout=subprocess.PIPE,
            text=True,
        )
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        said = "".join(process.stdout.readline() for _ in range(3))
        watchdog.cancel()
        base = said.partition("MLflow: ")[2].partition("#")[0]
        yield Served(home, base, said, process, links, report)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        os.chdir(before)


def new_context(chromium: Any, width: int, height: int) -> Any:
    context = chromium.new_context(viewport={"width": width, "height": height})
    context.add_init_script(  # keeps MLflow's assistant shut: it covers a third of the page
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
    )
    return context


@pytest.fixture
def browser(chromium: Any, served: Served) -> Iterator[Browser]:
    context = new_context(chromium, 1600, 2400)
    found = Browser(context.new_page(), served.base, [EXPECTED_404])
    yield found
    context.close()
    assert found.complaints == []


def test_serve_says_where_the_pages_are(served: Served) -> None:
    lines = served.said.splitlines()
    assert lines[0] == f"MLflow: {served.base}{served.links['trials']}"
    assert lines[1] == f"  charts  {served.base}#/c"
    assert served.base.startswith("http://127.0.0.1:")


def test_trials_best_first_with_metrics_as_columns(served: Served, browser: Browser) -> None:
    page = browser.open(served.links["trials"])
    scores = [float(text) for text in browser.column("metrics.`score`") if text != "-"]
    assert len(scores) > 10
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(BEST.metrics["score"], rel=1e-4)
    assert browser.column("metrics.`r`")[0] == f"{BEST.metrics['r']:.6g}"
    assert browser.column("params.`fl_lambda`")[0] == str(BEST.params["fl_lambda"])
    shade, name = browser.column("attributes.`Run Name`")[0].split("\n")
    assert (shade, name) == (mlflow_runs.colour(STUDY), mlflow_runs.trial_label(STUDY, BEST))
    assert page.get_by_text("40 matching runs").is_visible()
    assert page.get_by_text("nmf-chr21: trials, best first").is_visible()


def test_charts_show_the_curve_and_every_complete_trial(served: Served, browser: Browser) -> None:
    page = browser.open(served.links["charts"])
    for title in (
        "best_so_far",
        "log10_time vs. r",
        "log10_time vs. score",
        "Parallel Coordinates",
    ):
        page.get_by_text(title, exact=True).first.wait_for(timeout=30_000)
    plot = page.locator(".js-plotly-plot").nth(1)
    plot.locator(".point").first.wait_for(timeout=30_000)
    complete = sum(trial.state == "complete" for trial in TRIALS)
    assert plot.locator(".point").count() == complete + 1  # the parent shows the best once more
    card = page.locator("[data-testid=experiment-view-compare-runs-card]", has_text="best_so_far")
    card.locator("svg .lines path, svg .js-line, canvas").first.wait_for(
        state="attached", timeout=30_000
    )
    for name in ("log10_fl_lambda", "num_iter", "init"):
        page.get_by_text(f"{name} vs. score").first.wait_for(state="attached", timeout=30_000)


def test_studies_side_by_side(served: Served, browser: Browser) -> None:
    page = browser.open(served.links["studies"])
    scores = [float(text) for text in browser.column("metrics.`score`")]
    assert len(scores) == 2
    assert scores[0] == pytest.approx(BEST.metrics["score"], rel=1e-4)
    names = [text.split("\n")[-1] for text in browser.column("attributes.`Run Name`")]
    assert names == ["nmf-chr21", "nmf-chr19"]
    assert len(browser.column("metrics.`baseline/r`")) == 2
    page = browser.open(served.links["studies charts"])
    page.get_by_text("best_so_far", exact=True).first.wait_for(timeout=30_000)
    page.locator(".js-plotly-plot .bars .point").first.wait_for(timeout=30_000)


def test_study_page_has_result_links_pictures_and_files(served: Served, browser: Browser) -> None:
    page = browser.open(served.links["study"])
    page.get_by_text(f"Best: trial {BEST.number},").wait_for(timeout=30_000)
    page.get_by_text("Show more").first.click()
    image = page.locator('img[src*="history.png"]')  # MLflow drops the alternative text
    image.wait_for(timeout=30_000)
    page.wait_for_function(
        "image => image.complete && image.naturalWidth === 300", arg=image.element_handle()
    )
    link = page.get_by_role("link", name="charts", exact=True)
    assert link.get_attribute("href").endswith(served.links["charts"])
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("assign2.py").first.wait_for(timeout=30_000)


def test_comparison_of_the_best_trials(served: Served, browser: Browser) -> None:
    page = browser.open(served.links["compare"])
    page.get_by_text("Comparing 5 Runs from 1 Experiment").wait_for(timeout=30_000)


@pytest.mark.parametrize("width", [1440, 1920])
def test_every_page_at_usual_widths(
    served: Served, chromium: Any, shots: Path | None, width: int
) -> None:
    """Titles are whole, params are in sight, and the script in use is in the registry."""
    context = new_context(chromium, width, 1200)
    browser = Browser(context.new_page(), served.base, [EXPECTED_404])
    links, model = served.links, mlflow_runs.study_label(STUDY)
    pages = {
        "trials": (links["trials"], "fl_lambda"),
        "charts": (links["charts"], "log10_time vs. score"),
        "studies": (links["studies"], "nmf-chr19"),
        "study": (links["study"], f"Best: trial {BEST.number},"),
        "best": (links["best trial"], "The best trial of study"),
        "compare": (links["compare"], "Comparing 5 Runs from 1 Experiment"),
        "model": (f"#/models/{model}", "champion"),
        "version": (f"#/models/{model}/versions/1", f"Trial {BEST.number}:"),
    }
    for name, (link, text) in pages.items():
        page = browser.open(link)
        seen = page.get_by_text(text).first
        seen.wait_for(timeout=30_000)
        page.wait_for_timeout(1500)
        browser.shoot(shots, f"mlflow-{name}-{width}")
        if name in ("trials", "charts"):
            box = seen.bounding_box()
            assert box["x"] + box["width"] <= width
            assert seen.evaluate("title => title.scrollWidth <= title.clientWidth + 1")
        if name == "study":
            assert page.get_by_text(f"{model} tuned").count() > 0  # one of the two datasets
    context.close()
    assert browser.complaints == []


def test_a_server_is_a_store_too(served: Served) -> None:
    study = make_study("remote", signature="3" * 64)
    tracker = MlflowTracker(served.base, "remote", served.home / "spool")
    tracker.start(study, [])
    for trial in TRIALS[:8]:
        tracker.log_trial(trial)
    summary = make_summary(TRIALS[:8], artifacts=served.home / "out")
    report = tracker.finish(summary)
    assert report.problems == []
    assert report.links["trials"].startswith(served.base)
    assert study_links(served.base, "remote", study)["study"] in report.links["study"]
    files = list((served.home / "mlartifacts").rglob(f"{report.run_id}/artifacts/assign2.py"))
    assert len(files) == 1


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_server_talks_to_nobody_but_this_machine(served: Served) -> None:
    connections = [c for p in family(served.process) for c in p.net_connections("inet")]
    assert {connection.laddr.ip for connection in connections} == {"127.0.0.1"}
    assert {c.raddr.ip for c in connections if c.raddr} <= {"127.0.0.1"}


def test_a_signal_ends_server_and_workers(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVE), ""],
        cwd=served.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    base = process.stdout.readline().removeprefix("MLflow: ").strip()
    assert base != served.base, "its port is taken: another was to be chosen"
    assert urlopen(base, timeout=20).status == 200
    started = family(process)
    assert started
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert psutil.wait_procs(started, timeout=10)[1] == []
    with pytest.raises(URLError):
        urlopen(base, timeout=2)


def test_a_kill_leaves_no_server_behind(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVE), ""],
        cwd=served.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    base = process.stdout.readline().removeprefix("MLflow: ").strip()
    assert urlopen(base, timeout=20).status == 200
    started = family(process)
    process.kill()
    process.communicate(timeout=60)
    assert psutil.wait_procs(started, timeout=15)[1] == []
    with pytest.raises(URLError):
        urlopen(base, timeout=2)


def test_faults_are_one_line(tmp_path: Path, served: Served) -> None:
    with pytest.raises(InputError, match="run a study first"):
        mlflow_ui.serve(f"sqlite:///{tmp_path}/absent.db", open_browser=False)
    port = int(served.base.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=f"port {port} is taken"):
        mlflow_ui.serve(f"sqlite:///{served.home}/mlflow.db", port=port, open_browser=False)
    (tmp_path / "broken.db").write_bytes(b"no database " * 99)
    started = time.monotonic()
    with pytest.raises(InputError, match="not a database"):
        mlflow_ui.serve(f"sqlite:///{tmp_path}/broken.db", open_browser=False)
    assert time.monotonic() - started < 5


def test_a_remote_store_is_opened_not_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(mlflow_ui.webbrowser, "open", opened.append)
    mlflow_ui.serve("http://host:5000", landing="#/experiments/1")
    assert opened == ["http://host:5000/#/experiments/1"]
    assert capsys.readouterr().out == "MLflow: http://host:5000/#/experiments/1\n"

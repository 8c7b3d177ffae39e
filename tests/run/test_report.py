"""The report of a study: at the end of a run, and written again at any time."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import WORDS
from tests.driver import Driver
from tests.report.test_page import Seen
from tests.studies import make_study, make_summary, make_trials
from tuner.config.objective import Objective
from tuner.run.kept import SUMMARY, Kept, keep, kept_summary, read_kept
from tuner.run.report import gain_rows


def test_a_run_leaves_a_report_that_says_it_all(ran: Path) -> None:
    path = ran / "out/s/report.html"
    seen = Seen(path.read_text())
    assert "script" not in seen.tags
    assert path.stat().st_size < 5_000_000
    text = seen.said
    for title in (
        "Verdict", "Result", "Gain over the baseline", "Best params", "Pareto front", "The search",
        "What toy shows of it", "Trials that did not complete", "What was tuned on what",
        "How to reproduce",
    ):  # fmt: skip
        assert title in text
    assert WORDS in text
    assert "held3 (held out)" in text
    assert re.search(r"held out: fit gains [+-]", text)
    assert "null\nmean" in text
    pictures = {value for name, value in seen.attributes if name == "alt"}
    assert {"every trial, and the best so far", "which parameters mattered", "fits"} <= pictures
    assert "objective: [fit, time]" in text or "objective:\n- fit" in text  # the file as written
    table = pd.read_csv(ran / "out/s/trials.csv", index_col="trial")
    failed = table[table["state"] == "failed"]
    assert len(failed)
    assert f"{len(table)} asked" not in text
    assert all(f"{number}failed" in text.replace("\n", "") for number in failed.index)


def test_the_same_is_written_again(driver: Driver, ran: Path, tmp_path: Path) -> None:
    done = driver.run("report", "study.yaml", "-o", str(tmp_path / "again.html"), folder=ran)
    assert done.returncode == 0, done.stderr
    stamp = re.compile(r"written \S+")
    first, again = ((ran / "out/s/report.html"), tmp_path / "again.html")
    plain = [stamp.sub("", path.read_text()) for path in (first, again)]
    assert plain[0] == plain[1]


def test_a_study_that_has_not_ended_is_told_by_its_trials(driver: Driver, ran: Path) -> None:
    """The same as where more trials came, or the folder is on another machine."""
    kept = (ran / "out/s" / SUMMARY).read_text()
    (ran / "out/s" / SUMMARY).write_text("{")
    try:
        done = driver.run("report", "study.yaml", "-o", "so-far.html", folder=ran)
    finally:
        (ran / "out/s" / SUMMARY).write_text(kept)
    assert done.returncode == 0, done.stderr
    seen = Seen((ran / "so-far.html").read_text())
    assert "as the trials stand" in seen.said
    assert "(held out)" not in seen.said
    assert "the study has not ended" in seen.said
    assert "every trial, and the best so far" in [v for n, v in seen.attributes if n == "alt"]
    assert "fits" not in [value for name, value in seen.attributes if name == "alt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["report", "study.yaml", "-o", "no/report.html"],
            "cannot write no/report.html: no",
        ),
        (["report", "study.yaml", "-o", "out"], "cannot write out: it is a folder; name a file"),
        (["report", "study.yaml", "--set", "study.name=other"], "no study 'other' in"),
    ],
)
def test_a_report_that_cannot_be_is_one_line(
    driver: Driver, ran: Path, arguments: list[str], message: str
) -> None:
    done = driver.run(*arguments, folder=ran)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_summary_is_kept_whole_and_known_by_its_trials(tmp_path: Path) -> None:
    trials = make_trials(12)
    summary = make_summary(trials, artifacts=tmp_path)
    keep(tmp_path, Kept(make_study(), summary))
    kept = read_kept(tmp_path)
    assert kept.info == make_study()
    assert kept_summary(tmp_path, trials) == kept.summary
    for name, value in vars(summary).items():
        found = getattr(kept.summary, name)
        assert (list(found) == list(value)) if isinstance(value, tuple) else found == value, name
    assert kept_summary(tmp_path, trials[:-1]) is None
    assert kept_summary(tmp_path / "none", trials) is None


def test_the_gain_has_an_interval_over_cases_and_one_of_timing() -> None:
    trials = make_trials(12)
    summary = make_summary(trials)
    headers, rows = gain_rows(summary, Objective({"r": "maximize"}, {"score": "maximize"}))
    assert headers[-1] == "95 % interval"
    tuned, held, speedup, score = rows
    best, baseline = summary.best, summary.baseline
    gain = best.metrics["r"] - baseline.metrics["r"]
    assert float(tuned[4]) == pytest.approx(gain, abs=5e-5)
    assert float(held[4]) == pytest.approx(0.06)
    assert held[5] == "-"  # one case
    assert speedup[4] == f"x {best.metrics['speedup']:.4g}"
    assert score[5] == "-"  # these trials have no interval

"""Studies side by side, by configuration and by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.driver import Driver
from tests.report.test_page import Seen
from tests.studies import make_study, make_summary, make_trials
from tuner.run.compare import Compared, cautions, compared_rows
from tuner.run.kept import Kept, keep

TRIALS = make_trials(12)


def compared(name: str, **changes: object) -> Compared:
    study = make_study(name, **changes)
    return Compared(study, make_summary(TRIALS), Path("out") / name)


def test_each_study_has_a_column_and_no_row_is_lost() -> None:
    one, two = compared("one"), compared("two", primary="abs_r")
    two = replace(two, summary=replace(two.summary, held_out=()))
    headers, rows = compared_rows([one, two])
    assert headers == ["", "one", "two"]
    found = {row[0]: row[1:] for row in rows}
    assert found["r, best"] == [f"{one.summary.best.metrics['r']:.4f}", "-"]
    assert found["abs_r, best"][0] == "-"
    assert found["r, held-out gain"][0] == "+0.0600"
    assert found["best trial"] == [str(one.summary.best.number)] * 2
    assert found["param num_iter"] == [str(one.summary.best.params["num_iter"])] * 2
    assert [row[0] for row in rows][-4:] == [f"param {name}" for name in one.summary.best.params]


def test_what_cannot_be_compared_is_said() -> None:
    one = compared("one")
    assert list(cautions([one, compared("two")])) == []
    other = compared("three", fingerprint="cd" * 32, objectives={"time": "minimize"})
    said = list(cautions([one, other]))
    assert [line.split(" differ:")[0] for line in said] == ["their objectives", "their input data"]
    cases = tuple(replace(case, name=f"{case.name}!") for case in one.summary.best.cases)
    best = replace(one.summary.best, cases=cases)
    (line,) = cautions([one, replace(one, summary=replace(one.summary, best=best))])
    assert line.startswith("their tuned cases differ")


def test_a_file_and_a_name_are_both_studies(driver: Driver, ran: Path, tmp_path: Path) -> None:
    folder = ran / "out" / "<i>other"
    folder.mkdir(exist_ok=True)
    keep(folder, Kept(make_study("<i>other"), make_summary(TRIALS)))
    page = tmp_path / "page.html"
    done = driver.run("compare", "study.yaml", "<i>other", "--html", str(page), folder=ran)
    assert done.returncode == 0, done.stderr
    assert "their plug-ins differ" in done.stdout
    seen = Seen(page.read_text())
    assert "i" not in seen.tags
    assert "<i>other" in seen.said
    assert seen.tags.count("img") == 2
    done = driver.run("compare", "s", "<i>other", "--json", folder=ran)
    studies = json.loads(done.stdout)
    assert [study["study"] for study in studies] == ["s", "<i>other"]
    assert studies[0]["plugin"] == "toy"
    assert studies[0]["ended"] is True
    best = make_summary(TRIALS).best
    assert studies[1]["best"]["metrics"] == best.metrics  # to the last digit
    assert studies[1]["best"]["params"] == best.params
    assert studies[1]["held_out_gain"]["mean"] == pytest.approx(0.06, rel=1e-12)
    assert studies[1]["gain"]["low"] <= studies[1]["gain"]["mean"] <= studies[1]["gain"]["high"]
    assert list(studies[0]["p_values"]["tuned"]) == list(
        case["name"] for case in studies[0]["best"]["cases"]
    )


@pytest.mark.parametrize("given", ["none", "../ran", "", "out"])
def test_what_is_no_study_is_one_line(driver: Driver, ran: Path, given: str) -> None:
    done = driver.run("compare", "study.yaml", given, folder=ran)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"'{given}' is neither a configuration file nor a study that has ended below out" in line
    assert "studies that have ended here:" in line

"""Plug-ins that misbehave, in every phase: the study ends, says rightly why, and leaves nothing.

Each scenario is a whole study as the command runs it. Some run in the suite, all with ``-m slow``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver import Driver
from tests.faults.oracle import Place
from tests.faults.scenarios import SCENARIOS, TRIALS, Scenario, configure, run, wrongs

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.kill()


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(s, id=s.name, marks=[] if s.quick else pytest.mark.slow) for s in SCENARIOS],
)
def test_trouble_befalls_one_trial_and_no_other(
    driver: Driver, place: Place, scenario: Scenario
) -> None:
    assert wrongs(driver, place, scenario) == []


def test_there_are_scenarios_enough() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS) >= 50


def test_children_of_a_trial_end_with_a_coordinator_that_is_killed(
    driver: Driver, place: Place
) -> None:
    configure(place, Scenario("run", "kill_coordinator"))
    assert run(driver, place).returncode == -9
    left = [line for line in place.leftovers() if not line.startswith("folder")]
    assert left == [], "what a crash leaves is a folder, which the next run sweeps"
    assert run(driver, place).returncode == 0
    assert place.leftovers() == []
    assert place.trouble(complete=TRIALS) == []

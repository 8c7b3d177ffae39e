"""Run the scenarios of plug-ins that misbehave, and count the harm."""

from __future__ import annotations

from pathlib import Path

from tests.driver import Driver
from tests.faults.oracle import Place
from tests.faults.scenarios import SCENARIOS, wrongs
from tests.faults.toll import Toll

KINDS = {
    "lost": "lost",
    "repeated": "repeated",
    "stuck": "stuck",
    "hung": "hung",
    "process": "orphans",
    "folder": "leftovers",
    "lock": "leftovers",
}
"""First word of what a scenario finds wrong, and the kind of harm; any other is misreported."""


def misbehaving_plugins(folder: Path, seed: int, count: int) -> Toll:
    """Run the first `count` scenarios."""
    toll, driver = Toll(), Driver(folder.parent / "site")
    for scenario in SCENARIOS[:count]:
        place = Place(folder / f"scenario-{scenario.name}")
        place.folder.mkdir()
        toll.injected += 1
        for line in wrongs(driver, place, scenario):
            toll.harm(
                KINDS.get(line.split()[0].strip(":"), "misreported"), f"{scenario.name}: {line}"
            )
        place.kill()
    driver.close()
    return toll

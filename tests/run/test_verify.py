from __future__ import annotations

from typing import Any

import pytest

from tuner.plugin.registry import plugin_class
from tuner.run.claim import Claim
from tuner.run.verify import CaseCheck, _compared

pytestmark = pytest.mark.usefixtures("toy")


@pytest.mark.parametrize(
    ("claimed", "found", "holds"),
    [
        (1.4e-6, 1.4e-6, True),
        (1.4e-6, 3.3e-4, False),
        (0.0383, 0.0391, False),
        (0.0, 1e-17, True),
        (12.0, 12.01, True),
    ],
)
def test_a_small_metric_is_held_against_its_claim_too(
    claimed: float, found: float, holds: bool
) -> None:
    plugin: Any = plugin_class("toy")
    claim = Claim("study", {}, {plugin.primary: claimed}, "")
    nan = float("nan")
    case = CaseCheck("one", found, 0.5, nan, nan, None)
    told, line = next(_compared(claim, [case], plugin, same=True, is_timed=False))
    assert told == holds
    assert line == f"{plugin.primary} is {found:.6g}, claimed {claimed:.6g}"

"""Every phase has a limit, and the message names the key that says so."""

from __future__ import annotations

import pytest

from tuner.execution.limits import PHASES, Limits


@pytest.mark.parametrize(
    ("limits", "phase", "limited", "seconds"),
    [
        (Limits(5.0), "run", True, 5.0),
        (Limits(5.0), "run", False, 50.0),
        (Limits(1.0), "run", False, 20.0),
        (Limits(5.0), "score", True, 20.0),
        (Limits(600.0), "score", True, 600.0),
        (Limits(5.0), "load", True, 60.0),
        (Limits(5.0), "null", False, 50.0),
        (Limits(5.0, 2.0), "load", True, 2.0),
        (Limits(5.0, 2.0), "freeze", False, 2.0),
        (Limits(5.0, 2.0), "start", True, 300.0),
        (Limits(5.0, 2.0), "run", True, 5.0),
        (Limits(5.0, 2.0), "run", False, 50.0),
    ],
)
def test_what_a_phase_may_take(limits: Limits, phase: str, limited: bool, seconds: float) -> None:
    assert limits.seconds(phase, limited) == seconds


def test_none_but_waiting_for_a_core_is_without_end() -> None:
    endless = [phase for phase in PHASES if Limits(600.0).seconds(phase, False) is None]
    assert endless == ["wait"]


def test_the_key_is_the_one_to_change() -> None:
    assert Limits.key("run", True) == "limits.case_time"
    assert {Limits.key(phase, False) for phase in PHASES} == {"limits.phase_time"}

"""Which stored study a configured name means: its own, or the latest that ``--new`` made of it.

A study carries the name that it was configured under and its number among the studies of that
name, as an attribute. Stored names are never parsed: `screen-2024` is no successor of `screen`. A
study that an earlier version left without the attribute is found by its exact name alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy

from tuner.plugin import InputError

SERIES = "tuner:series"


def find_study(storage: BaseStorage, name: str) -> str | None:
    """Return the stored name of the latest study configured as `name`; None where there is none.

    Raises
    ------
    InputError
        Where ``--new`` gave the name to a study that was configured under another one.
    """
    studies = storage.get_all_studies()  # once: another process may be about to add one
    members = _members(studies, name)
    if members:
        return members[max(members)]
    for study in studies:
        if study.study_name == name:
            own = study.user_attrs[SERIES]["name"]
            raise InputError(
                f"study.name: '{name}' is what --new made of study '{own}'; "
                f"set study.name: {own} for the latest of these, or give another name"
            )
    return None


def next_in_series(storage: BaseStorage, name: str) -> tuple[str, int]:
    """Return the next free name of the series `name`, `name`-2, ... and its number."""
    studies = storage.get_all_studies()
    taken = {study.study_name for study in studies}
    number = max(_members(studies, name), default=0) + 1
    while (candidate := f"{name}-{number}" if number > 1 else name) in taken:
        number += 1
    return candidate, number


def _members(studies: Sequence[FrozenStudy], name: str) -> dict[int, str]:
    """Return the studies configured as `name`: number to stored name."""
    found: dict[int, str] = {}
    for study in studies:
        series: dict[str, Any] = study.user_attrs.get(SERIES) or {
            "name": study.study_name,
            "number": 1,
        }
        if series["name"] == name:
            found[int(series["number"])] = study.study_name
    return found

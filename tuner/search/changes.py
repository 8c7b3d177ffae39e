"""What of a configuration, or of the input, has changed since a study was made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from tuner.config.given import holds
from tuner.config.load import Config
from tuner.plugin import InputError
from tuner.records import TrialRecord

SIGNATURE = "tuner:signature"
DECIDING = "tuner:deciding"
FILES = "tuner:files"
"""Attribute of a study: the input files that it was made of, name to fingerprint."""

FINGERPRINT = "data_fingerprint"
LONGEST = 50_000
"""Characters of `FILES`: where they are more, the attribute is left out (MySQL holds 65,535)."""
NAMED = 5
ABSENT = object()
"""Stands for a key that one of two configurations does not have."""

OF_THE_SEARCH = (
    *("search_space", "objective", "seed", "sampler", "pruner", "limits", "timing", FINGERPRINT),
    "plugin",
)
"""What decides about a study beside the plug-in's sections."""


@dataclass(frozen=True)
class Change:
    """A value that differs: its dotted key, what it was and what it is, `ABSENT` if there is none.

    Examples
    --------
    >>> str(Change("search_space.alpha.low", 0.1, 1))
    'search_space.alpha.low: was 0.1, now 1'
    """

    key: str
    was: Any
    now: Any

    def __str__(self) -> str:
        """Return the key, what was and what is."""
        was, now = (None if value is ABSENT else value for value in (self.was, self.now))
        return f"{self.key}: was {was!r}, now {now!r}"

    @property
    def of_place(self) -> bool:
        """Whether only the folder of files is another one."""
        return _moved(self.was, self.now)


def _moved(was: Any, now: Any) -> bool:
    if isinstance(was, list) and isinstance(now, list):
        return len(was) == len(now) and all(map(_moved, was, now))
    paths = all(isinstance(value, str) and os.path.isabs(value) for value in (was, now))
    return was == now or (paths and os.path.basename(was) == os.path.basename(now))


def describe_study(config: Config) -> dict[str, str]:
    """Return the attributes by which changes are found later, `SIGNATURE` last."""
    files = json.dumps(config.input_files)
    kept = {FILES: files} if len(files) <= LONGEST else {}
    return {**kept, DECIDING: json.dumps(config.deciding()), SIGNATURE: config.signature()}


def changes_since(made: Mapping[str, Any], config: Config) -> list[str]:
    """Return what has changed since a study was made, one text each; `made`: its attributes."""
    if made.get(SIGNATURE, config.signature()) == config.signature():
        return []
    found = [
        _of_files(made.get(FILES), config) if change.key == FINGERPRINT else str(change)
        for change in _changes(made, config)
    ]
    return found or ["another version's format, or the value of an environment variable"]


def note_on_changes(study: optuna.Study, config: Config) -> list[str]:
    """Return a line on what has changed since the study was run; none where nothing has."""
    changes = changes_since(study.user_attrs, config)
    if not changes:
        return []
    return [
        f"since study '{study.study_name}' was run, its configuration has changed: "
        f"{'; '.join(changes)}; the trials are those of the study as it was run"
    ]


def require_same_script(study: optuna.Study, config: Config, record: TrialRecord) -> None:
    """Raise `InputError` where a script made now may not be what the study has tuned.

    The script is made by the configuration as it is now, with params that were tuned under that of
    then: it is refused where the plug-in's sections differ, or the search space has no such params
    any more. Another seed, limit, place or state of the data changes nothing in it.
    """
    changes = _changes(study.user_attrs, config)
    other = [
        change
        for change in changes
        if (change.key == "plugin" or change.key.partition(".")[0] not in OF_THE_SEARCH)
        and not change.of_place
        and change.was is not ABSENT  # an earlier version's study does not know the key
    ]
    remedy = "undo the change, or start a new study: tuner run --new"
    if other:
        raise InputError(
            f"study '{study.study_name}' was run with {'; '.join(map(str, other))}; a script made "
            f"now may not do what was tuned: {remedy}"
        )
    if record.is_baseline or not (outside := _outside(config, record)):
        return
    names = {f"search_space.{name}" for name in outside} | {
        f"search_space.fixed.{name}" for name in outside
    }
    why = [str(change) for change in changes if _below(change.key, names)]
    raise InputError(
        f"study '{study.study_name}', trial {record.number}: the best setting has "
        f"{', '.join(f'{name} {record.params[name]}' for name in outside)}, which the search space "
        f"does not allow any more ({'; '.join(why) or 'it has changed'}): {remedy}"
    )


def fingerprint_of(study: optuna.Study, config: Config) -> str:
    """Return the fingerprint of the data that a study was run on."""
    made = study.user_attrs.get(DECIDING)
    return str(json.loads(made)[FINGERPRINT]) if made else config.fingerprint


def space_of(study: optuna.Study, config: Config) -> Mapping[str, Mapping[str, Any]]:
    """Return the search space that a study was run with, as plain data."""
    made = study.user_attrs.get(DECIDING)
    described = json.loads(made)["search_space"] if made else config.space.describe()
    return {name: entry for name, entry in described.items() if name != "fixed"}


def difference(before: Any, after: Any, key: str = "") -> Iterator[Change]:
    """Return every value that differs between plain data."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            dotted = f"{key}.{name}" if key else str(name)
            yield from difference(before.get(name, ABSENT), after.get(name, ABSENT), dotted)
    elif before != after:
        yield Change(key, before, after)


def _changes(made: Mapping[str, Any], config: Config) -> list[Change]:
    if DECIDING not in made:
        return []
    return list(difference(json.loads(made[DECIDING]), config.deciding()))


def _outside(config: Config, record: TrialRecord) -> list[str]:
    """Return the params of a trial that the search space does not have."""
    space = config.space
    return [
        name
        for name, value in record.params.items()
        if (name in space.searched and not holds(space.searched[name], value))
        or (name in space.fixed and space.fixed[name] != value)
    ]


def _below(key: str, names: set[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _of_files(stored: str | None, config: Config) -> str:
    """Return which input files are others than they were."""
    if stored is None:
        return (
            "the input files or their content (which of them is not known: the study was made by "
            "an earlier version, or of very many)"
        )
    was, now = json.loads(stored), config.input_files
    kinds = {
        "changed": [name for name in was if name in now and was[name] != now[name]],
        "appeared": [name for name in now if name not in was],
        "gone": [name for name in was if name not in now],
    }
    found = [f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names]
    return f"input files {', '.join(found) or 'are in another order'}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

"""The Optuna storage of a study's only writer: read from memory, written through.

Optuna reads a study's trials anew from its database several times a trial, for another process
might have written. Ours is the only one that runs trials (`tuner.search.lease`), so what it wrote
is what there is, but for trials that others enqueue: they are met where a new one is written, in
the same transaction, and read then (`Mirror.look`). And a trial is written whole, once, when it has
been drawn, in place of a transaction for each parameter: one that a crash catches while it is drawn
does not exist and is drawn again. How one trial ended and the next one that was drawn are one
transaction as well (`Mirror.hold`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from tuner.config.quiet import quiet
from tuner.plugin import InputError
from tuner.search.fenced_storage import FencedDatabase, FencedJournal, fence_of
from tuner.search.lease import Lease
from tuner.search.trial_rows import Change, NotOurs, Overtaken


class Mirror(BaseStorage):
    """A storage with one study of it in memory; a trial's id is its number here.

    Parameters
    ----------
    backend : BaseStorage
        Where everything is written; attributes of studies are read from there as well.
    study_id : int
        The study, in `backend`.
    lease : Lease, optional
        What makes this process the only writer.
    """

    def __init__(self, backend: BaseStorage, study_id: int, lease: Lease | None = None) -> None:
        self._backend = backend
        self._fence = fence_of(backend)
        self.lease = lease
        self._study_id = study_id
        self._written: dict[int, int] = {}
        self._changes: dict[int, Change] = {}
        self._moved: dict[int, int] = {}
        self._placed: dict[int, int] = {}
        self._holds = False
        trials = self._backend.get_all_trials(self._study_id)
        self._fill(trials)
        self._written |= {trial.number: trial._trial_id for trial in trials}

    def _fill(self, trials: Sequence[FrozenTrial]) -> None:
        """Take trials into memory, in place of what is there."""
        directions = self._backend.get_study_directions(self._study_id)
        name = self._backend.get_study_name_from_id(self._study_id)
        self._memory = InMemoryStorage()
        with quiet():
            self._here = self._memory.create_new_study(directions, name)
        for trial in trials:
            self._memory.create_new_trial(self._here, trial)
        self._waiting = {t.number for t in trials if t.state == TrialState.WAITING}

    def hold(self) -> None:
        """Write nothing until `settle`: how a trial ended and the next one are one transaction."""
        self._holds = True

    def settle(self) -> None:
        """Write what changed; call before anything is done for a trial that was drawn.

        Trials that another program has added meanwhile are read; they have their numbers, and what
        was not written yet comes after them (`number_of`).

        Raises
        ------
        InputError
            Where another program runs trials of the study, or ends them.
        """
        self._holds = False
        while self._changes:
            try:
                self._write_all()
            except Overtaken:
                self.look()
            except (NotOurs, UpdateFinishedTrialError):
                raise self._meddled() from None

    def is_behind(self) -> bool:
        """Return whether another program has added trials; a database is not read for it."""
        if isinstance(self._fence, FencedDatabase):
            last = next(reversed(self._written.values()), None)
            return self._fence.newest(self._study_id) != last
        trials = self._backend.get_all_trials(self._study_id, deepcopy=False)
        return len(trials) > len(self._written)

    def look(self) -> None:
        """Read what another program has enqueued; `InputError` where it runs trials itself."""
        count, placed = len(self._written), self._placed
        if not self.is_behind():
            return
        found = self._backend.get_all_trials(self._study_id)[count:]
        if any(t.state == TrialState.RUNNING and t._trial_id not in placed for t in found):
            raise self._meddled()
        new = {placed[t._trial_id]: t.number for t in found if t._trial_id in placed}
        self._changes = {n: change for n, change in self._changes.items() if n not in new}
        ours = self._memory.get_all_trials(self._here, deepcopy=False)
        rest = [trial for trial in ours[count:] if trial.number not in new]
        new |= {trial.number: place for place, trial in enumerate(rest, count + len(found))}
        self._changes = {new.get(n, n): change for n, change in self._changes.items()}
        self._moved = {old: new.pop(now, now) for old, now in self._moved.items()} | new
        self._fill([*ours[:count], *found, *rest])
        self._written |= {trial.number: trial._trial_id for trial in found}
        placed.clear()

    def number_of(self, number: int) -> int:
        """Return the number that a drawn trial was written under; call once, after `settle`."""
        return self._moved.pop(number, number)

    def _meddled(self) -> InputError:
        name = self._memory.get_study_name_from_id(self._here)
        return InputError(
            f"another program runs or ends trials of study '{name}' itself; end it, then run the "
            "same command again (trials that are enqueued, by Optuna or tuner enqueue, are run)"
        )

    def _write_all(self) -> None:
        trial, numbers = self._memory.get_trial, sorted(self._changes)
        if isinstance(self._fence, FencedDatabase):
            changes = [(trial(number), self._changes[number]) for number in numbers]
            last = next(reversed(self._written.values()), None)
            self._written |= self._fence.write(self._study_id, changes, last)
            self._changes.clear()
        for number in numbers if self._changes else ():
            self._write(trial(number), self._changes[number])
            del self._changes[number]  # what follows may fail, and this be called again

    def _write(self, trial: FrozenTrial, change: Change) -> None:
        """Write what changed of a trial, operation by operation."""
        backend, there = self._backend, change.there
        if there is None:
            assert isinstance(self._fence, FencedJournal)
            self._fence.expected = self._study_id, trial.number
            try:
                created = backend.create_new_trial(self._study_id, copy.copy(trial))
            finally:
                self._fence.expected = None
            if backend.get_trial_number_from_id(created) != trial.number:
                self._placed[created] = trial.number  # a program came between that has no lock
                raise Overtaken
            self._written[trial.number] = created
            return
        for part, name in change.parts:
            value = getattr(trial, part)[name]
            if part == "params":
                dist = trial.distributions[name]
                backend.set_trial_param(there, name, dist.to_internal_repr(value), dist)
            elif part == "intermediate_values":
                backend.set_trial_intermediate_value(there, name, value)
            elif part == "user_attrs":
                backend.set_trial_user_attr(there, name, value)
            else:
                backend.set_trial_system_attr(there, name, value)
        if change.state:
            backend.set_trial_state_values(there, trial.state, trial.values)

    def _changes_of(self, number: int) -> Change:
        return self._changes.setdefault(number, Change(self._written.get(number)))

    def _set(self, number: int, part: str, name: Any, store: Callable[[], None]) -> None:
        """Set a part of a trial in memory, and in the storage where the trial is."""
        is_old = name in getattr(self._memory.get_trial(number), part)
        store()
        self._changes_of(number).parts.setdefault((part, name), is_old)
        self._changed(number)

    def _changed(self, number: int) -> None:
        """Write what changed now, unless it is held back or the trial is still being drawn."""
        if not self._holds and (number in self._written or self._changes[number].state):
            self.settle()

    # -- trials: in memory, and where they are written already, there too -----------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial; one that is still to be drawn is written by `settle`."""
        number = self._memory.create_new_trial(self._here, template_trial)
        if template_trial is not None and template_trial.state == TrialState.WAITING:
            self._waiting.add(number)
        self._changes_of(number).state = template_trial is not None
        self._changed(number)
        return self.number_of(number)

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter."""
        change = trial_id, param_name, param_value_internal, distribution
        self._set(trial_id, "params", param_name, partial(self._memory.set_trial_param, *change))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set state and values."""
        if not self._memory.set_trial_state_values(trial_id, state, values):
            return False
        self._waiting.discard(trial_id)
        self._changes_of(trial_id).state = True
        self._changed(trial_id)
        return True

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set an intermediate value."""
        change = trial_id, step, intermediate_value
        store = partial(self._memory.set_trial_intermediate_value, *change)
        self._set(trial_id, "intermediate_values", step, store)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute."""
        store = partial(self._memory.set_trial_user_attr, trial_id, key, value)
        self._set(trial_id, "user_attrs", key, store)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of Optuna's."""
        store = partial(self._memory.set_trial_system_attr, trial_id, key, value)
        self._set(trial_id, "system_attrs", key, store)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        return self._memory.get_trial(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials, by number; those that wait, asked for at every trial, at once."""
        if states == (TrialState.WAITING,) and not deepcopy:
            return [self._memory.get_trial(number) for number in sorted(self._waiting)]
        return self._memory.get_all_trials(self._here, deepcopy, states)

    # -- studies ---------------------------------------------------------------------------------

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return the directions."""
        return self._memory.get_study_directions(self._here)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name."""
        return self._memory.get_study_name_from_id(self._here)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id."""
        return self._backend.get_study_id_from_name(study_name)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return the attributes, fresh: the lease is one of them."""
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return Optuna's attributes."""
        return self._backend.get_study_system_attrs(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute."""
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set an attribute of Optuna's."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies."""
        return self._backend.get_all_studies()

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """Make another study."""
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        """Delete a study."""
        self._backend.delete_study(study_id)

    def remove_session(self) -> None:
        """Let go of the connection."""
        self._backend.remove_session()

"""The Optuna storage of a study's only writer: read from memory, written through.

Optuna reads a study's trials anew from its database several times a trial, for another process
might have written. Ours is the only one (`tuner.search.lease`), so what it wrote is what
there is. And a trial is written whole, once, when it has been drawn, in place of a transaction for
each parameter: one that a crash catches while it is drawn does not exist and is drawn again.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from tuner.config.quiet import quiet
from tuner.plugin import InputError
from tuner.search.lease import Lease


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
        self.lease = lease
        self._study_id = study_id
        directions = self._backend.get_study_directions(self._study_id)
        name = self._backend.get_study_name_from_id(self._study_id)
        self._memory = InMemoryStorage()
        with quiet():
            self._here = self._memory.create_new_study(directions, name)
        self._written: dict[int, int] = {}
        for trial in self._backend.get_all_trials(self._study_id):
            self._written[trial.number] = trial._trial_id
            self._memory.create_new_trial(self._here, trial)

    def settle(self) -> None:
        """Write the trials that were drawn; call before anything is done for them.

        Raises
        ------
        InputError
            Where another program has added trials to the study meanwhile.
        """
        trials = self._memory.get_all_trials(self._here, deepcopy=False)
        for trial in trials[len(self._written) :]:
            created = self._backend.create_new_trial(self._study_id, copy.copy(trial))
            find = self._backend.get_trial_id_from_study_id_trial_number
            try:
                found = find(self._study_id, trial.number)
            except KeyError:
                found = -1
            if found != created:
                name = self._memory.get_study_name_from_id(self._here)
                raise InputError(
                    f"another program added trials to study '{name}' while it ran; "
                    "run the same command again to take them up"
                )
            self._written[trial.number] = created

    # -- trials: in memory, and where they are written already, there too -----------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial; one that is still to be drawn is written by `settle`."""
        number = self._memory.create_new_trial(self._here, template_trial)
        if template_trial is not None:
            self.settle()
        return number

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        """Set a parameter."""
        self._memory.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        if (there := self._written.get(trial_id)) is not None:
            self._backend.set_trial_param(there, param_name, param_value_internal, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set state and values; written first, for whoever hears that a trial ended may count."""
        self.settle()
        if not self._backend.set_trial_state_values(self._written[trial_id], state, values):
            return False
        return self._memory.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Set an intermediate value."""
        self._memory.set_trial_intermediate_value(trial_id, step, intermediate_value)
        if (there := self._written.get(trial_id)) is not None:
            self._backend.set_trial_intermediate_value(there, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute."""
        self._memory.set_trial_user_attr(trial_id, key, value)
        if (there := self._written.get(trial_id)) is not None:
            self._backend.set_trial_user_attr(there, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute of Optuna's."""
        self._memory.set_trial_system_attr(trial_id, key, value)
        if (there := self._written.get(trial_id)) is not None:
            self._backend.set_trial_system_attr(there, key, value)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        return self._memory.get_trial(trial_id)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials, by number."""
        return self._memory.get_all_trials(self._here, deepcopy, states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best trial."""
        return self._memory.get_best_trial(self._here)

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

"""The trial that the user picks: by its number, or by bounds on metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.config.bounds import holds
from tuner.config.objective import Objective
from tuner.plugin import InputError
from tuner.records import TrialRecord


def picked_number(records: Sequence[TrialRecord], number: int) -> tuple[TrialRecord, str]:
    """Return the trial with a number, and why it is chosen; `InputError` if it is not complete."""
    record = next((record for record in records if record.number == number), None)
    if record is None:
        raise InputError(f"export.select: there is no trial {number} that has ended")
    if record.state != "complete":
        raise InputError(
            f"export.select: trial {number} is {record.state}; expected one that is complete"
        )
    return record, "export.select names it"


def picked_within(
    complete: Sequence[TrialRecord], bounds: Mapping[str, str], objective: Objective
) -> tuple[TrialRecord, str]:
    """Return the best of the trials that keep `bounds`, and how it was chosen.

    What decides among them is the first objective that has no bound; the first where all have one.

    Raises
    ------
    InputError
        Where no trial keeps them.
    """
    kept = [
        record
        for record in complete
        if all(holds(bound, record.metrics[name]) for name, bound in bounds.items())
    ]
    said = " and ".join(f"{name} {bound}" for name, bound in bounds.items())
    if not kept:
        metrics = [record.metrics for record in complete]
        reached = "; ".join(
            f"{name} is {min(m[name] for m in metrics):.6g} to {max(m[name] for m in metrics):.6g}"
            for name in bounds
        )
        raise InputError(
            f"export.select: no trial has {said} ({reached}); give another bound, "
            "and the same command goes on"
        )
    names = list(objective.objectives)
    free = [name for name in names if name not in bounds] or names
    place = names.index(free[0])
    is_up = objective.objectives[free[0]] == "maximize"
    chosen = (max if is_up else min)(kept, key=lambda record: record.values[place])
    extreme = "highest" if is_up else "lowest"
    of = f"{len(kept)} of {len(complete)} trials"
    return chosen, f"the {extreme} {free[0]} of {of} with {said} (export.select)"

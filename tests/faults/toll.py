"""What injected faults did, counted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass
class Toll:
    """Counts; all but the first should be 0.

    Attributes
    ----------
    injected : int
        Faults that really happened.
    lost, repeated, stuck : int
        Trials that were measured and are gone, that ran again although they had been kept, that
        are in no final state.
    misreported : int
        Studies whose exit code, printout, storage, store or script disagree.
    hung : int
        Starts that did not end in their time.
    orphans, leftovers : int
        Processes that outlived their study; files and folders that are none of its results.
    details : list of str
        A line for each harm.
    """

    injected: int = 0
    lost: int = 0
    repeated: int = 0
    stuck: int = 0
    misreported: int = 0
    hung: int = 0
    orphans: int = 0
    leftovers: int = 0
    details: list[str] = field(default_factory=list)

    def harm(self, kind: str, detail: str, count: int = 1) -> None:
        """Count harm of a kind, unless `count` is 0."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.details.append(f"{kind}: {detail}")

    def add(self, other: Toll) -> None:
        """Add the counts of another."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    @property
    def harmless(self) -> bool:
        """Whether no fault did any harm."""
        return not self.details


COLUMNS = [entry.name for entry in fields(Toll) if entry.type == "int"]

"""Whose a folder of results and a script are, so that no study takes another's.

A study's folder holds a file, `MARK`, with the study's identity and the scripts that it wrote, each
with the trial and a hash. A script is a study's where its mark names the path and the hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tuner.plugin import InputError

OUT = Path("out")
MARK = "study.json"
PART = f".{MARK}.part"


@dataclass(frozen=True)
class Owner:
    """A study, as its folder knows it.

    Attributes
    ----------
    id : str
        Identity of the study; empty where it is still to be made.
    study, configured : str
        Its name in the storage, and the configured one.
    storage : str
        Its address, without credentials.
    completed : int
        Completed trials.
    exports : mapping
        Path of a script to the trial that is frozen in it and the hash of its text.
    out : str
        The folder that results of studies go to.
    """

    id: str
    study: str
    configured: str
    storage: str
    completed: int = 0
    exports: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    out: str = str(OUT)

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return Path(self.out) / self.study

    def is_same(self, other: Owner) -> bool:
        """Whether both are one study."""
        return bool(self.id) and self.id == other.id


def check_folder(owner: Owner) -> None:
    """Raise `InputError` where the study's folder holds what another study has left."""
    held = read_mark(owner.folder)
    remedy = f"move it away (mv {owner.folder} {owner.folder}.old), or give another study.name"
    if held is not None and not held.is_same(owner):
        raise InputError(
            f"{owner.folder} holds the results of another study '{held.study}' of {held.storage}; "
            f"{remedy}"
        )
    if held is None and not owner.completed and _has_files(owner.folder):
        raise InputError(f"{owner.folder} holds files that are not this study's; {remedy}")


def check_script(path: Path, owner: Owner, key: str = "export.path") -> str | None:
    """Raise `InputError` where there is a script, or another file, that is not this study's.

    `key` is what the path was given by, for the message.

    Returns
    -------
    str or None
        A note where it is of an earlier study of the same series, which keeps a copy.
    """
    if not path.is_file():
        return None
    holder, trial = script_of(path, Path(owner.out))
    if holder is None:
        mark = read_mark(owner.folder)
        if (mark is None and owner.completed) or (mark and _key(path) in mark.exports):
            return None
        raise InputError(
            f"{key}: {path} is there already and no study here wrote it; "
            f"move it away, or give another {key}"
        )
    if holder.is_same(owner):
        return None
    if (holder.configured, holder.storage) == (owner.configured, owner.storage):
        return (
            f"{path} is trial {trial} of study '{holder.study}' until this study ends; "
            f"a copy is kept in {holder.folder / 'script'}"
        )
    raise InputError(
        f"{key}: {path} is the script of another study '{holder.study}' of "
        f"{holder.storage}, trial {trial}; move it away, or give another {key}"
    )


def script_of(path: Path, out: Path = OUT) -> tuple[Owner | None, int]:
    """Return the study below `out` whose script lies at `path`, and its trial; None if none is."""
    if not path.is_file():
        return None, -1
    text = _hash(path)
    for mark in _marks(out):
        trial, known = mark.exports.get(_key(path), (-1, ""))
        if known == text:
            return mark, trial
    return None, -1


def stale_note(path: Path, config: Path, out: Path = OUT) -> str | None:
    """Return a line where a script lies at `path` that an earlier run wrote; None where none does.

    For a run that ends without writing one: what lies there is not its result.
    """
    if not path.is_file():
        return None
    holder, trial = script_of(path, out)
    of = f"trial {trial} of study '{holder.study}'" if holder else "no trial of a study here"
    return (
        f"{path} is not this run's result: it is {of}, frozen earlier; "
        f"to freeze the best so far: tuner export {config} -o {path}"
    )


def claim(owner: Owner) -> None:
    """Make the study's folder, and mark it as the study's."""
    held = read_mark(owner.folder)
    _write(replace(owner, exports=held.exports if held else {}))


def claim_script(owner: Owner, path: Path, trial: int, source: Path) -> None:
    """Remember in the study's folder, if there is one, that the script in `source` goes to `path`.

    Call before it is there: killed in between, the study must know the script for its own.
    """
    held = read_mark(owner.folder)
    if held is not None and held.is_same(owner):
        _write(replace(held, exports={**held.exports, _key(path): (trial, _hash(source))}))


def read_mark(folder: Path) -> Owner | None:
    """Return whose a folder is; None where it is not marked, or the mark is damaged."""
    try:
        plain = json.loads((folder / MARK).read_text(encoding="utf-8"))
        exports = {path: (int(n), str(known)) for path, (n, known) in plain["exports"].items()}
        return Owner(**{**plain, "exports": exports})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _marks(out: Path) -> Iterator[Owner]:
    for path in sorted(out.glob(f"*/{MARK}")):
        if (mark := read_mark(path.parent)) is not None:
            yield mark


def _write(owner: Owner) -> None:
    owner.folder.mkdir(parents=True, exist_ok=True)
    part = owner.folder / PART
    part.write_text(json.dumps(asdict(owner), indent=1), encoding="utf-8")
    part.replace(owner.folder / MARK)


def _has_files(folder: Path) -> bool:
    """Whether a folder holds more than a mark that was never whole: a disk was full, or a kill."""
    return any(path.is_file() and path != folder / PART for path in folder.rglob("*"))


def _key(path: Path) -> str:
    return os.path.realpath(path)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

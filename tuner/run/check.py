"""Check everything that `tuner run` needs before any work is spent; `tuner validate` shows it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial

import psutil
from optuna.storages import BaseStorage

from tuner.config.addresses import masked
from tuner.config.errors import Mistakes, at_key, error_at
from tuner.config.load import Config
from tuner.config.parts import made_executor
from tuner.config.reach import why_unreachable, why_unwritable
from tuner.config.samplers import make_pruner, make_sampler, settings_in_all
from tuner.export.outputs import resolved
from tuner.export.ownership import Owner, check_folder, check_script
from tuner.measure.stopwatch import tells_waiting
from tuner.plugin import InputError
from tuner.plugin.registry import LOCAL
from tuner.search.peek import peek_storage
from tuner.search.plan import IDENTITY, Plan, plan_study
from tuner.tracking.mlflow_uri import absolute_uri, check_uri, sqlite_path

DEFAULT_URI = "sqlite:///mlflow.db"
SMALLEST_WORKER = 80_000_000
"""Bytes that a worker holds before it has read any data: Python, NumPy and the engine."""


def check(config: Config, *, new: bool = False, load: bool = False) -> list[str]:
    """Check what the study of `config` needs; return what its user should know, one line each.

    Parameters
    ----------
    config : Config
        The configuration.
    new : bool
        Whether another study is to be made (``--new``).
    load : bool
        Read the data as well, as each worker will.

    Raises
    ------
    InputError
        Where `run` could not do its work: one line with the key, its place and what to do.
    """
    found = Mistakes(config.document)
    notes = [*(found.of(lambda: config.notes) or ())]
    for part in (_search, _executor, _machine):
        notes += found.of(list, part(config)) or []
    if (opened := found.of(_storage, config)) is not None:
        # With mistakes it is another study: what is wrong with that is not to be told.
        plans = Mistakes(config.document) if found.lines else found
        if (plan := plans.of(plan_study, *opened, config, new)) is not None:
            notes += found.of(list, _outputs(config, plan)) or []
    if trouble := found.of(tracking_trouble, config):
        notes.append(trouble)
    found.tell()
    return notes + (list(_data(config)) if load else [])


def owner_of(config: Config, plan: Plan) -> Owner:
    """Return the study that a plan is for, as its folder knows it."""
    return Owner(
        id=plan.attributes.get(IDENTITY, ""),
        study=plan.name,
        configured=config.name,
        storage=_place(config.engine.study.storage),
        completed=plan.completed,
        out=str(config.engine.out),
    )


def tracking_uri(config: Config) -> str:
    """Return the store: the configured one, else the environment's, else a file right here."""
    own, variable = config.engine.tracking.uri, os.environ.get("MLFLOW_TRACKING_URI")
    uri = own or variable or DEFAULT_URI
    if own or not variable:
        key = ("tracking", "uri")
        at_key(config.document, key, check_uri, uri, config.engine.study.storage)
    else:
        check_uri(uri, config.engine.study.storage, "MLFLOW_TRACKING_URI")
    return uri


def tracking_trouble(config: Config) -> str | None:
    """Return why the tracking store cannot take the study now: a study runs all the same."""
    if not config.engine.tracking.enabled:
        return None
    uri = tracking_uri(config)
    path = sqlite_path(uri)
    trouble = why_unwritable(path.parent) if path is not None else why_unreachable(uri)
    if trouble is None:
        return None
    unsent = config.engine.out / "unsent"
    return (
        f"tracking: {masked(uri)}: {trouble}; until then the trials are kept in {unsent} "
        "and sent by the next run (tracking.enabled: false runs without)"
    )


def _storage(config: Config) -> tuple[BaseStorage | None]:
    """Return the storage alone; None in it where there is none yet."""
    url = config.engine.study.storage
    return (at_key(config.document, ("study", "storage"), peek_storage, url),)


def _search(config: Config) -> Iterator[str]:
    """Check sampler and pruner; what they will not do is worth a note."""
    study, document = config.engine.study, config.document
    several = len(config.objectives) > 1
    arguments = (study.sampler, config.space, study.seed, several)
    at_key(document, ("study", "sampler"), make_sampler, *arguments)
    at_key(document, ("study", "pruner"), make_pruner, study.pruner)
    if several and study.pruner.name != "nop":
        message = "a pruner serves one objective; use 'nop', or name one objective"
        raise error_at(document, ("study", "pruner"), message)
    size = at_key(document, ("study", "sampler"), settings_in_all, study.sampler, config.space)
    searched = study.trials - (config.plugin.baseline() is not None)
    if size is not None and size > searched:
        yield (
            f"study.sampler: '{study.sampler.name}' has {size} settings and study.trials leaves "
            f"{searched} beside the baseline: not all are tried; set study.trials: "
            f"{size + study.trials - searched}"
        )
    elif size is not None and size < searched:
        yield f"study.sampler: '{study.sampler.name}' ends after its {size} settings"


def _executor(config: Config) -> Iterator[str]:
    """Check where trials run."""
    section, made = config.engine.executor, made_executor(config.document, config.engine)
    if probe := getattr(made.func, "probe", None):
        at_key(config.document, ("executor",), partial(probe, **made.keywords))
    task = config.task
    if section.kind != LOCAL and task.compares_times and task.baseline is None:
        yield (
            f"executor: plug-in '{config.engine.plugin}' has no baseline to measure on each host: "
            "hosts of one CPU and number of cores are taken to be equally fast, others are left out"
        )


def _machine(config: Config) -> Iterator[str]:
    """Check what is asked of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = config.engine.limits.threads
    for key, wanted in (("workers", config.engine.workers), ("limits.threads", threads)):
        if wanted > (cores or 1):
            yield f"{key}: {wanted} on {cores} cores: measurements take turns"
    if sys.platform == "linux" and not tells_waiting():
        yield (
            "timing: /proc/thread-self/schedstat cannot be read (a container that hides it?): what "
            "others on this machine take of a time is estimated; keep the machine quiet"
        )
    memory = config.engine.limits.memory
    if memory is None:
        return
    if memory < SMALLEST_WORKER:
        raise error_at(
            config.document,
            ("limits", "memory"),
            f"expected at least {SMALLEST_WORKER // 10**6}MB, what a worker holds before it has "
            f"read any data, got {memory / 1e6:g}MB",
        )
    total = psutil.virtual_memory().total
    if memory * config.engine.workers > total:
        yield (
            f"limits.memory: {config.engine.workers} workers of {memory / 1e9:.2g}GB may take more "
            f"than the machine's {total / 1e9:.2g}GB"
        )


def _outputs(config: Config, plan: Plan) -> Iterator[str]:
    """Check that results can be written, and that they overwrite nobody else's."""
    owner, document = owner_of(config, plan), config.document
    if (out := config.engine.out).exists() and not out.is_dir():
        raise InputError(f"'{out}' is a file, and results go below a folder of that name; move it")
    if trouble := why_unwritable(owner.folder):
        raise InputError(f"results go to {owner.folder}: {trouble}")
    at_key(document, ("study", "name"), check_folder, owner)
    path = config.engine.export.path
    if path is None:
        return
    key = ("export", "path")
    if not path.parent.is_dir():
        raise error_at(document, key, f"no folder {path.parent}; make it first")
    if path.is_dir():
        raise error_at(document, key, f"{path} is a folder; name a file")
    try:
        home = resolved(path).parent
    except OSError:
        raise error_at(document, key, f"{path} is a circle of links; name a file") from None
    if not path.exists() and (trouble := why_unwritable(home)):
        raise error_at(document, key, trouble)
    if note := at_key(document, key, check_script, path, owner):
        yield note


def _data(config: Config) -> Iterator[str]:
    """Read the data as a worker will, and look at the cases."""
    document, key = config.document, ("data",)
    cases = at_key(document, key, config.plugin.load)
    if not cases.tuned:
        raise error_at(document, key, "found no case to tune on; give one at least")
    names = Counter(case.name for case in (*cases.tuned, *cases.held_out))
    if twice := [name for name, count in names.items() if count > 1]:
        raise error_at(document, key, f"two cases are called '{twice[0]}'; each needs its own name")
    if config.engine.study.pruner.name != "nop" and len(cases.tuned) == 1:
        yield "study.pruner: there is one case, and trials are pruned between cases: none will be"
    memory, held = config.engine.limits.memory, psutil.Process().memory_info().rss
    if memory is not None and held > memory:
        raise error_at(
            document,
            ("limits", "memory"),
            f"{memory / 1e6:g}MB are less than the {held / 1e6:.0f}MB that a worker holds once it "
            "has read the data; give more",
        )


def _place(url: str) -> str:
    """Return an address without credentials that means the same in every folder."""
    if url.startswith("journal:///"):
        return f"journal:///{os.path.realpath(url.removeprefix('journal:///'))}"
    return masked(absolute_uri(url))

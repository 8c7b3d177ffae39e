"""Studies from Python: `tuner.run` and `tuner.optimize`, with all that the command line has."""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from tuner.config.addresses import UnsetVariable, expanded, masked
from tuner.config.load import Config, config_of
from tuner.config.outage import outage
from tuner.config.yaml import Document
from tuner.plugin import Direction, InputError, Params
from tuner.report.console import LiveProgress
from tuner.report.notebook import NotebookProgress, in_notebook
from tuner.report.terminal import make_console
from tuner.run import session
from tuner.run.interrupt import StopOnInterrupt
from tuner.run.prepare import load_prepared
from tuner.run.result import Result

Space = Mapping[str, Any]
"""By parameter: ``(low, high)``, a list of choices, a mapping as in the YAML file, or a value."""

HERE = Path("tuner.optimize")
"""Where the configuration of `optimize` stands, for messages."""

_running: set[tuple[str, str]] = set()
_guard = threading.Lock()


def run(config: str | Path | Config, *, overrides: Sequence[str] = (), new: bool = False) -> Result:
    """Run, or resume, the study of a configuration; the same as ``tuner run``.

    Ctrl-C (in a notebook: interrupt) lets the running trials end and returns what there is; the
    same call goes on from there. A second one raises KeyboardInterrupt at once; nothing that was
    told is lost by it either.

    Parameters
    ----------
    config : str, Path or Config
        The YAML file, or what `tuner.load_config` made of one.
    overrides : sequence of str
        Keys to set on top of the file, as in ``study.trials=20``.
    new : bool
        Start a new study beside an existing one of the same name.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        For bad input, a changed configuration, or a study that is being run: one line.
    tuner.search.stopped.StudyStopped
        Where the baseline or too many trials in a row fail.
    """
    with _short_errors():
        if isinstance(config, Config) and overrides:
            raise InputError("overrides: expected a file to set keys of; pass them to load_config")
        if isinstance(config, Config):
            return _run(config, new)
        say = make_console(stderr=True).print
        return _run(load_prepared(Path(config), overrides, partial(say, highlight=False)), new)


def optimize(  # noqa: PLR0913 - the names that everybody needs; all others are in `config`
    function: Callable[..., Any],
    space: Space,
    *,
    trials: int = 50,
    direction: Direction | Mapping[str, Direction] = "minimize",
    storage: str | None = None,
    name: str | None = None,
    workers: int = 1,
    seed: int = 0,
    baseline: Params | None = None,
    config: Mapping[str, Any] | None = None,
) -> Result:
    """Tune a function, with all that ``tuner run`` has: resumed, tracked, timed, within limits.

    It runs in worker processes: lambdas, closures and functions of a notebook may be given (they
    are pickled by cloudpickle, and sent through a pipe), but what it changes outside of itself is
    changed there. The same call goes on with a study that is there, as long as the function does
    the same and the space is the same. Ctrl-C as in `run`.

    Parameters
    ----------
    function : callable
        Called with the params as keyword arguments; returns a number, or a mapping of metrics.
    space : mapping
        By parameter: ``(low, high)`` (whole numbers where both are), a list of choices, a mapping
        as in the YAML file (``{"low": 1e-5, "high": 1, "log": True}``), or a value that is fixed.
    trials : int
        Completed trials in all, those of earlier calls among them.
    direction : {"minimize", "maximize"} or mapping
        Of the number; or by name those of the metrics, of which the first is tuned.
    storage : str, optional
        Optuna storage; ``sqlite:///tuner.db`` in the current folder if not given.
    name : str, optional
        Of the study; the function's if not given, and ``lambda-DIGEST``, by its code, for a lambda.
    workers : int
        Trials at a time, a process each.
    seed : int
        Of the sampler.
    baseline : mapping, optional
        Params to compare with, trial 0.
    config : mapping, optional
        Anything else, by the keys of the YAML file; it goes before what the arguments say:
        ``{"limits": {"case_time": "10s"}, "tracking": {"enabled": False}}``.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        For bad input, a changed function or space, or a study that is being run: one line.
    tuner.search.stopped.StudyStopped
        Where the baseline or too many trials in a row fail.

    Examples
    --------
    >>> import contextlib, tempfile, tuner
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    ...     result = tuner.optimize(
    ...         lambda x, y: (x - 1) ** 2 + abs(y),
    ...         {"x": (-5.0, 5.0), "y": [0, 1]},
    ...         trials=12,
    ...         config={"tracking": {"enabled": False}},
    ...     )
    >>> result.best.params["y"], len(result.trials)
    (0, 12)
    """
    study = {"name": name or _name_of(function), "trials": trials, "seed": seed}
    metrics = {"value": direction} if isinstance(direction, str) else dict(direction)
    sections = {
        "plugin": "function",
        "study": {**study, **({"storage": storage} if storage else {})},
        "data": {"function": function, "metrics": metrics, "baseline": baseline},
        "search_space": {key: _entry(value) for key, value in space.items()},
        "objective": next(iter(metrics), ""),
        "workers": workers,
    }
    with _short_errors():
        return _run(_config_of(_merged(sections, config or {})), new=False)


def _name_of(function: Callable[..., Any]) -> str:
    """Return a function's name; a lambda's by what it is compiled to, equal in every session."""
    called = re.sub(r"[^\w-]", "", str(getattr(function, "__name__", ""))) or "function"
    if isinstance(function, FunctionType) and function.__name__ == "<lambda>":
        code = repr(_told(function.__code__)).encode()
        called += f"-{hashlib.sha256(code).hexdigest()[:6]}"
    return called


def _told(value: Any) -> Any:
    """Return what code does, without places; what a constant is, whose order a hash may decide."""
    if isinstance(value, CodeType):
        parts = value.co_code, value.co_names, value.co_varnames, value.co_freevars, value.co_consts
        return tuple(map(_told, parts))
    if isinstance(value, frozenset):
        return sorted(map(repr, map(_told, value)))
    return tuple(map(_told, value)) if isinstance(value, tuple) else value


def _entry(value: Any) -> Any:
    """Return an entry of the space as the YAML file has it; NumPy's numbers as Python's."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InputError(f"{HERE}: search_space: expected (low, high), got {value!r:.60}")
        value = dict(zip(("low", "high"), value, strict=True))
    if isinstance(value, Mapping):
        return {key: _entry(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [each if isinstance(each, tuple) else _entry(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def _merged(sections: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections with others on top, mappings key by key."""
    merged = dict(sections)
    for key, value in changes.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = _merged(under, value)
        merged[key] = value
    return merged


def _config_of(sections: dict[str, Any]) -> Config:
    """Validate sections."""
    try:
        data = expanded(sections)
    except UnsetVariable as error:
        raise InputError(f"{HERE}: {'.'.join(map(str, error.key))}: {error}") from None
    return config_of(Document(HERE, data, sections, {}))


def _run(config: Config, new: bool) -> Result:
    objective = config.objective
    progress = (
        NotebookProgress(objective)
        if in_notebook()
        else LiveProgress(make_console(stderr=True), objective)
    )
    with _alone(config), StopOnInterrupt() as stop:
        found = session.run(config, progress, stop, new=new)
    for problem in found.tracking.problems:
        warnings.warn(f"tracking: {masked(problem)}", stacklevel=3)
    return Result(found, config)


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Refuse a study that another thread runs: the storage knows processes alone."""
    key = config.engine.study.storage, config.name
    with _guard:
        if key in _running:
            raise InputError(
                f"study '{config.name}' is being run by another thread of this process; "
                "wait for it, or give another name"
            )
        _running.add(key)
    try:
        yield
    finally:
        with _guard:
            _running.discard(key)


@contextmanager
def _short_errors() -> Iterator[None]:
    """Raise what the user can mend as one line, without the engine's frames."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error)) from None
    except Exception as error:
        if (line := outage(error)) is None:
            raise
        raise InputError(line) from error

"""Running a registered simulator: options checked against its signature, a folder made whole."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model

from tuner.plugin import InputError
from tuner.registry import Simulator, simulator


def options_of(call: Simulator) -> dict[str, inspect.Parameter]:
    """Give a simulator's options: its keyword-only arguments but ``seed``."""
    parameters = inspect.signature(call, eval_str=True).parameters.values()
    kept = (p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed")
    return {parameter.name: parameter for parameter in kept}


def simulate(name: str, folder: Path, seed: int, options: Mapping[str, Any]) -> None:
    """Run simulator `name` into `folder`, which appears only once it is whole.

    Parameters
    ----------
    name : str
        As registered under ``tuner.simulators``.
    folder : Path
        Must not exist yet; its parents are made.
    options : mapping
        Keyword arguments; text is converted to what the signature asks for.

    Raises
    ------
    InputError
        For an unknown simulator or option, a wrong value, or a folder that exists.
    """
    call = simulator(name)
    checked = _checked(name, options_of(call), options)
    if folder.exists():
        raise InputError(f"{folder} exists; give another folder, or remove it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        try:
            call(temporary, seed=seed, **checked)
        except ValueError as error:  # by contract about an option: see `registry.Simulator`
            raise InputError(f"simulator '{name}': {error}") from error
        temporary.chmod(0o755)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(
    name: str, known: Mapping[str, inspect.Parameter], options: Mapping[str, Any]
) -> dict[str, Any]:
    for option in options:
        if option not in known:
            offered = ", ".join(known) or "none"
            raise InputError(f"simulator '{name}' has no option '{option}'; it has: {offered}")
    fields: dict[str, Any] = {
        key: (
            Any if p.annotation is p.empty else p.annotation,
            ... if p.default is p.empty else p.default,
        )
        for key, p in known.items()
    }
    try:
        model = create_model("Options", **fields).model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        raise InputError(
            f"simulator '{name}', option '{option}': {first['msg']}, got {first.get('input')!r}"
        ) from None
    return {key: getattr(model, key) for key in options}

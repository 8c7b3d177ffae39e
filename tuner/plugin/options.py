"""Options of simulators and executors: what there are, and whether those that came will do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from tuner.plugin import InputError
from tuner.plugin.switches import misread
from tuner.plugin.words import did_you_mean, in_words, shown


def options_of(call: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the options of a simulator or an executor: its keyword-only arguments but ``seed``."""
    parameters = inspect.signature(call, eval_str=True).parameters.values()
    kept = (p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed")
    return {parameter.name: parameter for parameter in kept}


def checked_options(
    what: str, known: Mapping[str, inspect.Parameter], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options as the parameters of a function take them; `InputError` for others."""
    fields: dict[str, Any] = {
        key: (
            Any if p.annotation is p.empty else p.annotation,
            ... if p.default is p.empty else p.default,
        )
        for key, p in known.items()
    }
    model = validated_options(what, create_model("Options", **fields), options)
    return {key: getattr(model, key) for key in options}


def validated_options(what: str, model: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    """Return options as a model; `InputError`, one line, for the first that it does not take."""
    if unknown := [option for option in options if option not in model.model_fields]:
        offered = ", ".join(model.model_fields) or "none"
        hint = did_you_mean(unknown[0], model.model_fields)
        raise InputError(f"{what} has no option '{unknown[0]}'; it has: {offered}{hint}")
    for key, said in misread(model, options):
        raise InputError(f"{what}, option '{key[0]}': {said}")
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0])
        if first["type"] == "missing":
            raise InputError(f"{what} needs the option '{option}'") from None
        raise InputError(
            f"{what}, option '{option}': {in_words(first['msg'])}, got {shown(first['input'])}"
        ) from None

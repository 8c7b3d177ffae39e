"""The plug-in's configuration: what its placeholders stand for, every mistake with its key."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel, ConfigDict, model_validator

from tuner.config.own_space import listed_defaults, listed_ranges
from tuner.plugin import InputError, Value
from tuner.plugin.words import did_you_mean
from tuner_plugins.command.sections import BUILT_IN, Case, DataSection
from tuner_plugins.command.template import names, only_name, shell_text

Key = tuple[str | int, ...]

_BLANK = "a b"


class CommandConfig(BaseModel):
    """The plug-in's part of a configuration; `search_space` is the engine's, read here as well."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: DataSection
    search_space: dict[str, Any] = {}

    @model_validator(mode="after")
    def _names_fit(self) -> CommandConfig:
        _check_names(self)
        return self

    @property
    def cases(self) -> Iterator[tuple[Key, Case]]:
        """All cases, with the keys where they stand."""
        for key, cases in (("cases", self.data.cases), ("held_out", self.data.held_out)):
            for place, case in enumerate(cases):
                yield ("data", key, place), case

    @property
    def ranges(self) -> dict[str, BaseDistribution]:
        """What is searched."""
        return listed_ranges(self.search_space)

    @property
    def defaults(self) -> dict[str, Value]:
        """Every parameter: the baseline's, what is fixed, the middle of a range."""
        return {**listed_defaults(self.search_space), **(self.data.baseline or {})}

    @property
    def launch(self) -> Iterator[tuple[Key, str]]:
        """What makes up the command, with the keys where it stands."""
        data = self.data
        for place, word in enumerate(data.command):
            yield ("data", "command", place), word
        for name, flag in data.flags.items():
            yield from ((("data", "flags", name), word) for word in flag)
        for name, text in data.env.items():
            yield ("data", "env", name), text
        for name in ("stdout", "success_file"):
            if text := getattr(data, name):
                yield ("data", name), text

    @property
    def scoring(self) -> Iterator[tuple[Key, str]]:
        """The same of the metrics."""
        for name, metric in self.data.metrics.items():
            key: Key = ("data", "metrics", name)
            yield from (
                (((*key, "command", i), word) for i, word in enumerate(metric.command or ()))
            )
            if metric.file:
                yield (*key, "file"), metric.file


def _check_names(config: CommandConfig) -> None:
    """Check that every name that is used is known, and that every known one is used."""
    data, params, keys = config.data, config.defaults, _case_keys(config)
    launch, scoring = list(config.launch), list(config.scoring)
    for where, text in [*launch, *scoring]:
        for name in names(text):
            if name not in keys and name not in params and name not in BUILT_IN:
                known = [*keys, *params, *BUILT_IN]
                raise InputError(
                    f"unknown placeholder '{{{name}}}'; {_expected(name, known)}", where
                )
    used = {name for _, text in launch for name in names(text)}
    for key, names_ in (("baseline", data.baseline or {}), (None, config.search_space)):
        for name in names_:
            where = ("data", key, name) if key else ("search_space", name)
            if name in keys or name in BUILT_IN:
                raise InputError(f"'{name}' is a placeholder already; give another name", where)
            if name not in used:
                raise InputError(_unused(name, used - {*keys, *BUILT_IN}), where)
    _check_cases(config, used, {name for _, text in scoring for name in names(text)})
    _check_flags(config)
    _check_baseline(config)


def _check_baseline(config: CommandConfig) -> None:
    baseline = config.data.baseline or {}
    lacking = sorted(set(config.ranges) - set(baseline or config.ranges))
    if lacking:
        raise InputError(f"lacks {', '.join(lacking)}", ("data", "baseline"))
    for name, value in baseline.items():
        is_range = isinstance(config.ranges.get(name), IntDistribution | FloatDistribution)
        if is_range and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"expected a number, got {value!r}", ("data", "baseline", name))


def _case_keys(config: CommandConfig) -> list[str]:
    """Return the keys of all cases."""
    found: dict[str, None] = {}
    for where, case in config.cases:
        for name in case:
            if not (name.isascii() and name.isidentifier()):
                raise InputError("expected letters, digits and '_'", (*where, name))
            if name in BUILT_IN:
                raise InputError(f"'{name}' is filled in by the plug-in; rename it", (*where, name))
            found[name] = None
    return list(found)


def _check_cases(config: CommandConfig, launch: set[str], scoring: set[str]) -> None:
    keys, seen = set(_case_keys(config)), set[Value]()
    for where, case in config.cases:
        if not isinstance(case.get("name"), str) or not case["name"]:
            raise InputError("expected a 'name'", where)
        if case["name"] in seen:
            raise InputError(f"two cases are called '{case['name']}'", (*where, "name"))
        seen.add(case["name"])
        for name in case:
            if name != "name" and name not in launch | scoring:
                raise InputError(_unused(name, launch | scoring), (*where, name))
        for name in sorted((launch | scoring) & keys - set(case)):
            raise InputError(f"lacks '{name}', which the command line uses", where)


def _check_flags(config: CommandConfig) -> None:
    data = config.data
    for name in data.flags:
        if name not in config.defaults:
            raise InputError(
                f"no such parameter; {_expected(name, list(config.defaults))}",
                ("data", "flags", name),
            )
    if data.shell:
        _check_quotes(data.command[0])
        return
    for place, word in enumerate(data.command):
        where, name = ("data", "command", place), only_name(word) or ""
        for part in names(word):
            if part in data.flags and part != name:
                raise InputError(f"the flag '{{{part}}}' must be a word of its own", where)
        before = data.command[place - 1] if place > 1 else ""
        if name in data.flags or not before.startswith("-") or names(before):
            continue
        if name in config.defaults and None in _values(config, name):
            remedy = f"flags: {{{name}: '{before} {{{name}}}'}} and here '{{{name}}}' alone"
            raise InputError(f"without a value '{before}' would be left alone; use {remedy}", where)


def _check_quotes(text: str) -> None:
    """Refuse placeholders within quotes: their values have quotes of their own."""
    used = names(text)
    try:
        found = shlex.split(shell_text(text, {}, dict.fromkeys(used, _BLANK)))
    except ValueError:  # no mistake: a here-document, say
        return
    whole = sum(word.count(_BLANK) for word in found)
    if whole < len(used) or any(shlex.quote(_BLANK) in word for word in found):
        message = "a placeholder stands within quotes; its value is quoted anyway: remove them"
        raise InputError(message, ("data", "command"))


def _values(config: CommandConfig, name: str) -> Sequence[Value]:
    dist = config.ranges.get(name)
    choices = dist.choices if isinstance(dist, CategoricalDistribution) else ()
    return [*choices, (config.data.baseline or {}).get(name, 0)]


def _expected(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return f"expected one of: {', '.join(dict.fromkeys(known))}{hint}"


def _unused(name: str, used: set[str]) -> str:
    hint = did_you_mean(name, used)
    return f"'{name}' is used nowhere; write {{{name}}} where it goes, or remove it{hint}"

"""Load a configuration, once the data is there that it has simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tuner.config.load import Config, config_of
from tuner.config.parts import engine_sections
from tuner.config.yaml import read_yaml
from tuner.plugin import InputError
from tuner.plugin.registry import simulate, simulator


def load_prepared(path: Path, overrides: Sequence[str], say: Callable[[str], object]) -> Config:
    """Load the configuration at `path`; make the data of its ``simulate`` where there is none."""
    document = read_yaml(path, overrides)
    if "simulate" not in document.data:
        return config_of(document)
    engine = engine_sections(document)  # without its data the plug-in has nothing to say
    if (section := engine.simulate) is not None:
        folder = path.resolve().parent / section.folder
        if not folder.exists():
            name = section.simulator or engine.plugin
            simulator(name)  # what it lacks is all that is said then
            say(f"simulating data: {name}, seed {section.seed}")
            simulate(name, folder, section.seed, section.model_extra or {})
    return config_of(document)


def extra_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Return ``--NAME VALUE`` and ``--NAME=VALUE`` as keys with values; `InputError` for others."""
    options: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument '{flag}'; expected --NAME VALUE")
        name, equals, value = flag[2:].partition("=")
        if not equals:
            if not rest:
                raise InputError(f"option '{flag}' needs a value")
            value = rest.pop(0)
        options[name.replace("-", "_")] = value
    return options

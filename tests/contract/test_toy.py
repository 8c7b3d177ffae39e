"""The contract holds for the toy; the plug-ins that ship have a module each beside this one."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tuner.plugin import Plugin
from tuner.testing import PluginContract


@pytest.fixture(scope="class")
def _toy_on_path(request: pytest.FixtureRequest) -> None:
    """The toy is installed for each test; the class needs its type before."""


class TestToy(PluginContract):
    @pytest.fixture(autouse=True)
    def _installed(self, toy: Any) -> None:
        pass

    @property
    def plugin_class(self) -> type[Plugin[Any]]:  # type: ignore[override]
        return importlib.import_module("tuner_toy").Toy

"""The contract holds for the plug-in that tunes a Python function."""

from __future__ import annotations

from tuner_plugins.function.plugin import FunctionPlugin

from tuner.testing import PluginContract


class TestFunction(PluginContract):
    plugin_class = FunctionPlugin

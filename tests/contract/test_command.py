"""The contract holds for the command plug-in."""

from __future__ import annotations

from tuner_plugins.command.plugin import CommandPlugin

from tuner.testing import PluginContract


class TestCommand(PluginContract):
    plugin_class = CommandPlugin

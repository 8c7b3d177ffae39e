"""The contract holds for the nmf plug-in."""

from __future__ import annotations

from tuner_plugins.nmf.plugin import NmfPlugin

from tuner.testing import PluginContract


class TestNmf(PluginContract):
    plugin_class = NmfPlugin

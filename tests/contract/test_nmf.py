"""The contract holds for the nmf plug-in."""

from __future__ import annotations

from tuner.testing import PluginContract
from tuner_plugins.nmf.plugin import NmfPlugin


class TestNmf(PluginContract):
    plugin_class = NmfPlugin

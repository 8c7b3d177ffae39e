"""The contract holds for the elasticnet plug-in."""

from __future__ import annotations

from tuner_plugins.elasticnet.plugin import ElasticNetPlugin

from tuner.testing import PluginContract


class TestElasticNet(PluginContract):
    plugin_class = ElasticNetPlugin

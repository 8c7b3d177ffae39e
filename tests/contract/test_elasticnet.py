"""The contract holds for the elasticnet plug-in."""

from __future__ import annotations

from tuner.testing import PluginContract
from tuner_plugins.elasticnet.plugin import ElasticNetPlugin


class TestElasticNet(PluginContract):
    plugin_class = ElasticNetPlugin

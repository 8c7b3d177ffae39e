"""The contract holds for the toy; each plug-in that ships has a module beside this one."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import TOY
from tuner.testing import PluginContract

sys.path.insert(0, str(TOY))
from tuner_toy import Toy  # noqa: E402 - it lives in no package

sys.path.remove(str(TOY))


@pytest.mark.usefixtures("toy")
class TestToy(PluginContract):
    plugin_class = Toy

"""One command from end to end: check, run, print; best, export, analyse, show.

The package can be called: ``tuner.run("config.yaml")`` is `tuner.run.study.run`. A function of
that name in `tuner` would be replaced by this package as soon as anything of it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.config.load import Config
    from tuner.run.result import Result


class _Run(ModuleType):
    def __call__(
        self, config: str | Path | Config, *, overrides: Sequence[str] = (), new: bool = False
    ) -> Result:
        """Run, or resume, the study of a configuration: `tuner.run.study.run` says more."""
        from tuner.run.study import run

        return run(config, overrides=overrides, new=new)


sys.modules[__name__].__class__ = _Run

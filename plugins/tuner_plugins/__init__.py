"""The plug-ins that ship with the tuner."""

from pathlib import Path

from tuner_plugins.numba_cache import place_numba_cache

place_numba_cache(Path(__file__).parent)

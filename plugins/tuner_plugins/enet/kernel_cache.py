"""Keep Numba's cache true to the sources.

Numba compiles a cached function anew when the file changes that defines it, but not when only a
file changes that it takes another kernel from: it then runs a mixture of old and new code, and
what comes out is wrong. So the cache is dropped whenever any source file of the package differs
from those that it was made with.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tuner_plugins.numba_cache import is_writable


def drop_stale(folder: Path) -> bool:
    """Delete what Numba has cached below `folder`, if its modules are not those of then.

    Tell whether that was so. Nothing is done where the folder can't be written: the cache is
    then in a folder that is named by the sources (`numba_cache`). A cache that NUMBA_CACHE_DIR has
    moved elsewhere is its owner's to keep.
    """
    cache = folder / "__pycache__"
    stamp = cache / "kernels.sha256"
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(str(source.relative_to(folder)).encode() + b"\0" + source.read_bytes())
    now = digest.hexdigest()
    if stamp.is_file() and stamp.read_text() == now:
        return False
    if not is_writable(cache):
        return False
    for compiled in folder.rglob("*.nb[ic]"):
        compiled.unlink(missing_ok=True)
    fresh = stamp.with_suffix(f".{os.getpid()}")
    fresh.write_text(now)
    fresh.replace(stamp)
    return True

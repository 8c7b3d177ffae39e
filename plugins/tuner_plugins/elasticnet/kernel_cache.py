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


def drop_stale(folder: Path) -> bool:
    """Delete what Numba has cached beside the modules in `folder`, if they are not those of then.

    Tell whether that was so. Nothing is done where the folder can't be written: Numba then caches
    elsewhere, and the sources change by being installed anew, all at a time. A cache that
    NUMBA_CACHE_DIR has moved elsewhere is its owner's to keep.
    """
    cache = folder / "__pycache__"
    stamp = cache / "kernels.sha256"
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    now = digest.hexdigest()
    if stamp.is_file() and stamp.read_text() == now:
        return False
    if not os.access(folder, os.W_OK):
        return False
    cache.mkdir(exist_ok=True)
    for compiled in cache.glob("*.nb[ic]"):
        compiled.unlink(missing_ok=True)
    fresh = stamp.with_suffix(f".{os.getpid()}")
    fresh.write_text(now)
    fresh.replace(stamp)
    return True

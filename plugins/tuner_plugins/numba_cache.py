"""Numba's cache where the installation is read-only, as in a container's image."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from tuner_plugins.kernel_folder import kernel_folders


def place_numba_cache(package: Path) -> None:
    """Set NUMBA_CACHE_DIR where Numba cannot write beside the modules in the folders of `package`.

    It would take the user's cache folder then, whoever may write there, and where there is none
    refuse to define a kernel. The folder is named by the sources: Numba itself looks only at the
    file that defines a kernel, not at those that it takes others from. Must run before the first
    kernel is defined. A folder that the user has set is the user's to keep.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    if all(is_writable(path.parent / "__pycache__") for path in package.rglob("__init__.py")):
        return
    folders = kernel_folders()
    if not folders or not os.access(folders[-1], os.W_OK):
        return  # no file can be written at all
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(str(source.relative_to(package)).encode() + b"\0" + source.read_bytes())
    os.environ["NUMBA_CACHE_DIR"] = os.path.join(folders[-1], f"numba-{digest.hexdigest()[:16]}")
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()


def is_writable(folder: Path) -> bool:
    """Try it, as Numba does: what the system says of permissions is not the whole truth."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError:
        return False
    return True

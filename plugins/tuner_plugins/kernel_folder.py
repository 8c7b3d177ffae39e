"""Where compiled kernels are kept: the user's cache folder, or a private one for temporary files.

A kernel is code: its folder must belong to the user, and nobody else may write in it. Standard
library only, and nothing that is slow to import: a stand-alone script carries this module.
"""

from __future__ import annotations

import os
import stat


def kernel_folders() -> list[str]:
    """Return the folders that may hold compiled kernels, made if need be.

    Only the last may be written. The user's comes first; the private one below the folder for
    temporary files is there only where that one is absent, read-only or not to be trusted.
    """
    folders = []
    for find in (_user_folder, _temporary_folder):
        try:
            folder = find()
        except OSError:
            continue
        if folder is not None:
            folders.append(folder)
            if os.access(folder, os.W_OK):
                break
    return folders


def is_ours(status: os.stat_result) -> bool:
    """Check that a file or folder is this user's, and that nobody else may write in it."""
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def keep_file(path: str, content: bytes) -> None:
    """Write a file of this user's, which appears when it is whole; raise OSError if it cannot."""
    temporary = f"{path}.{os.urandom(8).hex()}.partial"
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def digest_of(content: bytes) -> str:
    """Return a digest of 16 bytes, in hexadecimal digits."""
    try:  # hashlib loads OpenSSL: milliseconds of a script that runs for a tenth of a second
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return str(blake2b(content, digest_size=16).hexdigest())


def _user_folder() -> str | None:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        return None
    folder = os.path.join(base, "tuner-kernels")
    os.makedirs(base, exist_ok=True)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder if is_ours(os.stat(folder)) else None


def _temporary_folder() -> str | None:
    """Return a folder whose name others can guess: what they may have put there is refused."""
    import tempfile

    base = tempfile.gettempdir()
    folder = os.path.join(base, f"tuner-kernels-{os.geteuid()}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    found, above = os.lstat(folder), os.stat(base)  # lstat: a link may lead anywhere
    private = stat.S_ISDIR(found.st_mode) and is_ours(found) and not found.st_mode & 0o077
    shared = above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not above.st_mode & stat.S_ISVTX
    return folder if private and not shared else None

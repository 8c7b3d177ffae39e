"""Files over http and https: byte ranges that are read once, and kept in the user's cache folder.

What is kept is of one version of the file, told by what the server says of it (ETag, or else
Last-Modified, and the size); another version has another place. Bytes that come from a server are
no more trusted than those of a local file: whoever decodes them checks them.
"""

from __future__ import annotations

import os
import re
import time
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tuner_plugins.kernel_folder import digest_of, keep_file, kernel_folders

if TYPE_CHECKING:
    from http.client import HTTPResponse

_CHUNK = 1 << 16
_LARGEST_REQUEST = 1 << 22
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)
ATTEMPTS = 3
PAUSE = 0.5
"""Seconds before the second attempt; twice as long before each further one."""
SILENCE = 30.0
LEAST_RATE = 1024
"""Seconds without a byte after which a server is given up, and bytes a second after as long."""


class RemoteError(ValueError):
    """A remote file that cannot be read; the message is one line that says what to do."""


class _Answer(NamedTuple):
    data: bytes
    size: int
    version: str


class _TemporaryError(Exception):
    """What may be better at the next attempt."""


def is_remote(name: str) -> bool:
    """Return whether a name is an address that is read over http or https."""
    return name.lower().startswith(("http://", "https://"))


@cache
def open_remote(url: str) -> RemoteFile:
    """Return a remote file, opened once a process.

    Raises
    ------
    RemoteError
        Where it cannot be reached, or the server does not send parts of it.
    """
    return RemoteFile(url)


class RemoteFile:
    """A file behind an address, as large as it was when it was opened.

    Attributes
    ----------
    name : str
        The address without what follows a question mark, which may be a key.
    size : int
    stamp : str
        A local file that names the address and the version.
    """

    def __init__(self, url: str) -> None:
        self._url, self.name = url, url.partition("?")[0]
        if "@" in url.split("/", 3)[2]:
            raise RemoteError("an address with a user's name is not read; download the file first")
        self._version = ""
        first = self._fetch(0, _CHUNK)
        self.size, self._version = first.size, first.version
        folders = kernel_folders()
        if not folders:
            raise RemoteError(f"{self.name}: no folder to keep it in; set XDG_CACHE_HOME to one")
        folder = os.path.join(folders[-1], "tracks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.stamp = os.path.join(folder, f"{digest_of(url.encode())}.txt")
        self._data, self._known = self._open_kept(folder)
        self._keep(0, first.data)

    def _open_kept(self, folder: str) -> list[int]:
        """Open what is kept of this version, and let another version go."""
        kept = digest_of(f"{self._url}\0{self._version}\0{self.size}".encode())
        said = f"{self.name}\n{self._version}\n{self.size}\n{kept}\n"
        before = ""
        if os.path.exists(self.stamp):
            with open(self.stamp, encoding="utf-8") as file:
                before = file.read()
        endings = (".bw", ".map")
        if before != said or not self._version:  # nothing tells versions apart
            for base in {kept, before.rpartition("\n")[0].rpartition("\n")[2] or kept}:
                paths = (os.path.join(folder, base + ending) for ending in endings)
                for path in filter(os.path.exists, paths):
                    os.unlink(path)
            keep_file(self.stamp, said.encode())
        paths = (os.path.join(folder, kept + ending) for ending in endings)
        return [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in paths]

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of the file, which has them; those that are not kept are fetched.

        Raises
        ------
        RemoteError
            Where the server fails, or has another version by now.
        """
        first, stop = offset // _CHUNK, -(-(offset + size) // _CHUNK)
        known = os.pread(self._known, stop - first, first).ljust(stop - first, b"\0")
        for lack in re.finditer(b"\0+", known):
            end = min((first + lack.end()) * _CHUNK, self.size)
            for begin in range((first + lack.start()) * _CHUNK, end, _LARGEST_REQUEST):
                part = self._fetch(begin, min(begin + _LARGEST_REQUEST, end))
                if (part.version, part.size) != (self._version, self.size):
                    raise RemoteError(
                        f"{self.name}: changed on the server while it was read; "
                        "run the same command again"
                    )
                self._keep(begin, part.data)
        return os.pread(self._data, size, offset)

    def _keep(self, offset: int, data: bytes) -> None:
        """Keep whole chunks; they count as known once they are on the disk."""
        os.pwrite(self._data, data, offset)
        os.fsync(self._data)
        os.pwrite(self._known, b"\1" * -(-len(data) // _CHUNK), offset // _CHUNK)

    def _fetch(self, begin: int, end: int) -> _Answer:
        """Return bytes from the server, after some attempts."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                return self._ask(begin, end)
            except _TemporaryError as error:
                problem = f"{error}"
        raise RemoteError(
            f"{self.name}: {problem} ({ATTEMPTS} attempts); run the same command again later, or "
            "download the file"
        )

    def _ask(self, begin: int, end: int) -> _Answer:
        from http.client import HTTPException
        from urllib import request
        from urllib.error import HTTPError, URLError

        head = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        asked = request.Request(self._url, headers={**head, "User-Agent": "tuner"})
        try:
            with request.urlopen(asked, timeout=SILENCE) as answer:
                return self._take(answer, begin, end)
        except HTTPError as error:
            error.close()
            raise self._refused(error.code) from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise _TemporaryError(f"the server sent nothing for {SILENCE:g} s") from error
            raise _TemporaryError(f"cannot be reached ({reason})") from error

    def _refused(self, code: int) -> Exception:
        """Return the error for a status that is none of success."""
        if code in (404, 410):
            return RemoteError(
                f"{self.name}: the server has no such file ({code}); check the address"
            )
        if code in (401, 403):
            return RemoteError(
                f"{self.name}: the server refuses access ({code}); download it first"
            )
        if code == 416:
            return RemoteError(f"{self.name}: shorter than it was, or empty; check the address")
        if code == 429 or code >= 500:
            return _TemporaryError(f"the server fails ({code})")
        return RemoteError(f"{self.name}: the server answers {code}; check the address")

    def _take(self, answer: HTTPResponse, begin: int, end: int) -> _Answer:
        """Read an answer of the server."""
        said = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or said is None:
            raise RemoteError(
                f"{self.name}: the server sends no parts of files (byte ranges); download it first"
            )
        low, high, size = map(int, said.groups())
        if low != begin or high != min(end, size) - 1:
            raise RemoteError(
                f"{self.name}: the server sent bytes {low}-{high} where {begin}-{end - 1} were "
                "asked for; download it first"
            )
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        wanted, started, parts, got = high - low + 1, time.monotonic(), [], 0
        while got < wanted and (part := answer.read1(wanted - got)):
            parts.append(part)
            got += len(part)
            spent = time.monotonic() - started
            if spent > SILENCE and got < LEAST_RATE * spent:
                raise RemoteError(
                    f"{self.name}: the server is too slow ({got:,} bytes in {spent:.0f} s); "
                    "download it first"
                )
        if got < wanted:
            raise _TemporaryError(f"the server broke off after {got:,} of {wanted:,} bytes")
        return _Answer(b"".join(parts), size, version)

"""A file server on loopback with byte ranges, and with faults to order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


@dataclass
class TrackServer:
    """What the server serves, how it fails, and what it was asked for.

    ``fault`` is one of: ``whole`` (no ranges), ``truncated``, ``shifted``, ``slow``, ``silent``,
    ``busy`` (the first two requests), a status; ``after`` requests that go well.
    """

    folder: Path
    address: str = ""
    etag: str | None = '"one"'
    fault: str = ""
    after: int = 0
    asked: list[str] = field(default_factory=list)
    sent: int = 0

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def serving(folder: Path) -> Iterator[TrackServer]:
    state = TrackServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            state.asked.append(self.path)
            fault = state.fault if len(state.asked) > state.after else ""
            path = state.folder / unquote(self.path.split("?")[0]).lstrip("/")
            if fault.isdigit() or (fault == "busy" and len(state.asked) <= state.after + 2):
                self.send_error(int(fault) if fault.isdigit() else 503)
            elif not path.is_file():
                self.send_error(404)
            else:
                self.send_part(path.read_bytes(), fault)

        def send_part(self, data: bytes, fault: str) -> None:
            low, high = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            part, status = data[low : high + 1], 206
            if fault == "whole":
                part, status = data, 200
            self.send_response(status)
            if status == 206:
                first = low + (fault == "shifted")
                last = low + len(part) - 1
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            if fault == "truncated":
                part = part[: len(part) // 2]
            for at in range(0, len(part), 1000 if fault == "slow" else 1 << 20):
                time.sleep(0.25 if fault == "slow" else 5 if fault == "silent" else 0)
                chunk = part[at : at + (1000 if fault == "slow" else 1 << 20)]
                try:
                    self.wfile.write(chunk)
                except OSError:
                    return
                state.sent += len(chunk)
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

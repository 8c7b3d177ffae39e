"""Servers that are absent, silent, or say something, whatever it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tuner.config import reach
from tuner.config.reach import why_unreachable


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def answer(server: socket.socket, what: bytes) -> None:
    server.accept()[0].close()  # the first connection only looks at the port
    with server.accept()[0] as connection:
        connection.recv(1000)
        connection.sendall(what)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_nothing_is_not_waited_for(
    server: socket.socket, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ANSWER", 0.2)
    port = server.getsockname()[1]
    why = why_unreachable(f"{scheme}://u:s3cret@127.0.0.1:{port}")
    assert why == f"127.0.0.1, port {port}, takes requests and answers none within 0.2 s"


@pytest.mark.parametrize("what", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"hello\r\n"])
def test_a_server_that_says_anything_is_there(server: socket.socket, what: bytes) -> None:
    thread = threading.Thread(target=answer, args=(server, what))
    thread.start()
    assert why_unreachable(f"http://127.0.0.1:{server.getsockname()[1]}") is None
    thread.join()


def test_an_absent_server_is_told_of(server: socket.socket) -> None:
    port = server.getsockname()[1]
    server.close()
    assert f"port {port}, does not answer" in (why_unreachable(f"http://127.0.0.1:{port}") or "")

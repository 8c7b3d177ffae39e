"""An editor completes and checks a shipped configuration, by yaml-language-server, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"
SERVER = shutil.which("yaml-language-server")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SERVER is None,
        reason="no yaml-language-server on PATH; npm installs it",
    ),
]


class Editor:
    """The other side of the protocol: sends requests, waits for what is asked for."""

    def __init__(self, folder: Path) -> None:
        assert SERVER is not None
        pipe = subprocess.PIPE
        self._server = subprocess.Popen([SERVER, "--stdio"], stdin=pipe, stdout=pipe)
        self._count = 0
        self._folder = folder
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self.tell("initialized")

    def tell(self, method: str, number: int | None = None, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        text = json.dumps(message if number is None else {**message, "id": number}).encode()
        assert self._server.stdin is not None
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
        self._server.stdin.flush()

    def heard(self) -> dict[str, Any]:
        stream = self._server.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            length = int(line.partition(b":")[2]) if line.startswith(b"Content-Length") else length
        found: dict[str, Any] = json.loads(stream.read(length))
        if "id" in found and found.get("method") == "workspace/configuration":
            answer = {"jsonrpc": "2.0", "id": found["id"], "result": [{}, {}, {}, {}, {}]}
            text = json.dumps(answer).encode()
            assert self._server.stdin is not None
            self._server.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
            self._server.stdin.flush()
        return found

    def ask(self, method: str, **params: Any) -> Any:
        self._count += 1
        self.tell(method, self._count, **params)
        while (found := self.heard()).get("id") != self._count or "method" in found:
            pass
        return found.get("result")

    def open(self, text: str) -> tuple[str, list[str]]:
        """Open a file beside the shipped ones; return its address and what is wrong with it."""
        self._count += 1
        uri = (self._folder / f"edited{self._count}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", textDocument=document)
        while (found := self.heard()).get("params", {}).get("uri") != uri:
            pass
        return uri, [problem["message"] for problem in found["params"]["diagnostics"]]

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    shutil.copytree(CONFIGS, tmp_path, dirs_exist_ok=True)
    editor = Editor(tmp_path)
    yield editor
    editor.close()


def test_shipped_files_have_no_fault_and_a_misspelt_key_is_one(editor: Editor) -> None:
    shipped = sorted(CONFIGS.glob("*.yaml"))
    assert len(shipped) > 5
    for path in shipped:
        text = path.read_text()
        assert (path.name, editor.open(text)[1]) == (path.name, [])
        _, wrong = editor.open(text.replace("plugin: ", "plugni: "))
        assert any("plugni is not allowed" in message for message in wrong), path.name


def test_keys_are_completed_and_explained(editor: Editor) -> None:
    text = (CONFIGS / "nmf.yaml").read_text().replace("objective: score", "search_space:\n  f")
    uri, _ = editor.open(text)
    line = text.splitlines().index("  f")
    at = {"textDocument": {"uri": uri}, "position": {"line": line, "character": 3}}
    found = editor.ask("textDocument/completion", **at)
    items = {item["label"]: item for item in found["items"]}
    assert "fl_lambda" in items
    assert "larger is smoother (per base)" in json.dumps(items["fl_lambda"])

"""Show a study in optuna-dashboard, an optional package, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import webbrowser
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna

from tuner.plugin import InputError

HOST, PORT = "127.0.0.1", 8080


class _Silent(WSGIRequestHandler):
    """Answers without a line for each request."""

    def log_message(self, *_: object) -> None:
        """Report nothing."""


def serve(study: optuna.Study, port: int | None = None, open_browser: bool = True) -> None:
    """Show a study's pages until Ctrl-C; print where they are.

    Parameters
    ----------
    study
        The Optuna study, opened for reading.
    port : int, optional
        Default: 8080, or any that is free where it is taken.
    open_browser : bool
        Whether to open the page in the user's browser.

    Raises
    ------
    ModuleNotFoundError
        Where optuna-dashboard is not installed.
    InputError
        Where the port is taken.
    """
    from optuna_dashboard import wsgi

    with _server(wsgi(study._storage), port) as server:
        page = f"http://{HOST}:{server.server_port}/dashboard/studies/{study._study_id}"
        print(f"optuna-dashboard: {page}\nCtrl-C ends the server.", flush=True)
        if open_browser:
            webbrowser.open(page)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _server(app: Any, port: int | None) -> WSGIServer:
    for wanted in (port,) if port else (PORT, 0):
        with contextlib.suppress(OSError):
            return make_server(HOST, wanted, app, handler_class=_Silent)
    raise InputError(f"port {port} is taken: leave out --port, or name another")
